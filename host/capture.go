package host

import "io"

// capturer is a Daemon whose memory the runtime captures itself. Neither way
// holds the memory a second time.
type capturer interface {
	saveMemory(io.Writer) error

	// loadMemory makes the memory what saveMemory wrote, with the changes since
	// that saveChanges gave, in order.
	loadMemory(saved io.Reader, changes ...[]byte) error

	// track begins anew to note what changes. saveChanges gives what did since
	// track or the last saveChanges.
	track() error
	saveChanges() ([]byte, error)
}

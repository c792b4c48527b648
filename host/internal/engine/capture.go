package engine

import (
	"io"
)

// capturer is a Daemon whose memory the runtime captures itself. Neither way
// holds the memory a second time.
type capturer interface {
	SaveMemory(io.Writer) error

	// LoadMemory makes the memory what SaveMemory wrote, with the changes since
	// that SaveChanges gave, in order.
	LoadMemory(saved io.Reader, changes ...[]byte) error

	// Track begins anew to note what changes. SaveChanges gives what did since
	// track or the last SaveChanges.
	Track() error
	SaveChanges() ([]byte, error)
}

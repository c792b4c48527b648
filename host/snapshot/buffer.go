package snapshot

import (
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
)

// Buffer takes a state that has at most limit bytes. What is large goes to a
// file, where apart makes one.
type Buffer struct {
	b     []byte
	size  int64
	limit int64
	apart func() (*store.StateFile, error)
	most  int64 // from how many bytes on
	file  *store.StateFile
}

// NewBuffer returns a buffer of a state of at most limit bytes, captured or given.
func NewBuffer(limit int64) *Buffer {
	return &Buffer{b: make([]byte, frontRoom), limit: limit + captureSlack}
}

// Spill has a state of most bytes or more go to a file.
func (s *Buffer) Spill(most int64, apart func() (*store.StateFile, error)) {
	s.most, s.apart = most, apart
}

// Bytes returns what was written, where no file has it.
func (s *Buffer) Bytes() []byte { return s.b[frontRoom:] }

// Write adds to the state. ErrStateTooLarge.
func (s *Buffer) Write(b []byte) (int, error) {
	if s.size += int64(len(b)); s.size > s.limit {
		return 0, fmt.Errorf("%w: it has more than %d bytes", daemon.ErrStateTooLarge, s.limit)
	}
	if s.file == nil && s.apart != nil && s.size >= s.most {
		var err error
		if s.file, err = s.apart(); err != nil {
			return 0, err
		}
		if _, err = s.file.Write(s.b[frontRoom:]); err != nil {
			return 0, err
		}

		s.b = nil
	}

	if s.file != nil {
		return s.file.Write(b)
	}

	s.b = append(s.b, b...)
	return len(b), nil
}

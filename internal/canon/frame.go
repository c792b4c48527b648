package canon

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ErrFrameTooLarge is wrapped by the error of a frame longer than is allowed.
var ErrFrameTooLarge = errors.New("frame is larger than allowed")

// frameStep is how much a frame's buffer grows at a time, so that a length
// that a peer merely claims allocates little.
const frameStep = 64 << 10

// WriteFrame writes b behind its length, four bytes big-endian.
func WriteFrame(w io.Writer, b []byte) error {
	var head [4]byte
	if uint64(len(b)) > 1<<32-1 {
		return fmt.Errorf("%w: %d bytes", ErrFrameTooLarge, len(b))
	}

	binary.BigEndian.PutUint32(head[:], uint32(len(b)))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}

	_, err := w.Write(b)
	return err
}

// ReadFrame reads what WriteFrame wrote, of at most limit bytes. It returns io.EOF
// where the reader ends between frames, io.ErrUnexpectedEOF inside one.
func ReadFrame(r io.Reader, limit int) ([]byte, error) { return ReadFrameInto(nil, r, limit) }

// ReadFrameAdmitted is ReadFrame that asks admit for room for the frame's bytes once
// its length is known, before it reads and allocates them. An error of admit is
// returned as it is.
func ReadFrameAdmitted(r io.Reader, limit int, admit func(n int) error) ([]byte, error) {
	return readFrame(nil, r, limit, admit)
}

// ReadFrameInto is ReadFrame that uses room where that is large enough.
func ReadFrameInto(room []byte, r io.Reader, limit int) ([]byte, error) {
	return readFrame(room, r, limit, func(int) error { return nil })
}

func readFrame(room []byte, r io.Reader, limit int, admit func(n int) error) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}

	n := binary.BigEndian.Uint32(head[:])
	if uint64(n) > uint64(limit) {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrFrameTooLarge, n, limit)
	}
	if err := admit(int(n)); err != nil {
		return nil, err
	}

	buf := room[:0]
	if cap(buf) < min(int(n), frameStep) {
		buf = make([]byte, 0, min(int(n), frameStep))
	}

	for len(buf) < int(n) {
		step := min(int(n)-len(buf), max(frameStep, len(buf)))
		start := len(buf)
		if cap(buf)-start < step {
			buf = append(make([]byte, 0, start+step), buf...)
		}

		buf = buf[:start+step]
		if _, err := io.ReadFull(r, buf[start:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}

	return buf, nil
}

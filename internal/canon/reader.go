package canon

import (
	"bufio"
	"errors"
	"io"
)

// Reader reads an item from a stream piece by piece, where it is too large to
// be in memory at once. It holds the stream to the same form as Check. It is
// not safe for concurrent use.
type Reader struct {
	r   *bufio.Reader
	off int
}

// NewReader returns a Reader. It may read more from r than it is asked for.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReader(r)} }

// Array reads the head of an array and returns how many items follow.
func (r *Reader) Array() (uint64, error) { return r.headOf(4) }

// String reads the head of a byte string and returns how many bytes follow, for
// Read to return.
func (r *Reader) String() (uint64, error) { return r.headOf(2) }

// Bytes reads a byte string of at most limit bytes into buf's memory, or a new
// one where that is too small.
func (r *Reader) Bytes(buf []byte, limit uint64) ([]byte, error) {
	start := r.off
	n, err := r.String()
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, &Error{ErrTooMany, start}
	}

	return r.grow(buf[:0], n)
}

// Item returns the bytes of one item, of any kind, that has at most limit.
func (r *Reader) Item(limit uint64) ([]byte, error) {
	start := r.off
	b, err := r.item(nil, limit, 0)
	if err != nil {
		return nil, err
	}

	var reason *Error
	if err := Check(b); errors.As(err, &reason) {
		return nil, &Error{reason.Reason, start + reason.Offset}
	}
	return b, nil
}

// Take returns the next n bytes as they are: what String announced. It takes
// memory as they come.
func (r *Reader) Take(n uint64) ([]byte, error) { return r.grow([]byte{}, n) }

// Offset returns how many bytes were read.
func (r *Reader) Offset() int { return r.off }

// Read returns what follows as it is: what String announced.
func (r *Reader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.off += n
	return n, err
}

// End returns nil where nothing follows.
func (r *Reader) End() error {
	switch _, err := r.r.ReadByte(); {
	case err == nil:
		return &Error{ErrTrailing, r.off}
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

func (r *Reader) headOf(major byte) (uint64, error) {
	start := r.off
	var buf [9]byte
	b, err := r.head(buf[:0])
	if err != nil {
		return 0, err
	}

	s := scanner{data: b}
	got, _, n, reason := s.head()
	if reason == nil && got != major {
		reason = ErrContent
	}

	if reason != nil {
		return 0, &Error{reason, start}
	}
	return n, nil
}

// head appends the bytes of a head to b.
func (r *Reader) head(b []byte) ([]byte, error) {
	first, err := r.r.ReadByte()
	if err != nil {
		return b, r.cut(err)
	}

	r.off++
	b = append(b, first)
	if info := first & 31; info >= 24 && info <= 27 {
		return r.grow(b, 1<<(info-24))
	}
	return b, nil
}

// item appends the bytes of an item to b, which may have limit together. What
// its bytes are is for Check to say.
func (r *Reader) item(b []byte, limit uint64, depth int) ([]byte, error) {
	start, from := r.off, len(b)
	if depth > MaxDepth {
		return b, &Error{ErrTooDeep, start}
	}

	b, err := r.head(b)
	if err != nil {
		return b, err
	}

	s := scanner{data: b[from:]}
	major, _, n, reason := s.head()
	switch {
	case reason != nil:
		return b, &Error{reason, start}
	case uint64(len(b)) > limit, (major == 4 || major == 5) && n > MaxElements, (major == 2 || major == 3) && n > limit-uint64(len(b)):
		return b, &Error{ErrTooMany, start}
	}

	switch major {
	case 2, 3:
		return r.grow(b, n)
	case 4, 5:
		if major == 5 {
			n *= 2
		}
		for range n {
			if b, err = r.item(b, limit, depth+1); err != nil {
				return b, err
			}
		}
	}

	return b, nil
}

// grow appends the next n bytes to b. It takes memory as they come, not as they
// are announced.
func (r *Reader) grow(b []byte, n uint64) ([]byte, error) {
	const most = 1 << 20 // bytes for nothing
	for n > 0 {
		have := len(b)
		if have == cap(b) {
			bigger := make([]byte, have, uint64(have)+min(n, max(uint64(have), most)))
			copy(bigger, b)
			b = bigger
		}

		step := min(n, uint64(cap(b)-have))
		b = b[:have+int(step)]
		got, err := io.ReadFull(r.r, b[have:])
		r.off += got
		if err != nil {
			return b[:have+got], r.cut(err)
		}

		n -= step
	}

	return b, nil
}

// cut is the error of a stream that ends in an item.
func (r *Reader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &Error{ErrTruncated, r.off}
	}
	return err
}

package canon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/x448/float16"
)

// What can be wrong with an encoded item.
var (
	ErrTruncated    = errors.New("the item ends early")
	ErrTrailing     = errors.New("bytes follow the item")
	ErrIndefinite   = errors.New("indefinite length")
	ErrNotShortest  = errors.New("number or length not in its shortest form")
	ErrUnsorted     = errors.New("map keys are not sorted")
	ErrDuplicateKey = errors.New("map key appears twice")
	ErrTooDeep      = errors.New("nested too deep")
	ErrTooMany      = errors.New("too many elements")
	ErrUTF8         = errors.New("text is not valid UTF-8")
	ErrForbidden    = errors.New("tag or simple value that is not used here")
	ErrMalformed    = errors.New("not well-formed")
	ErrContent      = errors.New("the item does not have the content expected")
)

// Error says what is wrong with an encoded item, and where. It wraps one of
// the errors above.
type Error struct {
	Reason error
	Offset int // of the item's head, in bytes
}

func (e *Error) Error() string { return fmt.Sprintf("CBOR at byte %d: %v", e.Offset, e.Reason) }
func (e *Error) Unwrap() error { return e.Reason }

// Check returns nil when data is one canonical item and nothing more, and an
// *Error otherwise. It allocates nothing.
func Check(data []byte) error {
	s := scanner{data: data}
	if err := s.item(0); err != nil {
		return err
	}
	if s.pos != len(data) {
		return &Error{ErrTrailing, s.pos}
	}
	return nil
}

type scanner struct {
	data []byte
	pos  int
}

// item checks the item at pos and moves behind it.
func (s *scanner) item(depth int) error {
	start := s.pos
	fail := func(reason error) error { return &Error{reason, start} }
	if depth > MaxDepth {
		return fail(ErrTooDeep)
	}

	major, info, n, reason := s.head()
	if reason != nil {
		return fail(reason)
	}

	left := uint64(len(s.data) - s.pos)
	switch major {
	case 0, 1:
		return nil
	case 2, 3:
		if n > left {
			return fail(ErrTruncated)
		}

		text := s.data[s.pos : s.pos+int(n)]
		s.pos += int(n)
		if major == 3 && !utf8.Valid(text) {
			return fail(ErrUTF8)
		}
		return nil

	case 4, 5:
		if n > MaxElements {
			return fail(ErrTooMany)
		}
		if n > left {
			return fail(ErrTruncated)
		}
		if major == 5 {
			return s.pairs(int(n), depth)
		}

		for range n {
			if err := s.item(depth + 1); err != nil {
				return err
			}
		}
		return nil

	case 7:
		if reason := simple(info, n); reason != nil {
			return fail(reason)
		}
		return nil

	default:
		return fail(ErrForbidden)
	}
}

func (s *scanner) pairs(n, depth int) error {
	var last []byte
	for i := range n {
		start := s.pos
		if err := s.item(depth + 1); err != nil {
			return err
		}

		key := s.data[start:s.pos]
		if i > 0 {
			switch c := bytes.Compare(last, key); {
			case c == 0:
				return &Error{ErrDuplicateKey, start}
			case c > 0:
				return &Error{ErrUnsorted, start}
			}
		}

		last = key
		if err := s.item(depth + 1); err != nil {
			return err
		}
	}

	return nil
}

// head reads the item's first byte and its argument.
func (s *scanner) head() (major, info byte, n uint64, reason error) {
	if s.pos >= len(s.data) {
		return 0, 0, 0, ErrTruncated
	}

	major, info = s.data[s.pos]>>5, s.data[s.pos]&31
	s.pos++
	switch {
	case info < 24:
		return major, info, uint64(info), nil
	case info == 31:
		return major, info, 0, ErrIndefinite
	case info > 27:
		return major, info, 0, ErrMalformed
	}

	size := 1 << (info - 24)
	if len(s.data)-s.pos < size {
		return major, info, 0, ErrTruncated
	}

	var buf [8]byte
	copy(buf[8-size:], s.data[s.pos:])
	s.pos += size
	n = binary.BigEndian.Uint64(buf[:])
	least := [4]uint64{24, 1 << 8, 1 << 16, 1 << 32}[info-24]
	if major != 7 && n < least {
		return major, info, n, ErrNotShortest
	}

	return major, info, n, nil
}

// simple checks false, true and floats in their shortest form.
func simple(info byte, n uint64) error {
	switch info {
	case 20, 21:
		return nil
	case 24:
		if n < 32 {
			return ErrMalformed
		}
		return ErrForbidden

	case 25:
		if h := float16.Frombits(uint16(n)); h.IsNaN() && n != 0x7e00 {
			return ErrNotShortest
		}
		return nil

	case 26:
		f := math.Float32frombits(uint32(n))
		if f != f || float16.Fromfloat32(f).Float32() == f {
			return ErrNotShortest
		}
		return nil

	case 27:
		f := math.Float64frombits(n)
		if f != f || float64(float32(f)) == f {
			return ErrNotShortest
		}
		return nil

	default:
		return ErrForbidden
	}
}

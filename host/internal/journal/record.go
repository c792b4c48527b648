// Package journal holds the records of a daemon's history and their encoding.
package journal

import (
	"errors"
	"fmt"

	"wasmhost.example/internal/canon"
)

// ErrMalformed is wrapped by every error of Decode.
var ErrMalformed = errors.New("malformed history record")

// Record is one of the structs below.
type Record interface{ tag() byte }

// Encode returns one byte that tells the record, then its canonical CBOR.
func Encode(r Record) ([]byte, error) {
	switch full := r.(type) {
	case *Event:
		switch full.tag() {
		case (*retriedEvent)(nil).tag():
			r = full.asRetry()
		case (*effectEvent)(nil).tag():
			r = full.withEffects()
		default:
			return full.Encode(), nil
		}
	case *Failure:
		switch full.tag() {
		case (*effectFailure)(nil).tag():
			r = full.ofEffect()
		case (*channelFailure)(nil).tag():
			r = full.ofChannel()
		}
	}
	b, err := canon.Append([]byte{r.tag()}, r)
	if err != nil {
		return nil, fmt.Errorf("encoding a %T: %w", r, err)
	}
	return b, nil
}

// Decode reads what Encode wrote, and nothing else. The record does not share b's memory.
// Errors wrap ErrMalformed.
func Decode(b []byte) (Record, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrMalformed)
	}
	if e, ok := ReadEvent(b); ok {
		return e, nil
	}
	r, known := variants.New(b[0])
	if !known {
		return nil, fmt.Errorf("%w: unknown tag %d", ErrMalformed, b[0])
	}
	if err := canon.Unmarshal(b[1:], r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	var err error
	switch c := r.(type) {
	case *channelEvent:
		r, err = c.event()
	case *effectEvent:
		r, err = c.event()
	case *retriedEvent:
		r, err = c.event()
	case *effectFailure:
		r, err = c.failure()
	case *channelFailure:
		r, err = c.failure()
	case *Grant:
		err = c.Grants.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return r, nil
}

// IsBegin reports whether r is how a daemon came to be.
func IsBegin(r Record) bool {
	_, ok := r.(*Begin)
	return ok
}

// IsUpgrade reports whether b, an encoded record, is of an upgrade, without decoding it.
func IsUpgrade(b []byte) bool { return len(b) > 0 && b[0] == (*Upgrade)(nil).tag() }

var variants = canon.VariantsOf[Record](Record.tag, &Event{}, &Failure{}, &Checkpoint{}, &Move{}, &Begin{}, &Upgrade{},
	&Settled{}, &Mend{}, &channelEvent{}, &Bind{}, &Unbind{}, &effectEvent{}, &effectFailure{}, &Grant{}, &Sent{}, &Halt{},
	&retriedEvent{}, &channelFailure{}, &Replied{})

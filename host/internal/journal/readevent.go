package journal

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"

	"wasmhost.example/host/daemon"
	"wasmhost.example/internal/canon"
)

// ReadEvent reads what Event.encode wrote, without reflection: a recovery
// reads one for each event. ok is false for anything that encode would not
// write in just these bytes; the strict decoder then says what it is. What is
// returned does not share b's memory.
func ReadEvent(b []byte) (e *Event, ok bool) {
	r := eventReader{b: bytes.Clone(b), good: true}
	e = &Event{}
	head := r.take(2)
	byChannel := string(head) == string([]byte{(*channelEvent)(nil).tag(), 0x8c})
	if !byChannel && string(head) != string([]byte{e.tag(), 0x8a}) {
		return nil, false
	}
	r.fixed(e.Sender[:])
	e.Number = r.head(0)
	e.Time = int64(r.head(0))
	e.Channel = string(r.take(r.head(3)))
	e.Payload = r.take(r.head(2))
	e.Applied = r.head(0)
	if l := r.take(1); len(l) != 1 || l[0] != 0x85 {
		return nil, false
	}
	r.fixed(e.Before.Origin[:])
	e.Before.Epoch, e.Before.Sequence = r.head(0), r.head(0)
	r.fixed(e.Before.Parent[:])
	e.Before.Horizon = r.head(0)
	r.fixed(e.Parent[:])
	e.Epoch = r.head(0)
	n := r.head(4)
	if n > uint64(min(len(r.b), canon.MaxElements)) {
		return nil, false
	}
	e.Outputs = make([][]byte, n)
	for i := range e.Outputs {
		e.Outputs[i] = r.take(r.head(2))
	}
	if byChannel {
		kind := r.head(0)
		if e.Kind = daemon.EventKind(kind); kind == 0 || kind > 255 {
			return nil, false
		}
		if n := r.head(2); n == 32 {
			copy(e.From[:], r.take(32))
			r.good = r.good && !e.From.IsZero()
		} else if n != 0 {
			return nil, false
		}
	}
	return e, r.good && len(r.b) == 0 && e.Time >= 0 && utf8.ValidString(e.Channel)
}

// eventReader takes canonical CBOR items from the front of b, until one is not
// what is asked for: good is false from then on, and all that it returns is
// empty.
type eventReader struct {
	b    []byte
	good bool
}

func (r *eventReader) take(n uint64) []byte {
	if !r.good || n > uint64(len(r.b)) {
		r.b, r.good = nil, false
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// fixed takes a byte string of 32 bytes.
func (r *eventReader) fixed(into []byte) {
	if r.head(2) != 32 {
		r.b, r.good = nil, false
	}
	copy(into, r.take(32))
}

// head takes the head of an item, in its shortest form.
func (r *eventReader) head(major byte) uint64 {
	first := r.take(1)
	if len(first) == 0 || first[0]>>5 != major {
		r.b, r.good = nil, false
		return 0
	}
	info := first[0] & 31
	if info < 24 {
		return uint64(info)
	}
	if info > 27 {
		r.b, r.good = nil, false
		return 0
	}
	size := 1 << (info - 24)
	var wide [8]byte
	copy(wide[8-size:], r.take(uint64(size)))
	n := binary.BigEndian.Uint64(wide[:])
	least := uint64(24) // what does not fit a shorter form
	if size > 1 {
		least = 1 << (4 * size)
	}
	if n < least {
		r.b, r.good = nil, false
	}
	return n
}

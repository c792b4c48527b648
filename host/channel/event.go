// Package channel is what nodes agree on about channels: how events are kept and
// sent, which daemon hears what, and the messages by which a node subscribes.
// It does no I/O.
package channel

import (
	"errors"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Event is one event of a channel.
type Event struct {
	Sequence uint64            // 1 for the channel's first
	Time     int64             // when it was published, by its node's clock, Unix nanoseconds
	From     identity.EntityID // who published it; zero: the node's owner
	Payload  []byte
}

// Bounds of events.
const (
	MaxPayload  = 1 << 20   // bytes of one channel event's payload
	maxChunk    = 256       // events of one chunk
	maxChunkLen = 256 << 10 // bytes of one chunk of events
)

// Chunk is events that follow one another, as they are stored and sent: for
// each the canonical CBOR of [time, from, payload], where from is empty for a
// zero From.
type Chunk struct {
	First uint64 // sequence of the first event
	Count int
	Time  int64  // of the last event
	Size  int    // length of Bytes
	Bytes []byte // not to be changed; nil: only the store has them
}

// Last returns the sequence of the last event.
func (c *Chunk) Last() uint64 { return c.First + uint64(c.Count) - 1 }

// ErrBadChunk is wrapped by every error of a chunk that is not as AppendEvent
// writes it.
var ErrBadChunk = errors.New("malformed channel events")

// AppendEvent appends one event, without its sequence.
func AppendEvent(dst []byte, at int64, from identity.EntityID, payload []byte) []byte {
	dst = canon.AppendHead(append(dst, 0x83), 0, uint64(max(at, 0)))
	if from.IsZero() {
		dst = append(dst, 0x40)
	} else {
		dst = append(append(dst, 0x58, 32), from[:]...)
	}
	return append(canon.AppendHead(dst, 2, uint64(len(payload))), payload...)
}

// Each calls fn with the events that b holds, the first of which has the
// sequence first. The payloads are part of b. Errors are fn's, or wrap
// ErrBadChunk.
func Each(first uint64, b []byte, fn func(Event) error) error {
	for seq := first; len(b) > 0; seq++ {
		ev := Event{Sequence: seq}
		var size int
		var err error
		if size, err = ev.read(b); err != nil {
			return err
		}
		if err := fn(ev); err != nil {
			return err
		}

		b = b[size:]
	}
	return nil
}

// Count returns how many events b holds, and the time of the last.
func Count(b []byte) (n int, last int64, err error) {
	err = Each(1, b, func(ev Event) error {
		n, last = n+1, ev.Time
		return nil
	})
	return n, last, err
}

// read reads one event from the front of b, and returns its length.
func (e *Event) read(b []byte) (int, error) {
	if len(b) == 0 || b[0] != 0x83 {
		return 0, fmt.Errorf("%w: no event at its beginning", ErrBadChunk)
	}

	at, n, ok := head(b[1:], 0)
	pos := 1 + n
	var from uint64
	if ok {
		from, n, ok = head(b[pos:], 2)
		pos += n
	}

	if !ok || at > 1<<63-1 || from != 0 && from != 32 || uint64(len(b)-pos) < from {
		return 0, fmt.Errorf("%w: time or publisher", ErrBadChunk)
	}

	e.Time = int64(at)
	if from > 0 {
		copy(e.From[:], b[pos:])
		if pos += 32; e.From.IsZero() {
			return 0, fmt.Errorf("%w: publisher", ErrBadChunk)
		}
	}

	size, n, ok := head(b[pos:], 2)
	pos += n
	if !ok || size > MaxPayload || uint64(len(b)-pos) < size {
		return 0, fmt.Errorf("%w: payload", ErrBadChunk)
	}

	end := pos + int(size)
	e.Payload = b[pos:end:end]
	return end, nil
}

// head reads a head in its shortest form, and returns its length.
func head(b []byte, major byte) (n uint64, size int, ok bool) {
	if len(b) == 0 || b[0]>>5 != major {
		return 0, 0, false
	}

	info := b[0] & 31
	if info < 24 {
		return uint64(info), 1, true
	}
	if info > 27 {
		return 0, 0, false
	}

	width := 1 << (info - 24)
	if len(b) < 1+width {
		return 0, 0, false
	}

	for _, c := range b[1 : 1+width] {
		n = n<<8 | uint64(c)
	}

	least := uint64(24)
	if width > 1 {
		least = 1 << (4 * width)
	}
	return n, 1 + width, n >= least
}

package host

import (
	"bytes"
	"fmt"

	"wasmhost/host/store"
	"wasmhost/identity"
)

// found is what the history says of one event.
type found struct {
	index   uint64 // of its record
	payload []byte // nil for one that failed
	outputs []Output
	err     error
}

// repeated is the event that was last looked up: whoever repeats one event
// usually repeats the next, whose record then stands close behind.
type repeated struct {
	sender identity.EntityID
	number uint64
	index  uint64
}

// recordedDepth is how many records a repeated event is looked for in.
const recordedDepth = 1 << 16

// repeat answers an event whose number its sender has reached before with what
// was recorded then: ErrReused where that was another event, ErrSuperseded
// where nothing is recorded. It needs d.mu.
func (d *hosted) repeat(ev *Event) (Pending, error) {
	p := Pending{result: Result{Duplicate: true}, ticket: d.last}
	if d.rt.store == nil || d.kind == "" {
		return p, nil
	}
	if err := d.last.wait(d.rt.ctx); err != nil {
		return Pending{}, err
	}
	f, err := d.recorded(ev)
	switch {
	case err != nil:
		return Pending{}, fmt.Errorf("looking up a repeated event: %w", err)
	case f == nil:
		return Pending{}, fmt.Errorf("%w: number %d; the last is %d", ErrSuperseded, ev.Number, d.horizon.marks[ev.Sender].number)
	case f.err == nil && !bytes.Equal(f.payload, ev.Payload):
		return Pending{}, fmt.Errorf("%w: number %d", ErrReused, ev.Number)
	}
	d.repeated = repeated{ev.Sender, ev.Number, f.index}
	p.result.Outputs, p.err = f.outputs, f.err
	return p, nil
}

// recorded returns what the history says of the event; nil where it says
// nothing, or where that lies too far back.
func (d *hosted) recorded(ev *Event) (f *found, err error) {
	depth, forward := 0, d.repeated.sender == ev.Sender && d.repeated.number <= ev.Number
	look := func(index uint64, b []byte) error {
		if depth++; depth > recordedDepth {
			return store.ErrStop
		}
		rec, err := decodeRecord(b)
		if err != nil {
			return err
		}
		var sender identity.EntityID
		var number uint64
		switch rec := rec.(type) {
		case *eventRecord:
			sender, number = rec.Sender, rec.Number
			if sender == ev.Sender && number == ev.Number {
				f = &found{index: index, payload: bytes.Clone(rec.Payload), outputs: rec.links()}
				return store.ErrStop
			}
		case *failureRecord:
			sender, number = rec.Sender, rec.Number
			if sender == ev.Sender && number == ev.Number {
				f = &found{index: index, err: rec.fault()}
				return store.ErrStop
			}
		}
		if sender == ev.Sender && number > ev.Number == forward {
			return store.ErrStop // a sender's numbers grow: it would have been before
		}
		return nil
	}
	if forward {
		err = d.rt.store.ReadHistory(d.id, d.repeated.index, ^uint64(0), look)
	} else {
		err = d.rt.store.ReadHistoryBackward(d.id, look)
	}
	return f, err
}

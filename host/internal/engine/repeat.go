package engine

import (
	"bytes"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// found is what the history says of one event.
type found struct {
	payload []byte // nil for one that failed
	outputs []chain.Output
	err     error
}

// repeated is what the last look-up of a repeated event taught: whoever repeats
// one event usually repeats the next, whose record then stands close behind.
type repeated struct {
	sender identity.EntityID
	number uint64 // of an event of the sender
	index  uint64 // of its record
	unseen uint64 // the sender's events below this number are out of reach
}

// recordedDepth is how many records a repeated event is looked for in.
const recordedDepth = 1 << 16

// repeat answers an event whose number its sender has reached before with what
// was recorded then: ErrReused where that was another event, ErrSuperseded
// where nothing is recorded. It needs d.mu.
func (d *Daemon) repeat(ev *Input) (pending.Event, error) {
	p := pending.Event{Result: daemon.Result{Duplicate: true}, Ticket: d.last}
	if d.env.Store == nil || d.kind == "" {
		return p, nil
	}
	if err := d.last.WaitStored(d.env.Context); err != nil {
		return pending.Event{}, err
	}
	f, err := d.recorded(ev)
	switch {
	case err != nil:
		return pending.Event{}, fmt.Errorf("looking up a repeated event: %w", err)
	case f == nil:
		return pending.Event{}, fmt.Errorf("%w: number %d; the last is %d", daemon.ErrSuperseded, ev.Number, d.horizon.Number(ev.Sender))
	case f.err == nil && !bytes.Equal(f.payload, ev.Payload):
		return pending.Event{}, fmt.Errorf("%w: number %d", daemon.ErrReused, ev.Number)
	}
	p.Result.Outputs, p.Err = f.outputs, f.err
	return p, nil
}

// recorded returns what the history says of the event; nil where it says
// nothing, or where that lies too far back. It needs d.mu.
func (d *Daemon) recorded(ev *Input) (*found, error) {
	last := &d.repeated
	if last.sender != ev.Sender {
		*last = repeated{sender: ev.Sender, number: ^uint64(0)}
	}
	if ev.Number < last.unseen {
		return nil, nil
	}
	if last.number <= ev.Number {
		l := lookup{ev: ev, last: last, forward: true}
		if err := d.env.Store.ReadHistory(d.id, last.index, ^uint64(0), l.look); err != nil || l.ended {
			return l.found, err
		}
	}
	l := lookup{ev: ev, last: last}
	err := d.env.Store.ReadHistoryBackward(d.id, l.look)
	if err == nil && !l.ended {
		last.unseen = min(last.number, d.horizon.Number(ev.Sender)+1)
	}
	return l.found, err
}

// lookup looks for an event, record by record.
type lookup struct {
	ev      *Input
	last    *repeated
	forward bool
	depth   int

	found *found
	ended bool // the event is found, or is not where it would be
}

func (l *lookup) look(index uint64, b []byte) error {
	if l.depth++; l.depth > recordedDepth {
		return store.ErrStop
	}
	rec, err := journal.Decode(b)
	if err != nil {
		return err
	}
	var number uint64
	var f *found
	switch rec := rec.(type) {
	case *journal.Event:
		if rec.Sender == l.ev.Sender && rec.Kind < daemon.EventTimer && rec.Retry == 0 {
			number, f = rec.Number, &found{payload: rec.Payload, outputs: rec.Links()}
		}
	case *journal.Failure:
		if rec.Sender == l.ev.Sender && rec.Event < daemon.EventTimer {
			number, f = rec.Number, &found{err: rec.Fault()}
		}
	}
	if f == nil {
		return nil
	}
	l.last.number, l.last.index = number, index
	switch {
	case number == l.ev.Number:
		l.found = f
	case number > l.ev.Number == l.forward: // a sender's numbers grow
	default:
		return nil
	}
	l.ended = true
	return store.ErrStop
}

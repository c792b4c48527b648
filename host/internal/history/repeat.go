// Package history reads what the stored histories of daemons say: what became of an event,
// on which events a daemon failed, what it put out, whence it came.
package history

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// found is what a history says of one event.
type found struct {
	Payload []byte // nil for one that failed
	Outputs []chain.Output
	Err     error
}

// Repeats is what the last look-up of a repeated event taught: whoever repeats
// one event usually repeats the next, whose record then stands close behind. It is its
// daemon's, under the daemon's lock.
type Repeats struct {
	sender identity.EntityID
	number uint64 // of an event of the sender
	index  uint64 // of its record
	unseen uint64 // the sender's events below this number are out of reach
}

// Depth is how many records a repeated event is looked for in.
const Depth = 1 << 16

// Find returns what the daemon's history says of the event; nil where it says nothing, or
// where that lies too far back. highest is the highest number of the sender that the daemon
// has seen.
func (last *Repeats) Find(st *store.Store, id identity.EntityID, ev *daemon.Event, highest uint64) (*found, error) {
	if last.sender != ev.Sender {
		*last = Repeats{sender: ev.Sender, number: ^uint64(0)}
	}
	if ev.Number < last.unseen {
		return nil, nil
	}

	if last.number <= ev.Number {
		l := lookup{ev: ev, last: last, forward: true}
		if err := st.ReadHistory(id, last.index, ^uint64(0), l.look); err != nil || l.ended {
			return l.found, err
		}
	}

	l := lookup{ev: ev, last: last}
	err := st.ReadHistoryBackward(id, l.look)
	if err == nil && !l.ended {
		last.unseen = min(last.number, highest+1)
	}
	return l.found, err
}

// ForgetBefore lets go of what is known of records before that of the index.
func (last *Repeats) ForgetBefore(index uint64) {
	if last.index < index {
		*last = Repeats{}
	}
}

// lookup looks for an event, record by record.
type lookup struct {
	ev      *daemon.Event
	last    *Repeats
	forward bool
	depth   int

	found *found
	ended bool // the event is found, or is not where it would be
}

// look looks at one record.
func (l *lookup) look(index uint64, b []byte) error {
	if l.depth++; l.depth > Depth {
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
			number, f = rec.Number, &found{Payload: rec.Payload, Outputs: rec.Links()}
		}
	case *journal.Failure:
		if rec.Sender == l.ev.Sender && rec.Event < daemon.EventTimer {
			number, f = rec.Number, &found{Err: rec.Fault()}
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

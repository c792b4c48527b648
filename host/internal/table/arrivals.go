package table

import (
	"fmt"

	"wasmhost.example/identity"
)

// FullError says that as many daemons are on their way here as may be at a time.
type FullError struct {
	Count int
	Peer  bool // of one peer; else of all
}

func (e *FullError) Error() string { return fmt.Sprintf("%d daemons are on their way here", e.Count) }

// Admit reserves the place of a daemon that is to come; its name is free, and is not
// taken yet: see ReserveName. ErrArriving, *FullError, ErrPresent, ErrName.
func (t *Table[D, A, M]) Admit(a A) error {
	id := a.Entity()
	t.mu.Lock()
	defer t.mu.Unlock()

	if _, ok := t.arrivals[id]; ok {
		return ErrArriving
	}
	if err := t.room(a.From()); err != nil {
		return err
	}
	if _, ok := t.daemons[id]; ok {
		return ErrPresent
	}
	if other, ok := t.names[a.Name()]; ok && other != id {
		return ErrName
	}
	t.arrivals[id] = a
	return nil
}

// room returns a *FullError where the peer, or all together, have as many arrivals as
// they may. It needs t.mu.
func (t *Table[D, A, M]) room(from identity.NodeID) error {
	if n := len(t.arrivals); n >= t.ofNode {
		return &FullError{Count: n}
	}

	n := 0
	for _, a := range t.arrivals {
		if a.From() == from {
			n++
		}
	}
	if n >= t.ofPeer {
		return &FullError{Count: n, Peer: true}
	}
	return nil
}

// ReserveName takes the name of an arrival whose state has come: ErrReplaced, ErrName.
func (t *Table[D, A, M]) ReserveName(a A) error {
	id, name := a.Entity(), a.Name()
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.arrivals[id] != a {
		return ErrReplaced
	}
	if other, ok := t.names[name]; ok && other != id {
		return ErrName
	}
	t.names[name] = id
	return nil
}

// PutArrival puts an arrival and its name into the table, whatever was there: the store
// says that it is this node's to settle.
func (t *Table[D, A, M]) PutArrival(a A) {
	id, name := a.Entity(), a.Name()
	t.mu.Lock()
	defer t.mu.Unlock()

	t.arrivals[id], t.names[name] = a, id
}

// Activate makes a daemon that has come this node's: d takes the place of its arrival,
// and is expected no longer.
func (t *Table[D, A, M]) Activate(a A, d D) {
	id := a.Entity()
	t.mu.Lock()
	defer t.mu.Unlock()

	delete(t.arrivals, id)
	if e := t.expected[id]; e != nil {
		e.wipe()
		delete(t.expected, id)
	}
	t.daemons[id] = d
}

// Refuse takes an arrival that was admitted out of the table, where it is there.
func (t *Table[D, A, M]) Refuse(a A) {
	t.mu.Lock()
	defer t.mu.Unlock()

	if id := a.Entity(); t.arrivals[id] == a {
		delete(t.arrivals, id)
	}
}

// Drop is Refuse of an arrival that may have reserved its name.
func (t *Table[D, A, M]) Drop(a A) {
	id, name := a.Entity(), a.Name()
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.arrivals[id] == a {
		delete(t.arrivals, id)
	}
	if t.names[name] == id {
		delete(t.names, name)
	}
}

// Arrival returns the daemon on its way here of that identity; zero where there is none.
func (t *Table[D, A, M]) Arrival(id identity.EntityID) A {
	t.mu.RLock()
	defer t.mu.RUnlock()

	return t.arrivals[id]
}

// CountArrivals returns how many daemons are on their way here.
func (t *Table[D, A, M]) CountArrivals() int {
	t.mu.RLock()
	defer t.mu.RUnlock()

	return len(t.arrivals)
}

// Package table is who is where: the daemons that a node answers for, their names,
// those that are on their way here or away, those that it was told to expect, and
// the tombstones of those that left.
//
// Each change is one method and one critical section. The table's lock is never held
// across a call out of the package, but for the accessors of what it stores, and its
// tombstones' lock is the only one that is taken under it.
package table

import (
	"errors"
	"maps"
	"slices"

	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/identity"
)

// Errors of a change that the table refuses. They are returned as they are.
var (
	ErrClosed   = errors.New("the table takes no more daemons")
	ErrPresent  = errors.New("the daemon is here")
	ErrArriving = errors.New("the daemon is on its way here")
	ErrName     = errors.New("another daemon has the name")
	ErrExpected = errors.New("the daemon is expected already")
	ErrReplaced = errors.New("the arrival is not in the table")
)

// Daemon is what the table has to know of a daemon. What the methods return does not
// change while the daemon is in the table; they take no lock.
type Daemon interface {
	comparable
	Entity() identity.EntityID
	Name() string
	Kind() string
}

// Arrival is a daemon on its way here. Its methods are as Daemon's.
type Arrival interface {
	comparable
	Entity() identity.EntityID
	Name() string
	From() identity.NodeID
}

// Departure is a daemon's migration away from here. Its method is as Daemon's.
type Departure interface {
	comparable
	Entity() identity.EntityID
}

// Table is one node's table. Its zero value is not ready for use; it is safe for
// concurrent use.
type Table[D Daemon, A Arrival, M Departure] struct {
	*Tombstones

	ofPeer, ofNode int // how many arrivals one peer, and all together, may have

	mu         lock.RWMutex[lock.Table] // guards what follows
	closed     bool
	daemons    map[identity.EntityID]D
	names      map[string]identity.EntityID // of daemons, and of arrivals that have reserved theirs
	arrivals   map[identity.EntityID]A
	departures map[identity.EntityID]M
	expected   map[identity.EntityID]*expectation
}

// New makes an empty table, which takes at most ofPeer arrivals of one peer at a time,
// and ofNode of all. Tombstones are those of e's store.
func New[D Daemon, A Arrival, M Departure](e *env.Env, ofPeer, ofNode int) *Table[D, A, M] {
	return &Table[D, A, M]{
		Tombstones: newTombstones(e), ofPeer: ofPeer, ofNode: ofNode,
		daemons: make(map[identity.EntityID]D), names: make(map[string]identity.EntityID),
		arrivals: make(map[identity.EntityID]A), departures: make(map[identity.EntityID]M),
		expected: make(map[identity.EntityID]*expectation),
	}
}

// Daemon returns a daemon that is here; zero where it is not.
func (t *Table[D, A, M]) Daemon(id identity.EntityID) D {
	t.mu.RLock()
	d := t.daemons[id]
	t.mu.RUnlock()
	return d
}

// Daemons returns the daemons that are here, in no order. The caller owns the slice.
func (t *Table[D, A, M]) Daemons() []D {
	t.mu.RLock()
	defer t.mu.RUnlock()

	return slices.AppendSeq(make([]D, 0, len(t.daemons)), maps.Values(t.daemons))
}

// Count returns how many daemons are here.
func (t *Table[D, A, M]) Count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()

	return len(t.daemons)
}

// OfKind returns the daemons here that are of the kind, in no order.
func (t *Table[D, A, M]) OfKind(kind string) []D {
	t.mu.RLock()
	defer t.mu.RUnlock()

	var out []D
	for _, d := range t.daemons {
		if d.Kind() == kind {
			out = append(out, d)
		}
	}
	return out
}

// CountKind returns how many daemons here are of the kind.
func (t *Table[D, A, M]) CountKind(kind string) int {
	t.mu.RLock()
	defer t.mu.RUnlock()

	n := 0
	for _, d := range t.daemons {
		if d.Kind() == kind {
			n++
		}
	}
	return n
}

// ByOrigin returns the daemon here of that origin; zero where there is none.
func (t *Table[D, A, M]) ByOrigin(o identity.OriginHash) D {
	t.mu.RLock()
	defer t.mu.RUnlock()

	for id, d := range t.daemons {
		if id.Origin() == o {
			return d
		}
	}
	var none D
	return none
}

// Named returns the daemon, here or on its way here, that has the name.
func (t *Table[D, A, M]) Named(name string) (identity.EntityID, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()

	id, ok := t.names[name]
	return id, ok
}

// Place is where a daemon is. What does not concern it is zero.
type Place[D Daemon, A Arrival, M Departure] struct {
	Here    D
	Coming  A
	Leaving M
	Went    Tombstone // of a daemon that is not here
}

// Look returns where the daemon is, and does not ask for its tombstone.
func (t *Table[D, A, M]) Look(id identity.EntityID) Place[D, A, M] {
	t.mu.RLock()
	defer t.mu.RUnlock()

	return Place[D, A, M]{Here: t.daemons[id], Coming: t.arrivals[id], Leaving: t.departures[id]}
}

// Find returns where the daemon is or went. One that comes back meanwhile is seen: here,
// or by what is known of it until then. An error is that of reading its tombstone; what
// is in memory is returned all the same.
func (t *Table[D, A, M]) Find(id identity.EntityID) (p Place[D, A, M], err error) {
	var none D
	for range 2 {
		went := p.Went
		p = t.Look(id)
		p.Went = went
		if p.Here != none || went.Known() || err != nil {
			break
		}
		p.Went, err = t.Tombstone(id)
	}
	if p.Here != none {
		p.Went = Tombstone{}
	}
	return p, err
}

// Reserve puts a daemon that is to begin into the table: ErrClosed, ErrPresent,
// ErrArriving, ErrName.
func (t *Table[D, A, M]) Reserve(d D) error {
	id, name := d.Entity(), d.Name()
	t.mu.Lock()
	defer t.mu.Unlock()

	if t.closed {
		return ErrClosed
	}
	if _, ok := t.daemons[id]; ok {
		return ErrPresent
	}
	if _, ok := t.arrivals[id]; ok {
		return ErrArriving
	}
	if _, ok := t.names[name]; ok {
		return ErrName
	}
	t.daemons[id], t.names[name] = d, id
	return nil
}

// Put makes d the daemon of its identity and its name, whatever was there: it is known
// to be this node's.
func (t *Table[D, A, M]) Put(d D) {
	id, name := d.Entity(), d.Name()
	t.mu.Lock()
	defer t.mu.Unlock()

	t.daemons[id], t.names[name] = d, id
}

// PutNamed is Put, unless another daemon has the name: ErrName.
func (t *Table[D, A, M]) PutNamed(d D) error {
	id, name := d.Entity(), d.Name()
	t.mu.Lock()
	defer t.mu.Unlock()

	if other, ok := t.names[name]; ok && other != id {
		return ErrName
	}
	t.daemons[id], t.names[name] = d, id
	return nil
}

// Remove takes d and its name out of the table, and nothing that has replaced it.
func (t *Table[D, A, M]) Remove(d D) {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.remove(d)
}

// remove needs t.mu.
func (t *Table[D, A, M]) remove(d D) {
	id := d.Entity()
	if t.daemons[id] == d {
		delete(t.daemons, id)
	}
	if name := d.Name(); t.names[name] == id {
		delete(t.names, name)
	}
}

// Leave is Remove of a daemon that left its tombstone; stored says that the store has
// that. It returns daemons that left before, and of which memory has lost all by this.
func (t *Table[D, A, M]) Leave(d D, grave Tombstone, stored bool) (lost []identity.EntityID) {
	t.mu.Lock()
	defer t.mu.Unlock()

	lost = t.went(d.Entity(), grave, stored)
	t.remove(d)
	return lost
}

// Depart notes that a daemon's migration away from here is under way.
func (t *Table[D, A, M]) Depart(m M) {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.departures[m.Entity()] = m
}

// EndDeparture notes that the daemon's migration away from here is over.
func (t *Table[D, A, M]) EndDeparture(id identity.EntityID) {
	t.mu.Lock()
	defer t.mu.Unlock()

	delete(t.departures, id)
}

// Moving returns the migrations away from here and the arrivals, in no order.
func (t *Table[D, A, M]) Moving() ([]M, []A) {
	t.mu.RLock()
	defer t.mu.RUnlock()

	return slices.Collect(maps.Values(t.departures)), slices.Collect(maps.Values(t.arrivals))
}

// Close makes Reserve and Expect refuse from now on.
func (t *Table[D, A, M]) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.closed = true
}

// Empty takes out of a closed table the daemons and arrivals, which it returns, and what
// is expected, whose keys it wipes; the migrations away too, where they are over.
func (t *Table[D, A, M]) Empty(over bool) (daemons []D, arrivals []A) {
	t.mu.Lock()
	defer t.mu.Unlock()

	daemons, arrivals = slices.Collect(maps.Values(t.daemons)), slices.Collect(maps.Values(t.arrivals))
	clear(t.daemons)
	clear(t.names)
	clear(t.arrivals)
	if over {
		clear(t.departures)
	}
	for _, e := range t.expected {
		e.wipe()
	}
	clear(t.expected)
	return daemons, arrivals
}

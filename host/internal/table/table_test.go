package table

import (
	"errors"
	"slices"
	"testing"

	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

type thing struct {
	id   identity.EntityID
	name string
	kind string
	from identity.NodeID
}

func (d *thing) Entity() identity.EntityID { return d.id }
func (d *thing) Name() string              { return d.name }
func (d *thing) Kind() string              { return d.kind }
func (d *thing) From() identity.NodeID     { return d.from }

type things = Table[*thing, *thing, *thing]

// of is a thing whose identity, name and kind say which it is.
func of(n byte, name string) *thing {
	return &thing{id: identity.EntityID{n}, name: name, kind: "k", from: identity.NodeID(n % 2)}
}

func newTable(ofPeer, ofNode int) *things {
	return New[*thing, *thing, *thing](&env.Env{}, ofPeer, ofNode)
}

func newStoredTable(t *testing.T) *things {
	t.Helper()
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return New[*thing, *thing, *thing](&env.Env{Store: s}, 4, 4)
}

// What a change is refused for, after others.
func TestRefusals(t *testing.T) {
	a, b := of(1, "a"), of(2, "b")
	for _, c := range []struct {
		name   string
		before func(*things)
		change func(*things) error
		want   error
	}{
		{"reserve", func(*things) {}, func(t *things) error { return t.Reserve(a) }, nil},
		{"reserve in a closed table", (*things).Close, func(t *things) error { return t.Reserve(a) }, ErrClosed},
		{"reserve what is here", func(t *things) { t.Put(a) }, func(t *things) error { return t.Reserve(of(1, "other")) }, ErrPresent},
		{"reserve what comes", func(t *things) { t.PutArrival(a) }, func(t *things) error { return t.Reserve(of(1, "other")) }, ErrArriving},
		{"reserve another's name", func(t *things) { t.Put(a) }, func(t *things) error { return t.Reserve(of(2, "a")) }, ErrName},
		{"reserve the name of what comes", func(t *things) { t.PutArrival(a) }, func(t *things) error { return t.Reserve(of(2, "a")) }, ErrName},
		{"reserve after a removal", func(t *things) { t.Put(a); t.Remove(a) }, func(t *things) error { return t.Reserve(a) }, nil},
		{"put another's name", func(t *things) { t.Put(a) }, func(t *things) error { return t.PutNamed(of(2, "a")) }, ErrName},
		{"put the own name", func(t *things) { t.Put(a) }, func(t *things) error { return t.PutNamed(of(1, "a")) }, nil},
		{"admit", func(*things) {}, func(t *things) error { return t.Admit(a) }, nil},
		{"admit twice", func(t *things) { t.PutArrival(a) }, func(t *things) error { return t.Admit(of(1, "a")) }, ErrArriving},
		{"admit what is here", func(t *things) { t.Put(a) }, func(t *things) error { return t.Admit(of(1, "a")) }, ErrPresent},
		{"admit with another's name", func(t *things) { t.Put(a) }, func(t *things) error { return t.Admit(of(2, "a")) }, ErrName},
		{"reserve the own name", func(t *things) { t.PutArrival(a) }, func(t *things) error { return t.ReserveName(a) }, nil},
		{"reserve a name that was taken since", func(t *things) {
			if err := errors.Join(t.Admit(a), t.Reserve(of(2, "a"))); err != nil {
				panic(err)
			}
		}, func(t *things) error { return t.ReserveName(a) }, ErrName},
		{"reserve the name of what was refused", func(t *things) { t.PutArrival(a); t.Refuse(a) }, func(t *things) error { return t.ReserveName(a) }, ErrReplaced},
		{"expect twice", func(t *things) {
			if err := t.Expect(a.id, "k", nil); err != nil {
				panic(err)
			}
		}, func(t *things) error { return t.Expect(a.id, "k", nil) }, ErrExpected},
		{"expect in a closed table", (*things).Close, func(t *things) error { return t.Expect(b.id, "k", nil) }, ErrClosed},
	} {
		tab := newTable(8, 8)
		c.before(tab)
		if err := c.change(tab); err != c.want {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

func TestArrivalsAreBounded(t *testing.T) {
	tab := newTable(2, 3)
	var full *FullError
	for n, c := range []struct {
		from identity.NodeID
		want *FullError
	}{{1, nil}, {1, nil}, {1, &FullError{2, true}}, {2, nil}, {2, &FullError{3, false}}} {
		err := tab.Admit(&thing{id: identity.EntityID{byte(n + 1)}, name: string(rune('a' + n)), from: c.from})
		if c.want == nil && err != nil || c.want != nil && (!errors.As(err, &full) || *full != *c.want) {
			t.Errorf("arrival %d, of node %d: got %v, want %v", n, c.from, err, c.want)
		}
	}
}

// A daemon comes: its arrival, its name and what was expected of it give way to it, and
// the key that was given is wiped.
func TestActivate(t *testing.T) {
	tab := newTable(8, 8)
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	a := &thing{id: key.ID(), name: "a", kind: "k"}
	if err := errors.Join(tab.Expect(a.id, "k", key), tab.Admit(a), tab.ReserveName(a)); err != nil {
		t.Fatal(err)
	}
	if bound, ok := tab.BindSource(a.id, 7); bound != 7 || !ok {
		t.Errorf("binding it to a source: got %v, %v", bound, ok)
	}
	if bound, ok := tab.BindSource(a.id, 8); bound != 7 || !ok {
		t.Errorf("binding it to another source: got %v, %v, want the first", bound, ok)
	}
	if kind, source, ok := tab.Expected(a.id); kind != "k" || source != 7 || !ok {
		t.Errorf("it is expected: got %q, %v, %v", kind, source, ok)
	}
	if given := tab.ExpectedKey(a.id); given == nil || !given.CanSign() {
		t.Error("the key that was given is not there")
	}

	d := &thing{id: a.id, name: "a", kind: "k"}
	tab.Activate(a, d)
	if p, err := tab.Find(a.id); err != nil || p.Here != d || p.Coming != nil {
		t.Errorf("where it is: got %+v, %v", p, err)
	}
	if _, _, ok := tab.Expected(a.id); ok || tab.CountExpected() != 0 || key.CanSign() {
		t.Error("it is still expected, or the key that was given is not wiped")
	}
	if id, ok := tab.Named("a"); id != a.id || !ok {
		t.Errorf("who has its name: got %v, %v", id, ok)
	}
}

// What was replaced takes nothing along when it goes.
func TestRemoveLeavesWhatReplacedIt(t *testing.T) {
	tab := newTable(8, 8)
	old, fresh := of(1, "a"), of(1, "a")
	tab.Put(old)
	tab.Put(fresh)
	tab.Remove(of(1, "b"))
	if got := tab.Daemon(fresh.id); got != fresh {
		t.Errorf("after a removal of what had its place: got %p, want %p", got, fresh)
	}

	tab.PutArrival(old)
	tab.Refuse(fresh)
	if got := tab.Arrival(old.id); got != old {
		t.Errorf("after a refusal of another attempt: got %p, want %p", got, old)
	}
	tab.Drop(old)
	if _, ok := tab.Named("a"); ok || tab.CountArrivals() != 0 {
		t.Error("what was dropped has a place or a name")
	}
}

// One critical section: whoever finds the daemon gone finds where it went.
func TestLeave(t *testing.T) {
	for _, stored := range []bool{false, true} {
		tab := newTable(8, 8)
		if stored {
			tab = newStoredTable(t)
		}
		d := of(1, "a")
		tab.Put(d)
		grave := Tombstone{Name: "a", Node: 9, Epoch: 3, Time: 5}
		if stored {
			b := &store.Batch{}
			if err := errors.Join(grave.Bury(b, d.id), tab.env.Store.Commit(b)); err != nil {
				t.Fatal(err)
			}
		}
		if lost := tab.Leave(d, grave, stored); len(lost) != 0 {
			t.Errorf("memory lost %v", lost)
		}
		p, err := tab.Find(d.id)
		if err != nil || p.Here != nil || p.Went.Epoch != 3 || p.Went.Node != 9 {
			t.Errorf("stored %v: where it went: got %+v, %v", stored, p, err)
		}
		if away, at, err := tab.LeftAt(d.id); !away || at != 5 || err != nil {
			t.Errorf("stored %v: when it left: got %v, %d, %v", stored, away, at, err)
		}

		found, err := tab.MovedBy(NameEntry("a"), func(_ identity.EntityID, name string) bool { return name == "a" })
		if err != nil || !slices.Equal(found, []identity.EntityID{d.id}) {
			t.Errorf("stored %v: found by its name: got %v, %v", stored, found, err)
		}
	}
}

// What is kept of a daemon's past stays while it comes back.
func TestIfAway(t *testing.T) {
	tab := newTable(8, 8)
	d := of(1, "a")
	tab.Put(d)
	tab.Leave(d, Tombstone{Epoch: 3, Time: 5}, false)
	forgotten := func() (is bool) {
		t.Helper()
		if err := tab.IfAway(d.id, func() { is = true }); err != nil {
			t.Error(err)
		}
		return is
	}
	if !forgotten() {
		t.Error("it is away, and nothing is forgotten")
	}

	went, back, err := tab.Returns(d.id)
	if err != nil || went.Epoch != 3 {
		t.Fatalf("it returns: got %+v, %v", went, err)
	}
	if forgotten() {
		t.Error("it comes back, and its past is forgotten")
	}
	tab.Put(d)
	back(true)
	if forgotten() {
		t.Error("it is here, and its past is forgotten")
	}
	tab.Remove(d)
	if p, err := tab.Find(d.id); err != nil || p.Went.Known() {
		t.Errorf("the tombstone of a daemon that came back: got %+v, %v", p, err)
	}
}

// A node without a store holds so many tombstones; of those before, the epoch.
func TestMemoryLosesTheOldest(t *testing.T) {
	tab := newTable(8, 8)
	tab.BoundMemory(2)
	var lost []identity.EntityID
	for n := range byte(4) {
		d := of(n+1, string(rune('a'+n)))
		tab.Put(d)
		lost = append(lost, tab.Leave(d, Tombstone{Epoch: 10 - uint64(n), Time: int64(n + 1)}, false)...)
	}
	if want := []identity.EntityID{{1}, {2}}; !slices.Equal(lost, want) {
		t.Errorf("lost %v, want %v", lost, want)
	}
	if low := tab.Lowest(); low != 11 {
		t.Errorf("the lowest epoch of an identity that nothing is known of: got %d, want 11", low)
	}
}

func TestEmpty(t *testing.T) {
	tab := newTable(8, 8)
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	d, a, m := of(1, "a"), of(2, "b"), of(3, "c")
	tab.Put(d)
	tab.PutArrival(a)
	tab.Depart(m)
	if err := tab.Expect(key.ID(), "k", key); err != nil {
		t.Fatal(err)
	}

	tab.Close()
	daemons, arrivals := tab.Empty(false)
	if !slices.Equal(daemons, []*thing{d}) || !slices.Equal(arrivals, []*thing{a}) || key.CanSign() {
		t.Errorf("took out %v and %v; the expected key is there: %v", daemons, arrivals, key.CanSign())
	}
	if leaving, coming := tab.Moving(); len(leaving) != 1 || len(coming) != 0 || tab.Count() != 0 {
		t.Errorf("left: %v on their way here, %v away, %d here", coming, leaving, tab.Count())
	}
	tab.Empty(true)
	if leaving, _ := tab.Moving(); len(leaving) != 0 {
		t.Errorf("migrations that are over are left: %v", leaving)
	}
}

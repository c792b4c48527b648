package group

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"wasmhost.example/host/placement"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

func someGroup(t testing.TB) *Group {
	t.Helper()
	g := &Group{Spec: Spec{Name: "workers", Kind: "counter", Size: 2, Strategy: Consistent, Config: []byte("{}"), Standbys: 1, Ack: "disk",
		Place: placement.Requirements{Tags: map[string]string{"zone": "a"}, Prefer: map[string]string{"disk": "ssd"}, MinFreeMemory: 1 << 20, MaxSame: 1, Spread: "node", Pack: true}}}
	g.Seed = [32]byte{1, 2, 3}
	g.ID = IDOf(g.Seed)
	for i := range uint8(2) {
		key, err := identity.Replica(g.Seed, i)
		if err != nil {
			t.Fatal(err)
		}
		g.Members = append(g.Members, Member{Index: i, Entity: key.ID(), Node: 7, Epoch: 3, Health: Silent, Reason: "it is quiet", Lost: []identity.NodeID{9}, Born: uint64(i) + 4})
	}
	g.Made = 5
	return g
}

// TestStoredGroups are the same after a restart, and their seed is nobody else's to read.
func TestStoredGroups(t *testing.T) {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	node, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	r, want := NewStored(s, node), someGroup(t)
	if err := r.Put(want); err != nil {
		t.Fatal(err)
	}
	all, err := NewStored(s, node).All()
	if err != nil || len(all) != 1 || !reflect.DeepEqual(all[0], want) {
		t.Fatalf("kept: %+v, %v; want %+v", all, err, want)
	}
	rec, err := s.Get(store.Groups, []byte("workers"))
	if err != nil || bytes.Contains(rec, want.Seed[:]) {
		t.Errorf("the record has the seed as it is, or %v", err)
	}
	other, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewStored(s, other).All(); err == nil {
		t.Error("another node reads the seed")
	}
	for i := range rec { // whatever is bent is an error, or another group; never a panic
		bent := bytes.Clone(rec)
		bent[i] ^= 0x41
		if g, err := r.decode(bent); err == nil && reflect.DeepEqual(g, want) {
			t.Errorf("a record that is bent at %d is the same group", i)
		}
	}
	if err := r.Delete("workers"); err != nil {
		t.Fatal(err)
	}
	if all, err := r.All(); err != nil || len(all) != 0 {
		t.Errorf("forgotten: %v, %v", all, err)
	}
	b := &store.Batch{}
	b.Put(store.Groups, []byte("x"), []byte{0x80})
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	if _, err := r.All(); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("what is no record: %v", err)
	}
}

func FuzzGroupRecord(f *testing.F) {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = s.Close() })
	node, err := identity.Generate()
	if err != nil {
		f.Fatal(err)
	}
	r := NewStored(s, node)
	if err := r.Put(someGroup(f)); err != nil {
		f.Fatal(err)
	}
	rec, err := s.Get(store.Groups, []byte("workers"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(rec)
	f.Fuzz(func(t *testing.T, b []byte) {
		if g, err := r.decode(b); err == nil && g.validate() != nil {
			t.Errorf("a group that is not valid: %+v", g)
		}
	})
}

// The bindings of a group are the same after a restart, and go with it.
func TestStoredBindings(t *testing.T) {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	node, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	r := NewStored(s, node)
	all := func(group string) map[identity.EntityID]Binding {
		t.Helper()
		out := map[identity.EntityID]Binding{}
		if err := r.Bindings(group, func(b Binding) error { out[b.Sender] = b; return nil }); err != nil {
			t.Fatal(err)
		}
		return out
	}
	one := Binding{Sender: identity.NamedSender("one"), Floor: 3, Runs: []Run{{4, 1}, {9, 2}}, UpTo: 12, Time: 5}
	two := Binding{Sender: identity.NamedSender("two"), Runs: []Run{{1, 7}}, UpTo: 1, Time: -5}
	for _, b := range []Binding{one, two} {
		if err := errors.Join(r.Bind("g", b), r.Bind("g2", b)); err != nil {
			t.Fatal(err)
		}
	}
	if got := all("g"); len(got) != 2 || !reflect.DeepEqual(got[one.Sender], one) || !reflect.DeepEqual(got[two.Sender], two) {
		t.Errorf("%+v", got)
	}
	if err := r.Unbind("g", []identity.EntityID{one.Sender}); err != nil || len(all("g")) != 1 {
		t.Errorf("%+v, %v", all("g"), err)
	}
	if err := r.Delete("g"); err != nil || len(all("g")) != 0 || len(all("g2")) != 2 {
		t.Errorf("%+v, %+v, %v", all("g"), all("g2"), err)
	}
	b := &store.Batch{}
	b.Put(store.Bindings, bindingKey("g", one.Sender), []byte{0x80})
	if err := s.Commit(b); err != nil {
		t.Fatal(err)
	}
	if err := r.Bindings("g", func(Binding) error { return nil }); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("what is no record: %v", err)
	}
}

// A group that an earlier version kept is read, and its members are told apart from then
// on.
func TestOlderGroups(t *testing.T) {
	for _, members := range []int{0, 2} {
		old := olderRecord{Name: "workers", Kind: "counter", Size: 2, Strategy: Consistent, Seed: []byte("sealed")}
		for i := range members {
			old.Members = append(old.Members, olderMember{Index: uint8(i), Node: 7, Epoch: 3})
		}
		b, err := canon.Marshal(&old)
		if err != nil {
			t.Fatal(err)
		}
		rec, err := decodeGroup(b)
		if err != nil || rec.Name != "workers" || rec.Strategy != Consistent || len(rec.Members) != members || rec.Made <= MaxSize {
			t.Fatalf("%+v, %v", rec, err)
		}
		for i, m := range rec.Members {
			if m.Born != uint64(i)+1 || m.Node != 7 || m.Epoch != 3 {
				t.Errorf("member %d: %+v", i, m)
			}
		}
	}
}

func FuzzBindingRecord(f *testing.F) {
	b, err := encodeBinding(Binding{Floor: 3, Runs: []Run{{4, 1}, {9, 2}}, UpTo: 12, Time: 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:len(b)-1])
	f.Fuzz(func(t *testing.T, b []byte) {
		sender := identity.NamedSender("s")
		got, err := decodeBinding(sender, b)
		if err != nil {
			return
		}
		again, err := encodeBinding(got)
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is read as what is written as %x, %v", b, again, err)
		}
		table := newBindings(SenderMemory{}, nil)
		table.add(got)
		one := table.of(sender)
		for _, run := range got.Runs {
			if one.run(run.From) != run {
				t.Errorf("number %d is in run %+v, not %+v", run.From, one.run(run.From), run)
			}
		}
	})
}

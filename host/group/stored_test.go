package group

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"wasmhost/host/placement"
	"wasmhost/host/store"
	"wasmhost/identity"
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
		g.Members = append(g.Members, Member{Index: i, Entity: key.ID(), Node: 7, Epoch: 3, Health: Silent, Reason: "it is quiet", Lost: []identity.NodeID{9}})
	}
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

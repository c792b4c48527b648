package directory_test

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

func named(t *testing.T, n *node, name string) directory.Daemon {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return directory.Daemon{Entity: key.ID(), Name: name, Owner: n.id(), Epoch: 1}
}

func TestANameIsOneDaemons(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 1, 1)
		time.Sleep(time.Second)
		for round := range 50 {
			var all sync.WaitGroup
			made := make([]*directory.Entry, len(c.nodes))
			for i, n := range c.nodes {
				d := named(t, n, "x")
				all.Go(func() {
					e, err := n.member.Create(t.Context(), d)
					taken := new(directory.NameTakenError)
					switch {
					case err == nil:
						made[i] = &e
					case !errors.As(err, &taken):
						t.Errorf("round %d: node %d: %v", round, i, err)
					}
				})
			}
			all.Wait()
			count := 0
			for i, e := range made {
				if e == nil {
					continue
				}
				count++
				if err := c.nodes[i].member.Delete(t.Context(), *e); err != nil {
					t.Fatal(err)
				}
			}
			if count != 1 {
				t.Fatalf("round %d: %d daemons got one name", round, count)
			}
		}
	})
}

func TestAnOwnerKeepsItsNameWhileItMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 1)
		time.Sleep(time.Second)
		a, b := c.nodes[0], c.nodes[1]
		e, err := a.member.Create(t.Context(), named(t, a, "x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.member.Create(t.Context(), e.Daemon); !errors.As(err, new(*directory.NameTakenError)) && !errors.Is(err, directory.ErrConflict) {
			t.Errorf("made twice: %v", err)
		}
		d := e.Daemon
		d.Owner, d.Epoch = b.id(), 2
		if e, err = a.member.Put(t.Context(), e, d); err != nil {
			t.Fatal(err)
		}
		taken := new(directory.NameTakenError)
		if _, err := a.member.Create(t.Context(), named(t, a, "x")); !errors.As(err, &taken) || taken.By != d.Entity || taken.Owner != b.id() {
			t.Errorf("the name of one that moved: %v", err)
		}
		if err := b.member.Delete(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if _, err := a.member.Create(t.Context(), named(t, a, "x")); err != nil {
			t.Errorf("a name that was freed: %v", err)
		}
	})
}

// TestNamesOfBefore is a cluster with daemons of a version that wrote no names, and
// with names that such a version did not free.
func TestNamesOfBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		time.Sleep(time.Second)
		a := c.nodes[0]
		old, err := a.member.Put(t.Context(), directory.Entry{}, named(t, a, "old"))
		if err != nil {
			t.Fatal(err)
		}
		if err := a.member.Delete(t.Context(), old); err != nil {
			t.Fatal(err)
		}
		if _, err := a.member.Create(t.Context(), named(t, a, "kept")); err != nil {
			t.Fatal(err)
		}
		gone, err := a.member.Create(t.Context(), named(t, a, "dangling"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.mem.Link().Commit(t.Context(), nil, []directory.Write{{Key: "daemon/" + gone.Entity.String()}}); err != nil {
			t.Fatal(err)
		}
		e, err := a.member.Create(t.Context(), named(t, a, "dangling"))
		if err != nil {
			t.Fatalf("the name of a daemon that is no more: %v", err)
		}
		if _, err := a.member.Create(t.Context(), named(t, a, "dangling")); !errors.As(err, new(*directory.NameTakenError)) {
			t.Errorf("a name that was taken anew: %v", err)
		}
		if err := a.member.Delete(t.Context(), e); err != nil {
			t.Error(err)
		}
	})
}

func TestAGroupIsOneNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 1, 1)
		time.Sleep(time.Second)
		for round := range 50 {
			var all sync.WaitGroup
			kept := make([]bool, len(c.nodes))
			for i, n := range c.nodes {
				all.Go(func() {
					err := n.member.ClaimGroup(t.Context(), "g")
					taken := new(directory.GroupTakenError)
					if kept[i] = err == nil; err != nil && !errors.As(err, &taken) {
						t.Errorf("round %d: node %d: %v", round, i, err)
					}
				})
			}
			all.Wait()
			count := 0
			for i, n := range c.nodes {
				if kept[i] {
					count++
					if err := n.member.ClaimGroup(t.Context(), "g"); err != nil {
						t.Errorf("round %d: once more: %v", round, err)
					}
				}
				if err := n.member.ReleaseGroup(t.Context(), "g"); err != nil { // of another's nothing is released
					t.Fatal(err)
				}
			}
			if count != 1 {
				t.Fatalf("round %d: %d nodes keep one group", round, count)
			}
		}
		if err := c.nodes[0].member.ClaimGroup(t.Context(), "g"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for i, n := range c.nodes {
			if got := n.member.Keeps(c.nodes[0].id()); len(got) != 1 || got[0] != "g" {
				t.Errorf("node %d hears that node 0 keeps %q", i, got)
			}
		}
	})
}

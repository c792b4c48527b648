package host_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

func TestANameIsTakenInTheWholeCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		a, b := c.nodes[0], c.nodes[1]
		d := a.spawn(0, directory.AckMemory)
		if _, err := b.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "n", Name: "c1"}); !errors.Is(err, daemon.ErrNameTaken) {
			t.Errorf("a second c1, on another node: %v", err)
		}
		if _, err := b.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "n", Name: "c2"}); err != nil {
			t.Fatal(err)
		}
		if err := a.rt.Stop(t.Context(), d.Entity); err != nil {
			t.Fatal(err)
		}
		if _, err := b.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "n", Name: "c1"}); err != nil {
			t.Errorf("c1, once the first is stopped: %v", err)
		}
	})
}

// TestASpawnCutShortFreesItsName is a node that claimed a daemon and ended before it
// had kept anything of it.
func TestASpawnCutShortFreesItsName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		a, b := c.nodes[0], c.nodes[1]
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		dir, err := a.rt.Cluster()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dir.Create(t.Context(), directory.Daemon{Entity: key.ID(), Name: "c1", Owner: a.id(), Epoch: 1}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "n", Name: "c1"}); !errors.Is(err, daemon.ErrNameTaken) {
			t.Errorf("on another node: %v", err)
		}
		d := a.spawn(0, directory.AckMemory)
		c.countTo(d.Entity, someone(t), 1)
		time.Sleep(5 * time.Second)
		if _, err := dir.Read(t.Context(), key.ID()); !errors.Is(err, directory.ErrNotListed) {
			t.Errorf("what was cut short is still listed: %v", err)
		}
	})
}

package host_test

import (
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/store"
)

// TestAStoreIsOlderThanTheNodesLastLife holds a node's store against what the directory
// has of its lives.
func TestAStoreIsOlderThanTheNodesLastLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 1)
		a := c.nodes[0]
		a.spawn(0, 0)
		time.Sleep(5 * time.Second)
		life := func() []byte {
			t.Helper()
			l, err := directory.LifeOf(t.Context(), c.mem.Link(), a.id())
			if err != nil || len(l) == 0 {
				t.Fatalf("the directory has life %x, %v", l, err)
			}
			return l
		}
		older := func(life []byte) bool {
			t.Helper()
			is, err := host.OlderThan(a.s, life)
			if err != nil {
				t.Fatal(err)
			}
			return is
		}
		first := life()
		if older(first) {
			t.Error("the store of the life that runs is older than it")
		}
		a.stop()
		if older(life()) {
			t.Error("the store of a life that has ended is older than it")
		}
		a.start()
		time.Sleep(5 * time.Second)
		second := life()
		if older(second) || !older(first) {
			t.Errorf("after a second life it is older than that: %v, than the first: %v; want false, true", older(second), older(first))
		}
		if older(nil) {
			t.Error("it is older than a life that the directory does not have")
		}
		empty, err := store.Open(store.Options{Ephemeral: true})
		if err != nil {
			t.Fatal(err)
		}
		defer empty.Close()
		if is, err := host.OlderThan(empty, second); err != nil || !is {
			t.Errorf("an empty store is older: %v, %v", is, err)
		}
	})
}

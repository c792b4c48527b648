package host_test

import (
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host/directory"
)

// TestOwnerWithNothingHandsOver gives the owner an empty disk while all nodes are down:
// its standby in sync goes on with all that was acknowledged.
func TestOwnerWithNothingHandsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDiskCluster(t, 3)
		a := c.nodes[0]
		d, sender := a.spawn(1, directory.AckDisk), someone(t)
		e := c.inSync(d.Entity, 1)
		for n := uint64(1); n <= 20; n++ {
			c.countTo(d.Entity, sender, n)
		}

		c.killAll(map[*member]*vfs.MemFS{a: vfs.NewCrashableMem()})
		c.backAll(a)
		m, i := c.serving(d.Entity)
		if m.id() != e.Standbys[0] || i.EventsProcessed != 20 || i.Epoch != 2 {
			t.Fatalf("node %s (the standby is %s) serves %d of 20 events, epoch %d", m.id(), e.Standbys[0], i.EventsProcessed, i.Epoch)
		}
		c.countTo(d.Entity, sender, 21)
		if r := c.verifyChain(m, d.Entity); r.Outputs != 21 {
			t.Errorf("the chain has %d outputs of 21", r.Outputs)
		}
	})
}

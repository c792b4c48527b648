package host_test

import (
	"errors"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/store"
)

// restored makes a disk one of a node that was restored from a backup, and owned one
// daemon.
func restored(t *testing.T, disk *vfs.MemFS) *vfs.MemFS {
	t.Helper()
	return restoredOf(t, disk, 1)
}

// restoredOf is restored of a node that owned so many daemons.
func restoredOf(t *testing.T, disk *vfs.MemFS, daemons int) *vfs.MemFS {
	t.Helper()
	s, err := store.Open(store.Options{Dir: filepath.Join(compiled, "data"), FS: disk, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	in := host.Incarnation{Number: 1, Backup: "b", Taken: time.Now(), Restored: time.Now()}
	if n, err := host.MarkRestored(s, in); err != nil || n != daemons {
		t.Fatalf("%d daemons are marked, %v", n, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return disk
}

// TestRestoredOwnerAsksItsStandbys restores an owner from a backup while all nodes are
// down. An in-sync standby with no more confirms it, one with more goes on, and one that
// is silent, or none at all, confirms nothing.
func TestRestoredOwnerAsksItsStandbys(t *testing.T) {
	for _, test := range []struct {
		name     string
		standbys int
		after    uint64 // events after the backup
		silent   bool   // the standby does not come back
		serves   string // owner, standby or nobody
	}{
		{"no more than the backup", 1, 0, false, "owner"},
		{"more than the backup", 1, 10, false, "standby"},
		{"silence", 1, 0, true, "nobody"},
		{"no standby", 0, 0, false, "nobody"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newDiskCluster(t, 3)
				a := c.nodes[0]
				d, sender := a.spawn(test.standbys, directory.AckDisk), someone(t)
				e := c.inSync(d.Entity, test.standbys)
				for n := uint64(1); n <= 10; n++ {
					c.countTo(d.Entity, sender, n)
				}
				old := a.backup(false)
				for n := uint64(11); n <= 10+test.after; n++ {
					c.countTo(d.Entity, sender, n)
				}
				c.killAll(map[*member]*vfs.MemFS{a: old})
				restored(t, a.disk)
				for _, m := range c.nodes {
					if !test.silent || m.id() != e.Standbys[0] {
						m.back()
					}
				}
				if test.serves == "nobody" {
					time.Sleep(2 * time.Minute)
					if i, err := a.rt.Daemons().Inspect(d.Entity); err != nil || i.State != daemon.HeldState {
						t.Fatalf("after two minutes: %s (%s), %v", i.State, i.Reason, err)
					}
					if _, err := a.rt.Deliver(t.Context(), d.Entity, daemon.Event{Sender: sender, Number: 30, Payload: []byte("x")}); !errors.Is(err, daemon.ErrHeld) {
						t.Errorf("an event: got %v, want ErrHeld", err)
					}
					if err := a.rt.Unconfirmed().ConfirmNode(t.Context()); !errors.Is(err, daemon.ErrHeld) {
						t.Errorf("confirming the node first: got %v, want ErrHeld", err)
					}
					return
				}
				m, i := c.serving(d.Entity)
				if (m == a) != (test.serves == "owner") || i.EventsProcessed != 10+test.after || i.Epoch != 2 {
					t.Fatalf("node %s (the owner was %s) serves %d events, epoch %d", m.id(), a.id(), i.EventsProcessed, i.Epoch)
				}
				c.countTo(d.Entity, sender, 11+test.after)
				c.inSync(d.Entity, 1)
			})
		})
	}
}

// TestRestoredDaemonIsNotEnrolled restores a node whose daemon the directory does not
// know: that makes it nobody's.
func TestRestoredDaemonIsNotEnrolled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDiskCluster(t, 2)
		a := c.nodes[0]
		d := a.spawn(0, directory.AckDisk)
		c.inSync(d.Entity, 0)
		c.killAll(map[*member]*vfs.MemFS{})
		c.mem = directory.NewMemory()
		restored(t, a.disk)
		for _, m := range c.nodes {
			m.back()
		}
		time.Sleep(time.Minute)
		dir, err := c.nodes[1].rt.Cluster()
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := dir.Look(d.Entity); ok {
			t.Errorf("the directory has %+v", e)
		}
		if _, err := a.rt.Unconfirmed().Confirm(t.Context(), d.Entity); err != nil {
			t.Fatal(err)
		}
		if m, _ := c.serving(d.Entity); m != a {
			t.Errorf("after it was confirmed node %s serves it", m.id())
		}
	})
}

// TestRestoredStandbyWaitsForItsOwner restores a node that owns nothing and stands by for
// one daemon, from a backup that lacks the last events. By itself it serves nothing. Once
// the owner is back it is fed, and then it goes on for it as any standby does.
func TestRestoredStandbyWaitsForItsOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDiskCluster(t, 2)
		a := c.nodes[0]
		d, sender := a.spawn(1, directory.AckDisk), someone(t)
		b := c.at(c.inSync(d.Entity, 1).Standbys[0])
		count := uint64(0)
		more := func(n uint64) {
			t.Helper()
			for range n {
				count++
				c.countTo(d.Entity, sender, count)
			}
		}
		more(10)
		old := b.backup(false)
		more(5)
		c.killAll(map[*member]*vfs.MemFS{b: old})
		restoredOf(t, b.disk, 0)
		b.back()
		time.Sleep(time.Minute)
		if i, err := b.rt.Daemons().Inspect(d.Entity); err == nil || b.rt.Serves(d.Entity) {
			t.Fatalf("alone, on a copy of 10 events of 15, it serves: %+v", i)
		}
		if b.rt.Unconfirmed().Incarnation().Confirmed {
			t.Error("silence confirmed it")
		}
		a.back()
		if m, i := c.serving(d.Entity); m != a || i.EventsProcessed != 15 {
			t.Fatalf("node %s serves %d events", m.id(), i.EventsProcessed)
		}
		more(1)
		c.inSync(d.Entity, 1)
		a.kill(a.backup(true))
		time.Sleep(10 * time.Second)
		m, i := b, daemon.Info{}
		for range 600 { // the other runtime has ended
			var err error
			if i, err = b.rt.Daemons().Inspect(d.Entity); err == nil && b.rt.Serves(d.Entity) {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if i.EventsProcessed != 16 || !m.rt.Serves(d.Entity) {
			t.Errorf("fed by its owner, it went on with %d events of 16: %+v", i.EventsProcessed, i)
		}
		a.back()
		more(1)
		if r := c.verifyChain(b, d.Entity); r.Outputs != count {
			t.Errorf("the chain has %d outputs of %d", r.Outputs, count)
		}
	})
}

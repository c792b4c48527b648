package host_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
)

// lose removes from the directory what it says of a daemon, as a directory does that is
// made anew or rolled back: no removal is written.
func (c *testCluster) lose(d daemon.Info) {
	c.t.Helper()
	if _, err := c.mem.Link().Commit(c.t.Context(), nil, []directory.Write{{Key: "daemon/" + d.Entity.String()}, {Key: "name/" + d.Name}}); err != nil {
		c.t.Fatal(err)
	}
}

func (m *member) hasCopy(d daemon.Info) bool {
	for _, s := range m.rt.Copies().List() {
		if s.Entity == d.Entity && !s.Owned {
			return true
		}
	}
	return false
}

// TestAMissingEntryDropsNoCopy loses the directory's entry while the standby hears it,
// and while it is away: the copy stays, the node still names the daemon, and an owner
// that comes back has as many standbys as before.
func TestAMissingEntryDropsNoCopy(t *testing.T) {
	for name, away := range map[string]bool{"heard": false, "listed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 2)
				a, b := c.nodes[0], c.nodes[1]
				d := a.spawn(1, directory.AckDisk)
				c.inSync(d.Entity, 1)
				c.countTo(d.Entity, someone(t), 1)
				if away {
					b.stop()
				}
				c.lose(d)
				a.stop()
				if away {
					b.start()
				}
				time.Sleep(5 * time.Second)
				if !b.hasCopy(d) {
					t.Fatal("the copy of a daemon that the directory does not know any more is gone")
				}
				if known := b.rt.Places().Remembered(); len(known) != 1 || known[0].Name != d.Name || known[0].Owner != a.id() {
					t.Errorf("the standby remembers %+v", known)
				}
				a.start()
				if e := c.inSync(d.Entity, 1); e.Want != 1 || e.Ack != directory.AckDisk {
					t.Errorf("after the owner came back the directory has %+v", e)
				}
			})
		})
	}
}

// TestARemovalDropsTheCopy stops a daemon while its standby hears it, and while it is
// away.
func TestARemovalDropsTheCopy(t *testing.T) {
	for name, away := range map[string]bool{"heard": false, "listed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 3)
				a := c.nodes[0]
				d := a.spawn(1, directory.AckDisk)
				b := c.at(c.inSync(d.Entity, 1).Standbys[0])
				if away {
					b.stop()
					time.Sleep(5 * time.Second) // it leaves those in sync, and another comes
				}
				if err := a.rt.Stop(t.Context(), d.Entity); err != nil {
					t.Fatal(err)
				}
				if away {
					b.start()
				}
				time.Sleep(5 * time.Second)
				if b.hasCopy(d) {
					t.Error("the copy of a daemon that was stopped is there")
				}
				if known := b.rt.Places().Remembered(); len(known) != 0 {
					t.Errorf("it remembers %+v", known)
				}
			})
		})
	}
}

// TestAnUnsignedRemovalDropsNoCopy has a node remove a daemon whose key it does not have.
func TestAnUnsignedRemovalDropsNoCopy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		a := c.nodes[0]
		d := a.spawn(1, directory.AckMemory)
		e := c.inSync(d.Entity, 1)
		b := c.at(e.Standbys[0])
		other := c.nodes[1]
		if other == b {
			other = c.nodes[2]
		}
		dir, err := other.rt.Cluster()
		if err != nil {
			t.Fatal(err)
		}
		b.isolate(true, true) // it does not take the daemon over
		a.stop()
		time.Sleep(5 * time.Second)
		for e, err = dir.Read(t.Context(), d.Entity); err == nil; e, err = dir.Read(t.Context(), d.Entity) {
			if err := dir.Delete(t.Context(), e); err != nil && !errors.Is(err, directory.ErrConflict) {
				t.Fatal(err)
			}
		}
		b.isolate(false, false)
		time.Sleep(5 * time.Second)
		if !b.hasCopy(d) {
			t.Error("the copy is gone, and the daemon has signed no removal")
		}
		a.start() // for the end
	})
}

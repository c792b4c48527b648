package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// gatedFactory makes daemons; once shut, it makes one more for each value in gate, and
// all where gate is closed.
type gatedFactory struct {
	shut atomic.Bool
	gate chan struct{}
}

func (g *gatedFactory) New(ctx context.Context, env daemon.Env) (daemon.Daemon, error) {
	if g.shut.Load() {
		<-g.gate
	}
	return nativeFactory(new(int)).New(ctx, env)
}

// crashed ends the node as kill -9 does, and returns what is left on its disk.
func (m *member) crashed() *vfs.MemFS {
	m.t.Helper()
	left := m.backup(true)
	m.kill(left)
	return left
}

// unreadMember starts the node with a factory that is shut, on what a crash left. It reads
// no daemon before it is ready.
func (m *member) unreadMember(g *gatedFactory, left *vfs.MemFS) {
	m.t.Helper()
	m.disk, m.gated = left, g
	g.gate = make(chan struct{})
	g.shut.Store(true)
	m.back()
}

// othersBack starts the nodes but the owner, and waits until they have looked at all.
func (c *testCluster) othersBack(owner *member) {
	c.t.Helper()
	time.Sleep(4 * time.Second)
	for _, m := range c.nodes {
		if m != owner {
			m.back()
		}
	}
	time.Sleep(10 * time.Second)
}

// spawnMany spawns daemons with so many standbys each, and counts each to 1.
func (m *member) spawnMany(many, standbys int, sender identity.EntityID) (ids []identity.EntityID) {
	m.t.Helper()
	for i := range many {
		d, err := m.rt.Spawn(m.t.Context(), daemon.SpawnRequest{Kind: "n", Name: fmt.Sprint("d", i), Standbys: standbys, Ack: directory.AckDisk})
		if err != nil {
			m.t.Fatal(err)
		}
		ids = append(ids, d.Entity)
		m.c.inSync(d.Entity, standbys)
		m.c.countTo(d.Entity, sender, 1)
	}
	return ids
}

// TestClusterNodeServesBeforeAllIsRead starts an owner whose daemons cannot be read yet. It
// is ready; each that is asked for is read, compared and served before the others, and
// what came meanwhile is applied once.
func TestClusterNodeServesBeforeAllIsRead(t *testing.T) {
	for _, standbys := range []int{0, 1} {
		t.Run(fmt.Sprintf("%d standbys", standbys), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newDiskCluster(t, standbys+1)
				a, sender := c.nodes[0], someone(t)
				many := host.Readers() + 8
				ids := a.spawnMany(many, standbys, sender)
				g := &gatedFactory{}
				c.killAll(map[*member]*vfs.MemFS{})
				a.unreadMember(g, a.disk)
				if done, total := a.rt.Node().Recovery(); done != 0 || total != many {
					t.Fatalf("%d of %d daemons are read when the node is ready, want none", done, total)
				}
				c.othersBack(a) // each reader waits at the gate; sessions and looks come and go

				var asked []identity.EntityID
				for _, id := range ids {
					if i, err := a.rt.Daemons().Inspect(id); err != nil || i.EventsProcessed != 1 || i.Epoch != 1 {
						t.Fatalf("a daemon that is unread is shown as %+v, %v", i, err)
					}
					if host.Unread(a.rt, id) {
						asked = append(asked, id)
					}
				}
				last := asked[len(asked)-1]
				answers := make(chan error, 2)
				for n := range uint64(2) { // one event twice: it is applied once
					go func() {
						res, err := a.rt.Deliver(t.Context(), last, daemon.Event{Sender: sender, Number: 2, Payload: []byte("x")})
						if err == nil && string(res.Outputs[0].Payload) != "2" {
							err = fmt.Errorf("sender %d is answered %q, want 2", n, res.Outputs[0].Payload)
						}
						answers <- err
					}()
				}
				host.AwaitWanted(a.rt, last)
				select {
				case err := <-answers:
					t.Fatalf("an event for a daemon that is unread was answered: %v", err)
				default:
				}

				for range host.Readers() + 1 { // those that are being read, and the one that is asked for
					g.gate <- struct{}{}
				}
				for range 2 {
					if err := <-answers; err != nil {
						t.Error(err)
					}
				}
				if done, total := a.rt.Node().Recovery(); done > host.Readers()+1 {
					t.Errorf("%d of %d daemons were read before the first was answered for", done, total)
				}
				close(g.gate)
				for _, id := range ids {
					n := uint64(2)
					if id == last {
						n = 3
					}
					c.countTo(id, sender, n)
					c.inSync(id, standbys)
					if i, err := a.rt.Daemons().Inspect(id); err != nil || i.EventsProcessed != n || i.Epoch != 1 {
						t.Errorf("daemon %s: %+v, %v; want %d events, epoch 1", id.Origin(), i, err, n)
					}
				}
			})
		})
	}
}

// TestUnreadDaemonOfAnother has the standby own a daemon by the time its owner is back,
// which has not read it: it never serves there.
func TestUnreadDaemonOfAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDiskCluster(t, 3)
		a, sender := c.nodes[0], someone(t)
		ids := a.spawnMany(1, 1, sender)
		left := a.crashed()
		time.Sleep(10 * time.Second)
		c.countTo(ids[0], sender, 2) // at the standby
		g := &gatedFactory{}
		a.unreadMember(g, left)
		time.Sleep(10 * time.Second) // a sleep does not end while somebody waits for a mutex
		asked := make(chan error, 1)
		go func() {
			_, err := a.rt.Deliver(t.Context(), ids[0], daemon.Event{Sender: sender, Number: 3, Payload: []byte("x")})
			asked <- err
		}()
		close(g.gate)
		var moved *daemon.MovedError
		if err := <-asked; !errors.As(err, &moved) || moved.Epoch != 2 {
			t.Errorf("an event for a daemon that another node owns: %v, want that it moved", err)
		}
		c.countTo(ids[0], sender, 3)
	})
}

// TestUnreadDaemonIsComparedFirst starts an owner on a disk that was set back: a daemon
// that is read late goes on at the standby, which has more.
func TestUnreadDaemonIsComparedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDiskCluster(t, 3)
		a, sender := c.nodes[0], someone(t)
		ids := a.spawnMany(3, 1, sender)
		old := a.disk.CrashClone(vfs.CrashCloneCfg{})
		for _, id := range ids {
			c.countTo(id, sender, 2)
		}
		c.killAll(map[*member]*vfs.MemFS{a: old})
		g := &gatedFactory{}
		a.unreadMember(g, old)
		c.othersBack(a)
		close(g.gate)
		for _, id := range ids {
			m, i := c.serving(id)
			if m == a || i.EventsProcessed != 2 || i.Epoch != 2 {
				t.Errorf("node %s (the owner was %s) serves %d events, epoch %d", m.id(), a.id(), i.EventsProcessed, i.Epoch)
			}
			c.countTo(id, sender, 3)
		}
	})
}

// TestStopBeforeDaemonsAreCompared stops a node in order whose disk was set back, before
// its daemon is read, or could be compared: that stop makes the disk no more believed.
func TestStopBeforeDaemonsAreCompared(t *testing.T) {
	for _, unread := range []bool{true, false} {
		t.Run(fmt.Sprintf("unread %t", unread), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newDiskCluster(t, 2)
				a, b, sender := c.nodes[0], c.nodes[1], someone(t)
				ids := a.spawnMany(1, 1, sender)
				old := a.disk.CrashClone(vfs.CrashCloneCfg{})
				c.countTo(ids[0], sender, 2)
				c.killAll(map[*member]*vfs.MemFS{a: old})

				g := &gatedFactory{}
				if unread {
					a.unreadMember(g, a.disk)
				} else {
					a.back()
				}
				time.Sleep(10 * time.Second) // the daemon is unread, or its standby is silent
				if unread {
					time.AfterFunc(time.Second, func() { close(g.gate) })
				}
				a.stop()
				if err := a.s.Close(); err != nil {
					t.Fatal(err)
				}
				a.gated = nil
				a.back()
				time.Sleep(10 * time.Second)
				b.back()
				c.countTo(ids[0], sender, 3)
				if m, i := c.serving(ids[0]); m != b || i.EventsProcessed != 3 {
					t.Errorf("node %s serves %d events, want node %s and 3", m.id(), i.EventsProcessed, b.id())
				}
			})
		})
	}
}

// TestUncomparedDaemonDoesNotMove has an owner on a disk that was set back, whose standby
// is silent, move its daemon to a third node: that would pass what the standby alone has.
func TestUncomparedDaemonDoesNotMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDiskCluster(t, 3)
		a, sender := c.nodes[0], someone(t)
		id := a.spawnMany(1, 1, sender)[0]
		b := c.at(c.inSync(id, 1).Standbys[0])
		old := a.disk.CrashClone(vfs.CrashCloneCfg{})
		c.countTo(id, sender, 2)
		c.killAll(map[*member]*vfs.MemFS{a: old})
		a.back()
		var third *member
		for _, m := range c.nodes {
			if m != a && m != b {
				third = m
			}
		}
		third.back()
		time.Sleep(4 * time.Second)

		m, err := a.rt.StartMigration(t.Context(), id, third.id())
		if err == nil {
			_, err = m.Wait(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), "not compared") {
			t.Errorf("moving a daemon that is not compared: %v", err)
		}
		b.back()
		c.countTo(id, sender, 3)
		if m, i := c.serving(id); m != b || i.EventsProcessed != 3 {
			t.Errorf("node %s serves %d events, want node %s and 3", m.id(), i.EventsProcessed, b.id())
		}
	})
}

package host_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost/host"
	"wasmhost/host/directory"
	"wasmhost/identity"
)

// newDiskCluster is a cluster of nodes whose disks can be set back.
func newDiskCluster(t *testing.T, n int) *testCluster {
	rates := make([]float64, n)
	for i := range rates {
		rates[i] = 1
	}
	return (&testCluster{t: t, mem: directory.NewMemory(), disks: true}).begin(rates)
}

// backup is what the node's disk would have after a power failure that keeps all that
// was written, or only what was synced.
func (m *member) backup(written bool) *vfs.MemFS {
	cfg := vfs.CrashCloneCfg{}
	if written {
		cfg = vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))}
	}
	return m.disk.CrashClone(cfg)
}

// kill ends the node as kill -9 does; its disk is then as given.
func (m *member) kill(disk *vfs.MemFS) {
	m.t.Helper()
	m.link.Set(false, false)
	m.mesh.Crash()
	m.stop()
	if err := m.s.Close(); err != nil {
		m.t.Log(err)
	}
	m.disk = disk
}

// back starts the node again.
func (m *member) back() {
	m.t.Helper()
	m.open()
	m.start()
}

// killAll kills all nodes at one moment, each with what it has written by then, but
// those whose disks are given.
func (c *testCluster) killAll(disks map[*member]*vfs.MemFS) {
	c.t.Helper()
	for _, m := range c.nodes {
		if disks[m] == nil {
			disks[m] = m.backup(true)
		}
	}
	for _, m := range c.nodes {
		m.kill(disks[m])
	}
}

// serving waits until a node serves the daemon.
func (c *testCluster) serving(id identity.EntityID) (*member, host.Info) {
	c.t.Helper()
	var last error
	for range 600 {
		for _, m := range c.nodes {
			i, err := m.rt.Inspect(id)
			if err == nil && (i.State == "running" || i.State == "passive") && m.rt.Holding() == nil && m.rt.Serves(id) {
				return m, i
			}
			if err != nil {
				last = err
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("no node serves the daemon: %v", last)
	return nil, host.Info{}
}

// TestOwnerOnOlderDataHandsOver sets the owner back to what its disk had at 10 of 20
// acknowledged events while all nodes are down: the standby in sync goes on with all 20.
func TestOwnerOnOlderDataHandsOver(t *testing.T) {
	for _, ack := range []directory.Ack{directory.AckDisk, directory.AckMemory} {
		t.Run(ack.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newDiskCluster(t, 3)
				a := c.nodes[0]
				d, sender := a.spawn(1, ack), someone(t)
				e := c.inSync(d.Entity, 1)
				for n := uint64(1); n <= 10; n++ {
					c.countTo(d.Entity, sender, n)
				}
				old := a.backup(false)
				for n := uint64(11); n <= 20; n++ {
					c.countTo(d.Entity, sender, n)
				}
				c.killAll(map[*member]*vfs.MemFS{a: old})
				for _, m := range c.nodes {
					m.back()
				}
				m, i := c.serving(d.Entity)
				if m.id() != e.Standbys[0] || i.EventsProcessed != 20 || i.Epoch != 2 {
					t.Fatalf("node %s (the standby is %s) serves %d of 20 events, epoch %d", m.id(), e.Standbys[0], i.EventsProcessed, i.Epoch)
				}
				c.countTo(d.Entity, sender, 21)
				if r := c.verifyChain(m, d.Entity); r.Outputs != 21 {
					t.Errorf("the chain has %d outputs of 21", r.Outputs)
				}
				c.inSync(d.Entity, 1)
			})
		})
	}
}

// TestOwnerWaitsForASilentStandby keeps the standby in sync away after all nodes were
// down: the owner serves nothing until the standby answers, or an operator confirms.
func TestOwnerWaitsForASilentStandby(t *testing.T) {
	for _, confirmed := range []bool{false, true} {
		t.Run(fmt.Sprint(confirmed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newDiskCluster(t, 3)
				a := c.nodes[0]
				d, sender := a.spawn(1, directory.AckDisk), someone(t)
				e := c.inSync(d.Entity, 1)
				b := c.at(e.Standbys[0])
				for n := uint64(1); n <= 10; n++ {
					c.countTo(d.Entity, sender, n)
				}
				old := a.backup(false)
				for n := uint64(11); n <= 20; n++ {
					c.countTo(d.Entity, sender, n)
				}
				c.killAll(map[*member]*vfs.MemFS{a: old})
				for _, m := range c.nodes {
					if m != b {
						m.back()
					}
				}
				time.Sleep(30 * time.Second)
				i, err := a.rt.Inspect(d.Entity)
				if err != nil || i.State != host.WaitingState || a.rt.Metrics().Held != 1 {
					t.Fatalf("the owner, while its standby is away: %s (%s), %v", i.State, i.Reason, err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				var held *host.HeldError
				if _, err := a.rt.Deliver(ctx, d.Entity, host.Event{Sender: sender, Number: 30, Payload: []byte("x")}); !errors.As(err, &held) || held.Reason != host.HoldUnreachable {
					t.Errorf("an event to an owner that waits: %v", err)
				}
				if !confirmed {
					b.back()
					m, i := c.serving(d.Entity)
					if m != b || i.EventsProcessed != 20 {
						t.Fatalf("node %s serves %d of 20 events", m.id(), i.EventsProcessed)
					}
					return
				}
				if _, err := a.rt.ConfirmHeld(t.Context(), d.Entity); err != nil {
					t.Fatal(err)
				}
				m, i := c.serving(d.Entity)
				if m != a || i.EventsProcessed != 10 {
					t.Fatalf("node %s serves %d events, the copy that was confirmed has 10", m.id(), i.EventsProcessed)
				}
				c.countTo(d.Entity, sender, 11)
				b.back()
				c.inSync(d.Entity, 1)
				time.Sleep(20 * time.Second)
				c.countTo(d.Entity, sender, 12)
				if list, err := b.rt.Evidence(d.Entity); err != nil || b.id() == e.Standbys[0] && c.standsBy(b, d.Entity) && len(list) != 1 {
					t.Errorf("what the standby keeps of its longer history: %+v, %v", list, err)
				}
			})
		})
	}
}

// standsBy reports whether the node is a standby in sync.
func (c *testCluster) standsBy(m *member, id identity.EntityID) bool {
	dir, err := m.rt.Cluster()
	if err != nil {
		c.t.Fatal(err)
	}
	e, _ := dir.Look(id)
	return e.InSync(m.id())
}

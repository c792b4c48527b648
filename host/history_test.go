package host_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
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
		m.link.Set(false, false)
		m.mesh.Crash()
	}
	for _, m := range c.nodes {
		m.kill(disks[m])
	}
}

// backAll starts all nodes, the owner first: it has its session before others may end it.
func (c *testCluster) backAll(owner *member) {
	c.t.Helper()
	owner.back()
	time.Sleep(4 * time.Second)
	for _, m := range c.nodes {
		if m != owner {
			m.back()
		}
	}
}

// serving waits until a node serves the daemon.
func (c *testCluster) serving(id identity.EntityID) (*member, daemon.Info) {
	c.t.Helper()
	var last error
	for range 600 {
		for _, m := range c.nodes {
			i, err := m.rt.Daemons().Inspect(id)
			if err == nil && (i.State == "running" || i.State == "passive") && m.rt.Node().Holding() == nil && m.rt.Serves(id) {
				return m, i
			}
			if err != nil {
				last = err
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("no node serves the daemon: %v", last)
	return nil, daemon.Info{}
}

// TestOwnerOnOlderDataHandsOver sets the owner back to what its disk had at 10 of 20
// acknowledged events while all nodes are down. A standby in sync on disk goes on with
// all 20; where the standby had them in memory alone, what is lost is said.
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
				c.killAll(map[*member]*vfs.MemFS{}) // as a backup is taken of a node that is stopped
				old := a.backup(true)
				c.backAll(a)
				if m, _ := c.serving(d.Entity); m != a {
					t.Fatalf("node %s serves, the owner is %s", m.id(), a.id())
				}
				e = c.inSync(d.Entity, 1)
				for n := uint64(11); n <= 20; n++ {
					c.countTo(d.Entity, sender, n)
				}
				c.killAll(map[*member]*vfs.MemFS{a: old})
				c.backAll(a)
				m, i := c.serving(d.Entity)
				if ack == directory.AckMemory { // nobody has the rest, but for what the standby had begun to write
					if l := i.Loss; i.EventsProcessed < 10 || l == nil || l.From != i.EventsProcessed+1 || l.To != 0 || l.Epoch != 1 || m.rt.Metrics().Lossy != 1 {
						t.Errorf("after what was in memory alone is gone: %d events, loss %v", i.EventsProcessed, l)
					}
					return
				}
				if i.Loss != nil {
					t.Errorf("a loss, where nothing is lost: %v", i.Loss)
				}
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
				a.back()
				time.Sleep(4 * time.Second)
				for _, m := range c.nodes {
					if m != b && m != a {
						m.back()
					}
				}
				time.Sleep(30 * time.Second)
				i, err := a.rt.Daemons().Inspect(d.Entity)
				if err != nil || i.State != daemon.WaitingState || a.rt.Metrics().Held != 1 {
					t.Fatalf("the owner, while its standby is away: %s (%s), %v", i.State, i.Reason, err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				var held *daemon.HeldError
				if _, err := a.rt.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: 30, Payload: []byte("x")}); !errors.As(err, &held) || held.Reason != daemon.HoldUnreachable {
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
				if _, err := a.rt.Unconfirmed().Confirm(t.Context(), d.Entity); err != nil {
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
				if list, err := b.rt.Evidence().Of(d.Entity); err != nil || b.id() == e.Standbys[0] && c.standsBy(b, d.Entity) && len(list) != 1 {
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

// TestOrderlyStopNeedsNoStandby stops all nodes in order, and starts the owner alone:
// it serves at once. After a crash of the owner it does not.
func TestOrderlyStopNeedsNoStandby(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newDiskCluster(t, 3)
		a := c.nodes[0]
		d, sender := a.spawn(1, directory.AckDisk), someone(t)
		e := c.inSync(d.Entity, 1)
		b := c.at(e.Standbys[0])
		c.countTo(d.Entity, sender, 1)
		down := func(m *member) {
			m.stop()
			m.mesh.Crash()
			if err := m.s.Close(); err != nil {
				t.Error(err)
			}
		}
		downAll := func() { // the owner last of the two, and nobody is left to take over
			for _, m := range c.nodes {
				if m != a && m != b {
					down(m)
				}
			}
			b.kill(b.backup(true))
			down(a)
			time.Sleep(10 * time.Second)
		}
		downAll()
		stopped := a.backup(true)
		a.back()
		time.Sleep(1500 * time.Millisecond)
		if i, err := a.rt.Daemons().Inspect(d.Entity); err != nil || i.State != "running" || !a.rt.Serves(d.Entity) {
			t.Fatalf("after an orderly stop: %s (%s), %v", i.State, i.Reason, err)
		}
		for _, m := range c.nodes {
			if m != a {
				m.back()
			}
		}
		time.Sleep(10 * time.Second)
		c.inSync(d.Entity, 1)
		c.countTo(d.Entity, sender, 2)
		c.killAll(map[*member]*vfs.MemFS{a: stopped}) // the mark of a stop that was not the last
		a.back()
		time.Sleep(10 * time.Second)
		if i, err := a.rt.Daemons().Inspect(d.Entity); err == nil && a.rt.Serves(d.Entity) {
			t.Fatalf("on data of an earlier orderly stop it serves: %s", i.State)
		}
		for _, m := range c.nodes {
			if m != a {
				m.back()
			}
		}
		c.serving(d.Entity)
		c.countTo(d.Entity, sender, 3)
	})
}

// pair is two nodes of no cluster, with disks.
type pair struct {
	t     *testing.T
	net   hosttest.Net
	nodes [2]*alone
}

// alone is one of them.
type alone struct {
	p    *pair
	key  *identity.KeyPair
	mesh *hosttest.Mesh
	disk *vfs.MemFS
	s    *store.Store
	rt   *host.Runtime
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t}
	for i := range p.nodes {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		p.nodes[i] = &alone{p: p, key: key, disk: vfs.NewCrashableMem()}
		p.nodes[i].start()
	}
	t.Cleanup(func() {
		for _, n := range p.nodes {
			n.kill()
		}
	})
	return p
}

func (n *alone) start() {
	t := n.p.t
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		quiet = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", n.key.ID().Node())
	}
	var err error
	if n.mesh, err = n.p.net.Join(n.key); err != nil {
		t.Fatal(err)
	}
	if n.s, err = store.Open(store.Options{Dir: filepath.Join(compiled, "data"), FS: n.disk, Logger: quiet}); err != nil {
		t.Fatal(err)
	}
	if n.rt, err = host.New(t.Context(), host.Options{Node: n.key, Store: n.s, Mesh: n.mesh, Logger: quiet, CheckpointEvery: 4}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.rt.RegisterFactory("heavy", growerFactory()), n.rt.Start(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func (n *alone) kill() {
	n.mesh.Crash()
	if err := errors.Join(n.rt.Shutdown(context.Background()), n.s.Close()); err != nil {
		n.p.t.Log(err)
	}
}

// TestOlderOfTwoNodesHoldsItsCopy moves a daemon from a to b, and sets a back to a backup
// of before: a holds its copy, whether b is there when a starts or comes later.
func TestOlderOfTwoNodesHoldsItsCopy(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				a, b := p.nodes[0], p.nodes[1]
				d, err := a.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "heavy", Name: "c1"})
				if err != nil {
					t.Fatal(err)
				}
				sender := someone(t)
				send := func(n *alone, number uint64, text string) error {
					_, err := n.rt.Deliver(t.Context(), d.Entity, daemon.Event{Sender: sender, Number: number, Payload: []byte(text)})
					return err
				}
				for n := uint64(1); n <= 10; n++ {
					if err := send(a, n, "x"); err != nil {
						t.Fatal(err)
					}
				}
				old := a.disk.CrashClone(vfs.CrashCloneCfg{})
				for n := uint64(11); n <= 20; n++ {
					if err := send(a, n, "x"); err != nil {
						t.Fatal(err)
					}
				}
				m, err := a.rt.StartMigration(t.Context(), d.Entity, b.rt.Self())
				if err == nil {
					_, err = m.Wait(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				if err := send(b, 21, "x"); err != nil {
					t.Fatal(err)
				}
				a.kill()
				a.disk = old
				if late {
					p.net.SetDown(b.rt.Self(), true)
				}
				a.start()
				if late {
					time.Sleep(time.Minute)
					if err := send(a, 11, "100"); err != nil { // nobody is there to say otherwise
						t.Fatal(err)
					}
					p.net.SetDown(b.rt.Self(), false)
					a.rt.Unconfirmed().PeerCame(b.rt.Self())
					time.Sleep(time.Second)
				}
				var held *daemon.HeldError
				if err := send(a, 12, "x"); !errors.As(err, &held) || held.Reason != daemon.HoldSurpassed {
					t.Fatalf("an event to the older copy: %v", err)
				}
				list := a.rt.Unconfirmed().List()
				if len(list) != 1 || list[0].Node != b.rt.Self() || list[0].Epoch != 2 {
					t.Errorf("the held daemons: %+v", list)
				}
				if err := send(b, 22, "x"); err != nil {
					t.Errorf("the copy that went further: %v", err)
				}
				if _, err := a.rt.Unconfirmed().Confirm(t.Context(), d.Entity); !errors.Is(err, daemon.ErrFurther) {
					t.Errorf("confirming the older copy while the other answers: %v", err)
				}
				if late {
					proof, err := a.rt.Evidence().Proof(d.Entity)
					if err != nil {
						t.Fatalf("the proof that two histories were signed: %v", err)
					}
					if c, err := proof.Verify(); err != nil || c.Epoch != 1 || c.Sequence != 11 {
						t.Errorf("the proof is of epoch %d, sequence %d: %v", c.Epoch, c.Sequence, err)
					}
				}
				if _, err := a.rt.Unconfirmed().Yield(t.Context(), d.Entity); err != nil {
					t.Fatal(err)
				}
				var moved *daemon.MovedError
				if err := send(a, 12, "x"); !errors.As(err, &moved) || moved.Node != b.rt.Self() {
					t.Errorf("after yielding: %v", err)
				}
				if list, err := a.rt.Evidence().Of(d.Entity); err != nil || len(list) != 1 || list[0].Epoch != 1 {
					t.Errorf("what is kept of the copy that was yielded: %+v, %v", list, err)
				}
				if len(b.rt.Unconfirmed().List()) > 0 {
					t.Errorf("the copy that went further is held: %+v", b.rt.Unconfirmed().List())
				}
			})
		})
	}
}

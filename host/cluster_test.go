package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// member is one node of a cluster in this process.
type member struct {
	t    *testing.T
	c    *testCluster
	key  *identity.KeyPair
	rate float64 // of its clock
	mesh *hosttest.Mesh
	link *directory.Link
	disk *vfs.MemFS // nil: the store is in memory
	s    *store.Store
	rt   *host.Runtime

	gated *gatedFactory // of the kind n; nil: not gated
}

func (m *member) id() identity.NodeID { return m.key.ID().Node() }

type testCluster struct {
	t     *testing.T
	net   hosttest.Net
	mem   *directory.Memory
	own   daemon.Limits // of the nodes
	disks bool          // the nodes have disks
	nodes []*member
}

// bubbleClock is the bubble's time, at a rate of its own.
type bubbleClock struct {
	start time.Time
	rate  float64
}

func (c bubbleClock) Now() time.Duration {
	return time.Duration(float64(time.Since(c.start)) * c.rate)
}

func (c bubbleClock) After(d time.Duration) <-chan time.Time {
	return time.After(time.Duration(float64(d) / c.rate))
}

func newTestCluster(t *testing.T, n int) *testCluster {
	return newLimitedCluster(t, n, daemon.Limits{})
}

// newLimitedCluster is a cluster of nodes with these limits.
func newLimitedCluster(t *testing.T, n int, own daemon.Limits) *testCluster {
	rates := make([]float64, n)
	for i := range rates {
		rates[i] = 1
	}
	return startCluster(t, rates, own)
}

// newDriftingCluster is a cluster of nodes whose clocks run at these rates.
func newDriftingCluster(t *testing.T, rates []float64) *testCluster {
	return startCluster(t, rates, daemon.Limits{})
}

func startCluster(t *testing.T, rates []float64, own daemon.Limits) *testCluster {
	return (&testCluster{t: t, mem: directory.NewMemory(), own: own}).begin(rates)
}

// begin starts the nodes.
func (c *testCluster) begin(rates []float64) *testCluster {
	t := c.t
	for _, rate := range rates {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		m := &member{t: t, c: c, key: key, rate: rate}
		if c.disks {
			m.disk = vfs.NewCrashableMem()
		}
		m.open()
		c.nodes = append(c.nodes, m)
		m.start()
		t.Cleanup(func() {
			if m.s != nil { // it was opened
				m.stop()
				_ = m.s.Close()
			}
		})
	}
	time.Sleep(2 * time.Second)
	return c
}

// open opens the node's store.
func (m *member) open() {
	m.t.Helper()
	o := store.Options{Ephemeral: true}
	if m.disk != nil {
		o = store.Options{Dir: filepath.Join(compiled, "data"), FS: m.disk, Logger: slog.New(slog.DiscardHandler)}
	}
	var err error
	if m.s, err = store.Open(o); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) start() {
	m.t.Helper()
	var err error
	if m.mesh, err = m.c.net.Join(m.key); err != nil {
		m.t.Fatal(err)
	}
	m.link = m.c.mem.Link()
	logger := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("node", m.id())
	}
	dir, err := directory.NewMember(directory.Options{Engine: m.link, Self: directory.Node{Key: m.key.ID(), TTL: 2 * time.Second}, Clock: bubbleClock{time.Now(), m.rate}, Logger: logger})
	if err != nil {
		m.t.Fatal(err)
	}
	m.rt, err = host.New(m.t.Context(), host.Options{Node: m.key, Store: m.s, Mesh: m.mesh, Logger: logger, Limits: m.c.own, Cluster: &host.ClusterOptions{Member: dir}})
	if err != nil {
		m.t.Fatal(err)
	}
	host.ReadsFirst(m.rt, 0) // what the node has is served before it is read
	factory := nativeFactory(new(int))
	if m.gated != nil {
		factory = m.gated
	}
	if err := errors.Join(m.rt.RegisterFactory("n", factory), m.rt.RegisterFactory("heavy", growerFactory()), m.rt.Start(m.t.Context())); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := m.rt.Shutdown(ctx); err != nil {
		m.t.Log(err)
	}
}

// isolate cuts the node off: from its peers, from the engine, or mends both.
func (m *member) isolate(peers, engine bool) {
	m.c.net.SetDown(m.id(), peers)
	if peers {
		m.c.net.CutStandbys(m.mesh)
	}
	m.link.Set(!engine, !engine)
}

func (m *member) spawn(standbys int, ack directory.Ack) daemon.Info {
	m.t.Helper()
	d, err := m.rt.Spawn(m.t.Context(), daemon.SpawnRequest{Kind: "n", Name: "c1", Standbys: standbys, Ack: ack})
	if err != nil {
		m.t.Fatal(err)
	}
	return d
}

// inSync waits until so many standbys are.
func (c *testCluster) inSync(id identity.EntityID, n int) directory.Entry {
	c.t.Helper()
	for range 200 {
		for _, m := range c.nodes {
			dir, err := m.rt.Cluster()
			if err != nil {
				c.t.Fatal(err)
			}
			ask, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
			e, err := dir.Read(ask, id) // what a node heard last may be old
			cancel()
			if err == nil && len(e.Standbys) == n {
				return e
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("%d standbys are not in sync", n)
	return directory.Entry{}
}

func (c *testCluster) at(id identity.NodeID) *member {
	for _, m := range c.nodes {
		if m.id() == id {
			return m
		}
	}
	c.t.Fatalf("no node %s", id)
	return nil
}

// countTo delivers event n of the sender wherever the daemon is, until it is
// acknowledged, and holds that it is counted once.
func (c *testCluster) countTo(id, sender identity.EntityID, n uint64) {
	c.t.Helper()
	var last error
	for range 400 {
		for _, m := range c.nodes {
			ctx, cancel := context.WithTimeout(c.t.Context(), 200*time.Millisecond)
			res, err := m.rt.Deliver(ctx, id, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")})
			cancel()
			if err == nil {
				if len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != fmt.Sprint(n) {
					c.t.Fatalf("event %d gave %+v", n, res.Outputs)
				}
				return
			}
			last = err
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("event %d was never acknowledged: %v", n, last)
}

func someone(t *testing.T) identity.EntityID {
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k.ID()
}

func (c *testCluster) verifyChain(m *member, id identity.EntityID) chain.Report {
	c.t.Helper()
	var b bytes.Buffer
	if err := m.rt.Outputs().Export(c.t.Context(), id, &b); err != nil {
		c.t.Fatal(err)
	}
	report, err := chain.Verify(&b)
	if err != nil {
		c.t.Fatal(err)
	}
	return report
}

func TestFailoverLosesNothingAcknowledged(t *testing.T) {
	for _, ack := range []directory.Ack{directory.AckMemory, directory.AckDisk} {
		t.Run(ack.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTestCluster(t, 3)
				a := c.nodes[0]
				d := a.spawn(1, ack)
				e := c.inSync(d.Entity, 1)
				b := c.at(e.Standbys[0])
				sender := someone(t)
				for n := uint64(1); n <= 50; n++ {
					c.countTo(d.Entity, sender, n)
				}
				a.isolate(true, true)
				c.countTo(d.Entity, sender, 51)
				for n := uint64(52); n <= 100; n++ {
					c.countTo(d.Entity, sender, n)
				}
				i, err := b.rt.Daemons().Inspect(d.Entity)
				if err != nil || i.Epoch != 2 || i.EventsProcessed != 100 {
					t.Fatalf("at the standby: %+v, %v", i, err)
				}
				r := c.verifyChain(b, d.Entity)
				if r.Epoch != 2 || r.Outputs != 100 || len(r.Mended) != 1 || r.Mended[0].How != chain.MendFailover {
					t.Errorf("the chain: %+v", r)
				}
				a.isolate(false, false)
				time.Sleep(10 * time.Second)
				var moved *daemon.MovedError
				if _, err := a.rt.Daemons().Inspect(d.Entity); !errors.As(err, &moved) || moved.Node != b.id() || moved.Epoch != 2 {
					t.Errorf("the old owner, back again: %v", err)
				}
				c.inSync(d.Entity, 1)
				for n := uint64(101); n <= 120; n++ {
					c.countTo(d.Entity, sender, n)
				}
			})
		})
	}
}

// TestACopyIsActivatedOnce has another who is to activate a copy come late, after it was
// activated: the chain has one mending.
func TestACopyIsActivatedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		a := c.nodes[0]
		d := a.spawn(1, directory.AckMemory)
		b := c.at(c.inSync(d.Entity, 1).Standbys[0])
		sender := someone(t)
		c.countTo(d.Entity, sender, 1)
		late := b.rt.ActivateLate(d.Entity)
		a.isolate(true, true)
		c.countTo(d.Entity, sender, 2)

		e, err := b.rt.Entry(t.Context(), d.Entity)
		if err != nil || e.Owner != b.id() {
			t.Fatalf("the directory says %+v, %v", e, err)
		}
		if err := late(e); err != nil {
			t.Errorf("activating it again: %v", err)
		}
		c.countTo(d.Entity, sender, 3)
		if r := c.verifyChain(b, d.Entity); r.Outputs != 3 || len(r.Mended) != 1 {
			t.Errorf("the chain: %+v", r)
		}
		a.isolate(false, false)
	})
}

// TestIsolatedOwnerAcknowledgesNothing delivers at the owner alone, which reaches
// nobody.
func TestIsolatedOwnerAcknowledgesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		a := c.nodes[0]
		alone, kept := a.spawn(0, 0), someone(t)
		c.countTo(alone.Entity, kept, 1)
		a.isolate(false, true)
		time.Sleep(time.Second) // the lease holds still
		if _, err := a.rt.Deliver(t.Context(), alone.Entity, daemon.Event{Sender: kept, Number: 2, Payload: []byte("x")}); err != nil {
			t.Errorf("within the lease: %v", err)
		}
		if err := a.rt.Node().Holding(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := a.rt.Deliver(ctx, alone.Entity, daemon.Event{Sender: kept, Number: 3, Payload: []byte("x")}); !errors.Is(err, daemon.ErrHolding) {
			t.Errorf("after the lease: %v", err)
		}
		var wait sync.WaitGroup
		wait.Go(func() { // who waits goes on
			if _, err := a.rt.Deliver(t.Context(), alone.Entity, daemon.Event{Sender: kept, Number: 4, Payload: []byte("x")}); err != nil {
				t.Errorf("an event that waited: %v", err)
			}
		})
		time.Sleep(5 * time.Second)
		a.isolate(false, false)
		wait.Wait()
	})
}

// TestWhatWaitedForALeaseIsToldWhereTheDaemonWent has events wait at an owner that is cut
// off, until it hears that a standby has the daemon: each is told where, and no other
// error, so that whoever sent them sends them on.
func TestWhatWaitedForALeaseIsToldWhereTheDaemonWent(t *testing.T) {
	for range 50 { // who is first, those that wait or the news, differs from time to time
		synctest.Test(t, waitForALease)
	}
}

func waitForALease(t *testing.T) {
	c := newTestCluster(t, 3)
	a := c.nodes[0]
	d := a.spawn(1, directory.AckMemory)
	e := c.inSync(d.Entity, 1)
	c.countTo(d.Entity, someone(t), 1)
	a.isolate(true, true)
	time.Sleep(3 * time.Second)
	var wait sync.WaitGroup
	for range 50 {
		sender := someone(t)
		wait.Go(func() {
			var moved *daemon.MovedError
			if _, err := a.rt.Deliver(t.Context(), d.Entity, daemon.Event{Sender: sender, Number: 1, Payload: []byte("x")}); !errors.As(err, &moved) || moved.Node != e.Standbys[0] {
				t.Errorf("an event that waited: %v", err)
			}
		})
	}
	time.Sleep(5 * time.Second)
	a.isolate(false, false)
	wait.Wait()
}

func TestStandbyThatLagsLeavesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 2)
		a, b := c.nodes[0], c.nodes[1]
		d, sender := a.spawn(1, directory.AckMemory), someone(t)
		c.inSync(d.Entity, 1)
		c.countTo(d.Entity, sender, 1)
		c.net.SetDown(b.id(), true) // from the nodes, not from the engine
		c.net.CutStandbys(b.mesh)
		began := time.Now()
		c.countTo(d.Entity, sender, 2)
		if took := time.Since(began); took < time.Second {
			t.Errorf("an event was acknowledged %v after its standby was gone, and that was in sync", took)
		}
		c.inSync(d.Entity, 0)
		for n := uint64(3); n < 20; n++ {
			c.countTo(d.Entity, sender, n)
		}
		c.net.SetDown(b.id(), false)
		c.inSync(d.Entity, 1)
		c.countTo(d.Entity, sender, 20)
		a.isolate(true, true)
		c.countTo(d.Entity, sender, 21)
	})
}

func TestPlannedMoveGoesThroughTheDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		a := c.nodes[0]
		d, sender := a.spawn(1, directory.AckMemory), someone(t)
		e := c.inSync(d.Entity, 1)
		c.countTo(d.Entity, sender, 1)
		from, at := a, uint64(1)
		for _, to := range []*member{c.at(e.Standbys[0]), c.nodes[2], a} { // the first is its standby
			if to == from {
				continue
			}
			before := c.inSync(d.Entity, 1)
			m, err := from.rt.StartMigration(t.Context(), d.Entity, to.id())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := m.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := to.rt.HearsOldNews(before); err != nil { // it may come after the daemon
				t.Fatal(err)
			}
			for range 5 {
				at++
				c.countTo(d.Entity, sender, at)
			}
			time.Sleep(3 * time.Second)
			if e := c.inSync(d.Entity, 1); e.Owner != to.id() {
				t.Fatalf("the directory says %s, the daemon went to %s", e.Owner, to.id())
			}
			from = to
		}
		c.verifyChain(from, d.Entity)
		if err := from.rt.Stop(t.Context(), d.Entity); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		dir, _ := a.rt.Cluster()
		if e, ok := dir.Look(d.Entity); ok {
			t.Errorf("the directory knows a daemon that was stopped: %+v", e)
		}
		from.isolate(true, true)
		time.Sleep(10 * time.Second)
		for _, m := range c.nodes {
			if _, err := m.rt.Daemons().Inspect(d.Entity); err == nil {
				t.Error("a daemon that was stopped came back")
			}
		}
	})
}

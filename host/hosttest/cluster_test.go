package hosttest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

var ctx = context.Background()

// cluster is several nodes with disks of their own, joined by links that a
// story disturbs. It runs in a synctest bubble.
type cluster struct {
	t      testing.TB
	net    *hosttest.Net
	nodes  []*node
	ending sync.WaitGroup // runtimes that crashes left

	healed atomic.Bool // nothing more is disturbed

	mu     sync.Mutex
	rng    *rand.Rand
	cuts   map[string]int           // message type: cut the connection at the n-th from now
	delays map[string]time.Duration // message type: how long each takes at most, on either side
	arms   map[string]int           // node and message type: the node crashes before its next sync once the n-th has passed it
	deaths map[string]int           // node and message type: the sender crashes as it sends the n-th from now
}

// node is one runtime after another on one disk.
type node struct {
	c    *cluster
	name string
	key  *identity.KeyPair
	dir  string
	fs   *vfs.MemFS
	rng  *rand.Rand // of what crashes leave; guarded by mu

	mu    sync.RWMutex // a crash excludes who looks whether an answer still counts
	rt    *host.Runtime
	mesh  *hosttest.Mesh
	store *store.Store
	up    bool

	dieAt atomic.Int64 // crash before this many more syncs
}

func newCluster(t testing.TB, seed uint64, size int) *cluster {
	c := &cluster{t: t, rng: rand.New(rand.NewPCG(seed, 2)), cuts: make(map[string]int), delays: make(map[string]time.Duration), deaths: make(map[string]int), arms: make(map[string]int)}
	c.net = &hosttest.Net{Filter: c.filter, Taken: c.taken}
	for i := range size {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		n := &node{c: c, name: string(rune('a' + i)), key: key, dir: t.TempDir(), fs: vfs.NewCrashableMem(), rng: rand.New(rand.NewPCG(seed, uint64(20+i)))}
		c.nodes = append(c.nodes, n)
		n.start()
	}
	return c
}

// filter cuts and delays messages as the story asks.
func (c *cluster) filter(from, to identity.NodeID, m migration.Message) bool {
	kind := fmt.Sprintf("%T", m)[len("*migration."):]
	sender := c.byID(from)
	c.mu.Lock()
	delay := c.delay(kind)
	cut, death := due(c.cuts, kind), due(c.deaths, sender.name+" "+kind)
	for _, n := range []*node{sender, c.byID(to)} {
		if due(c.arms, n.name+" "+kind) {
			n.dieAt.Store(1)
		}
	}
	c.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay) // the bubble's time
	}
	if death && !c.healed.Load() {
		sender.crash()
	}
	return !cut
}

// taken delays the receiver as the story asks.
func (c *cluster) taken(_, _ identity.NodeID, m migration.Message) {
	c.mu.Lock()
	delay := c.delay(fmt.Sprintf("%T", m)[len("*migration."):])
	c.mu.Unlock()
	if delay > 0 {
		time.Sleep(delay)
	}
}

// delay is how long a message's sender, or its receiver, takes this time:
// streams overtake each other. It needs c.mu.
func (c *cluster) delay(kind string) time.Duration {
	most := c.delays[kind]
	if most == 0 || c.rng.IntN(2) == 0 {
		return 0
	}
	return time.Duration(c.rng.Int64N(int64(most))) + 1
}

// due counts down what is planned for key.
func due(plan map[string]int, key string) bool {
	n, ok := plan[key]
	if !ok {
		return false
	}
	if plan[key] = n - 1; n > 1 {
		return false
	}
	delete(plan, key)
	return true
}

func (c *cluster) node(name string) *node {
	for _, n := range c.nodes {
		if n.name == name {
			return n
		}
	}
	c.t.Fatalf("no node %q", name)
	return nil
}

func (c *cluster) byID(id identity.NodeID) *node {
	for _, n := range c.nodes {
		if n.key.ID().Node() == id {
			return n
		}
	}
	c.t.Fatalf("no node %s", id)
	return nil
}

// start makes a runtime on the node's disk.
func (n *node) start() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.up {
		return
	}
	t := n.c.t
	var err error
	if n.mesh, err = n.c.net.Join(n.key); err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	if testing.Verbose() {
		quiet = slog.Default().With("at", n.name)
	}
	if n.store, err = store.Open(store.Options{Dir: n.dir, FS: brittleDisk{n.fs, n.beforeSync}, Logger: quiet}); err != nil {
		t.Fatalf("node %s: %v", n.name, err)
	}
	n.rt, err = host.New(ctx, host.Options{Node: n.key, Store: n.store, Mesh: n.mesh, Logger: quiet, CheckpointEvery: 4, Limits: daemon.Limits{SnapshotEvents: 16}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.rt.RegisterFactory("ledger", newLedger); err != nil {
		t.Fatal(err)
	}
	if err := n.rt.Start(ctx); err != nil {
		t.Fatalf("node %s: %v", n.name, err)
	}
	n.up = true
}

// crash ends the runtime as a power failure does: of what it wrote and did not
// sync, some is there afterwards. Then it starts again, when told to.
func (n *node) crash() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.crashLocked()
}

// beforeSync crashes the node where the story wants it to happen between a
// write and its being durable.
func (n *node) beforeSync(fs *vfs.MemFS) {
	if n.dieAt.Load() == 0 || !n.mu.TryLock() { // it starts or stops just now
		return
	}
	defer n.mu.Unlock()
	if n.fs == fs && n.dieAt.Add(-1) == 0 {
		n.crashLocked()
	}
}

func (n *node) crashLocked() {
	if !n.up {
		return
	}
	n.up = false
	n.mesh.Crash()
	n.fs = n.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: n.rng.IntN(101), RNG: n.rng})
	n.free()
}

// stop ends the runtime in order. It still answers while it shuts down.
func (n *node) stop() {
	n.mu.RLock()
	rt, up := n.rt, n.up
	n.mu.RUnlock()
	if !up {
		return
	}
	err := rt.Shutdown(ctx)
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.up || n.rt != rt { // it crashed as it stopped
		return
	}
	n.up = false
	n.mesh.Crash()
	if err := errors.Join(err, n.store.Close()); err != nil {
		n.c.t.Errorf("stopping node %s: %v", n.name, err)
	}
}

// free ends what the runtime left running. What it still does reaches neither
// the net nor the disk of its successor.
func (n *node) free() {
	rt, s := n.rt, n.store
	n.c.ending.Go(func() {
		if err := errors.Join(rt.Shutdown(ctx), s.Close()); err != nil {
			n.c.t.Errorf("freeing node %s: %v", n.name, err)
		}
	})
}

// runtime returns the runtime, or nil while the node is down.
func (n *node) runtime() *host.Runtime {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.up {
		return nil
	}
	return n.rt
}

// counts reports whether what rt just said is to be believed: a crash since
// then may have lost it. fn runs while that is certain.
func (n *node) counts(rt *host.Runtime, fn func()) bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.up || n.rt != rt {
		return false
	}
	fn()
	return true
}

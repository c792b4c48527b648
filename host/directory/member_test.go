package directory_test

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// drifting is a clock whose rate is wrong.
type drifting struct {
	start time.Time
	rate  float64
}

func (c drifting) Now() time.Duration { return time.Duration(float64(time.Since(c.start)) * c.rate) }
func (c drifting) After(d time.Duration) <-chan time.Time {
	return time.After(time.Duration(float64(d) / c.rate))
}

// node is a member that takes over whatever it may.
type node struct {
	t      *testing.T
	link   *directory.Link
	member *directory.Member
	stop   func()

	mu       sync.Mutex
	verified uint64
	entries  map[identity.EntityID]directory.Entry
	leases   []bool
	removed  []identity.NodeID
	retired  []directory.Removal
	wake     chan struct{}
}

func (n *node) kick() {
	select {
	case n.wake <- struct{}{}:
	default:
	}
}
func (n *node) DaemonChanged(id identity.EntityID, e *directory.Entry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if delete(n.entries, id); e != nil {
		n.entries[id] = *e
	}
	n.kick()
}
func (n *node) DaemonRemoved(r directory.Removal) {
	n.mu.Lock()
	n.retired = append(n.retired, r)
	n.mu.Unlock()
	n.kick()
}
func (n *node) NodeCame(directory.Node)  { n.kick() }
func (n *node) NodeGone(identity.NodeID) { n.kick() }
func (n *node) NodeRemoved(o directory.Node) {
	n.mu.Lock()
	n.removed = append(n.removed, o.ID())
	n.mu.Unlock()
}
func (n *node) SessionBegan(session uint64) {
	n.mu.Lock()
	n.verified = session
	n.mu.Unlock()
	n.kick()
}
func (n *node) LeaseChanged(held bool) { n.mu.Lock(); n.leases = append(n.leases, held); n.mu.Unlock() }

// owns reports whether the node would acknowledge an event of the daemon now.
func (n *node) owns(id identity.EntityID) bool {
	session, held := n.member.Lease()
	n.mu.Lock()
	defer n.mu.Unlock()
	return held && session == n.verified && n.entries[id].Owner == n.id()
}

func (n *node) id() identity.NodeID { s := n.member.Self(); return s.ID() }

type cluster struct {
	t     *testing.T
	mem   *directory.Memory
	nodes []*node
}

func newCluster(t *testing.T, rates ...float64) *cluster {
	c := &cluster{t: t, mem: directory.NewMemory()}
	start := time.Now()
	for _, rate := range rates {
		key, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		n := &node{t: t, link: c.mem.Link(), entries: make(map[identity.EntityID]directory.Entry), wake: make(chan struct{}, 1)}
		n.member, err = directory.NewMember(directory.Options{Engine: n.link, Self: directory.Node{Key: key.ID(), TTL: 2 * time.Second},
			Clock: drifting{start, rate}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { n.member.Run(ctx, n) })
		work.Go(func() { n.takeOver(ctx, c) })
		n.stop = func() { cancel(); work.Wait() }
		t.Cleanup(n.stop)
		c.nodes = append(c.nodes, n)
	}
	return c
}

// takeOver takes what it may, and holds at that very moment that no other node
// would acknowledge anything.
func (n *node) takeOver(ctx context.Context, c *cluster) {
	for {
		select {
		case <-n.wake:
		case <-ctx.Done():
			return
		}
		n.mu.Lock()
		var mine []directory.Entry
		for _, e := range n.entries {
			if e.InSync(n.id()) && !n.member.Here(e.Owner) {
				mine = append(mine, e)
			}
		}
		n.mu.Unlock()
		for _, e := range mine {
			if _, err := n.member.TakeOver(ctx, e); err != nil {
				continue
			}
			for _, o := range c.nodes {
				if o != n && o.owns(e.Entity) {
					n.t.Errorf("node %s owns daemon %s while %s takes it over", o.id(), e.Entity.Origin(), n.id())
				}
			}
		}
	}
}

func spawnOn(t *testing.T, n *node, standbys ...*node) identity.EntityID {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	d := directory.Daemon{Entity: key.ID(), Name: "d", Owner: n.id(), Epoch: 1, Want: len(standbys)}
	for _, s := range standbys {
		d = d.With(s.id())
	}
	if _, err := n.member.Put(t.Context(), directory.Entry{}, d); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if !n.owns(d.Entity) {
		t.Fatal("the owner does not own what it made")
	}
	return d.Entity
}

func owners(c *cluster, id identity.EntityID) (out []*node) {
	for _, n := range c.nodes {
		if n.owns(id) {
			out = append(out, n)
		}
	}
	return out
}

func TestIsolatedOwnerStopsBeforeAnotherStarts(t *testing.T) {
	worst := 1 + directory.MaxDrift
	for name, test := range map[string]struct {
		slow, fast  float64
		asks, hears bool
	}{
		"no way":                      {1, 1, false, false},
		"requests alone":              {1, 1, true, false},
		"answers alone":               {1, 1, false, true},
		"slow owner, fast others":     {1 / worst, worst, false, false},
		"fast owner, slow others":     {worst, 1 / worst, false, false},
		"slow owner, requests arrive": {1 / worst, worst, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, test.slow, test.fast, test.fast)
				time.Sleep(time.Second)
				a, b := c.nodes[0], c.nodes[1]
				id := spawnOn(t, a, b)
				a.link.Set(test.asks, test.hears)
				time.Sleep(1500 * time.Millisecond)
				if !test.asks && !a.owns(id) && test.slow <= 1 {
					t.Error("the owner stopped well before its lease's end")
				}
				time.Sleep(8 * time.Second)
				if got := owners(c, id); test.asks {
					// Its beats arrive, so that nobody may take its place; and it hears of
					// none, so that it holds.
					if len(got) != 0 {
						t.Errorf("%d nodes own the daemon, the owner cannot know", len(got))
					}
				} else if len(got) != 1 || got[0] != b {
					t.Fatalf("%d nodes own the daemon, want the standby alone", len(got))
				}
				a.link.Set(true, true)
				time.Sleep(8 * time.Second)
				if got := owners(c, id); len(got) != 1 {
					t.Errorf("%d nodes own the daemon after the partition", len(got))
				}
			})
		})
	}
}

func TestEngineAwayForAllTakesNothingFromAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 1, 1)
		time.Sleep(time.Second)
		a := c.nodes[0]
		id := spawnOn(t, a, c.nodes[1])
		for _, n := range c.nodes {
			n.link.Set(false, false)
		}
		time.Sleep(10 * time.Second)
		if len(owners(c, id)) != 0 {
			t.Fatal("a node owns a daemon without a lease")
		}
		for _, n := range c.nodes {
			n.link.Set(true, true)
		}
		time.Sleep(5 * time.Second)
		if got := owners(c, id); len(got) != 1 || got[0] != a {
			t.Errorf("the owner lost its daemon because the engine was away: %d owners", len(got))
		}
	})
}

func TestWithoutStandbysTheOwnerComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 1)
		time.Sleep(time.Second)
		a := c.nodes[0]
		id := spawnOn(t, a)
		a.link.Set(false, false)
		time.Sleep(10 * time.Second)
		if len(owners(c, id)) != 0 {
			t.Fatal("somebody owns it")
		}
		a.link.Set(true, true)
		time.Sleep(10 * time.Second)
		if got := owners(c, id); len(got) != 1 || got[0] != a {
			t.Errorf("the owner did not come back: %d owners", len(got))
		}
	})
}

func TestStandbyThatIsNotInSyncIsNoOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 1)
		time.Sleep(time.Second)
		id := spawnOn(t, c.nodes[0])
		e, err := c.nodes[1].member.Read(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		c.nodes[0].stop()
		if _, err := c.nodes[1].member.TakeOver(t.Context(), e); !errors.Is(err, directory.ErrConflict) {
			t.Errorf("taking over: %v", err)
		}
	})
}

func TestSecondProcessOfANodeWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1)
		time.Sleep(time.Second)
		first := c.nodes[0]
		id := spawnOn(t, first)
		twin := &node{t: t, link: c.mem.Link(), entries: make(map[identity.EntityID]directory.Entry), wake: make(chan struct{}, 1)}
		var err error
		twin.member, err = directory.NewMember(directory.Options{Engine: twin.link, Self: first.member.Self(), Clock: drifting{time.Now(), 1}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { twin.member.Run(ctx, twin) })
		defer work.Wait()
		defer cancel()
		time.Sleep(20 * time.Second)
		if twin.owns(id) || !first.owns(id) {
			t.Error("a copy of a node took its place while it was there")
		}
		first.link.Set(false, false)
		time.Sleep(20 * time.Second)
		if !twin.owns(id) || first.owns(id) {
			t.Error("a node that started again did not get its daemon back")
		}
	})
}

// TestOneOwnerWhateverIsCut is a search: links are cut and mended at random, and
// no two nodes ever own one daemon.
func TestOneOwnerWhateverIsCut(t *testing.T) {
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			rate := func() float64 { return 1 + (r.Float64()*2-1)*directory.MaxDrift }
			c := newCluster(t, rate(), rate(), rate())
			time.Sleep(time.Second)
			id := spawnOn(t, c.nodes[0], c.nodes[1], c.nodes[2])
			for range 60 {
				n := c.nodes[r.IntN(3)]
				n.link.Set(r.IntN(3) > 0, r.IntN(3) > 0)
				for range 20 {
					time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
					if got := owners(c, id); len(got) > 1 {
						t.Fatalf("seed %d: %d nodes own one daemon", seed, len(got))
					}
				}
			}
			for _, n := range c.nodes {
				n.link.Set(true, true)
			}
			time.Sleep(20 * time.Second)
			if len(owners(c, id)) != 1 {
				t.Errorf("seed %d: %d nodes own the daemon in the end", seed, len(owners(c, id)))
			}
		})
	}
}

// TestARemovedNodeStaysAway is a node that is removed while it is not there: the others
// hear of it, also those that come later, and it gets no session until it is let in.
func TestARemovedNodeStaysAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 1)
		time.Sleep(time.Second)
		a, b := c.nodes[0], c.nodes[1]
		if err := a.member.Remove(t.Context(), b.member.Self()); !errors.Is(err, directory.ErrConflict) {
			t.Errorf("removing one that is there: %v", err)
		}
		b.stop()
		if err := a.member.Remove(t.Context(), b.member.Self()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !slices.Equal(a.removed, []identity.NodeID{b.id()}) {
			t.Errorf("a heard of %v", a.removed)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() { b.member.Run(ctx, b) })
		defer work.Wait()
		defer cancel()
		time.Sleep(10 * time.Second)
		if _, held := b.member.Lease(); held || !errors.Is(b.member.Err(), directory.ErrRemoved) || a.member.Here(b.id()) {
			t.Errorf("a node that was removed is there: %v", b.member.Err())
		}
		if err := a.member.LetIn(t.Context(), b.id()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if _, held := b.member.Lease(); !held || !a.member.Here(b.id()) {
			t.Errorf("a node that was let in is not there: %v", b.member.Err())
		}
	})
}

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
	"wasmhost.example/scripts/internal/fleet"
)

// savedAt is where a snapshot says that its daemon stood.
type savedAt struct {
	daemon  string
	through uint64
	head    chain.Hash
}

// passing is a daemon that is spawned and stopped, and what was acknowledged of
// that.
type passing struct {
	spawned, stopping, stopped bool
}

// start begins some work that a kill may cut.
func (t *trial) start(ctx context.Context) {
	n := t.nodes[t.rng.IntN(len(t.nodes))]
	daemon := []string{"echo", "count", "tally"}[t.rng.IntN(3)]
	name := fmt.Sprintf("passing-%d", t.rng.IntN(1<<30))
	stopIt, kind := t.rng.IntN(2) == 0, t.rng.IntN(8)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	t.work.Go(func() {
		defer cancel()
		switch kind {
		case 0:
			t.save(ctx, n, daemon)
		case 1, 2:
			t.pass(ctx, n, name, stopIt)
		default:
			t.move(ctx, n, daemon)
		}
	})
}

// move moves the daemon to where it is not.
func (t *trial) move(ctx context.Context, n *fleet.Node, daemon string) {
	d, err := n.Client.Daemons().Get(ctx, daemon)
	if err != nil {
		return
	}
	to := t.nodes[0]
	if n, err := t.nodes[0].Client.Node().Get(ctx); err == nil && n.NodeID == d.NodeID {
		to = t.nodes[1]
	}
	if _, err = n.Client.Migrate(ctx, daemon, api.Migrate{To: to.Name}, func(api.MigrationStep) {}); err != nil && t.verbose {
		fmt.Printf("  %s to %s, asked of %s: %v\n", daemon, to.Name, n.Name, err)
	}
}

// save takes a snapshot. What it says must still hold at the end.
func (t *trial) save(ctx context.Context, n *fleet.Node, daemon string) {
	r, err := n.Client.Daemons().Snapshot(ctx, daemon)
	if err != nil {
		return
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return
	}
	s, err := snapshot.Decode(b)
	if err != nil { // the kill cut the answer
		return
	}
	if err := s.Verify(); err != nil {
		t.Problem("a snapshot of %s: %v", daemon, err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.snapshots = append(t.snapshots, savedAt{daemon, s.Header.Through, s.Header.Head.Hash(s.Header.HeadPayload)})
}

// pass spawns a daemon and, with stopIt, stops it again.
func (t *trial) pass(ctx context.Context, n *fleet.Node, name string, stopIt bool) {
	p := &passing{}
	t.mu.Lock()
	t.passing[name] = p
	t.mu.Unlock()
	key, err := identity.Generate()
	if err != nil {
		return
	}
	seed, err := key.Seed()
	if err != nil {
		return
	}
	if _, err := n.Client.Spawn(ctx, api.Spawn{Kind: "count", Name: name, Identity: seed}); err != nil {
		return
	}
	t.mu.Lock()
	p.spawned, p.stopping = true, stopIt
	t.spawned++
	t.mu.Unlock()
	if !stopIt {
		return
	}
	if _, err := n.Client.Daemons().Remove(ctx, name); err != nil {
		return
	}
	t.mu.Lock()
	p.stopped = true
	t.stopped++
	t.mu.Unlock()
}

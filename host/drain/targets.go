package drain

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// targets are the nodes that take the daemons. They are asked what they have,
// and counted on in between.
type targets struct {
	ask func(context.Context) ([]placement.Node, error)

	mu      sync.Mutex // held while nodes are asked: who needs a target waits for them
	nodes   []placement.Node
	asked   time.Time
	avoided map[identity.NodeID]time.Time // until when
}

// pick returns the best target for a daemon that was not tried yet. An error of
// type *placement.NoNodeError says of each what stands against it.
func (t *targets) pick(ctx context.Context, req placement.Requirements, tried map[identity.NodeID]error) (identity.NodeID, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked.IsZero() || time.Since(t.asked) > refreshing {
		nodes, err := t.ask(ctx)
		if err != nil {
			return 0, fmt.Errorf("asking the targets: %w", err)
		}
		t.nodes, t.asked = nodes, time.Now()
	}

	candidates := slices.Clone(t.nodes)
	for k := range candidates {
		n := &candidates[k]
		if err := tried[n.ID]; err != nil {
			n.Refuses = err.Error()
		} else if time.Now().Before(t.avoided[n.ID]) && n.Refuses == "" {
			n.Refuses = "another daemon could not move there just now"
		}
	}

	best, _, err := placement.Pick(candidates, req)
	if err != nil {
		return 0, err
	}

	for k := range t.nodes {
		if t.nodes[k].ID == best.ID {
			t.nodes[k] = t.nodes[k].Taken(req.Memory)
		}
	}
	return best.ID, nil
}

// avoid leaves the target alone for a while.
func (t *targets) avoid(id identity.NodeID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.avoided == nil {
		t.avoided = make(map[identity.NodeID]time.Time)
	}
	t.avoided[id] = time.Now().Add(avoiding)
}

// avoids reports whether a target is left alone that may be taken later.
func (t *targets) avoids() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, until := range t.avoided {
		if time.Now().Before(until) {
			return true
		}
	}
	return false
}

package channel

import (
	"sync"
	"time"

	"wasmhost.example/identity"
)

// Bounds on refused attempts of one node.
const (
	throttleAfter  = 16 // refusals within throttleWithin
	throttleWithin = time.Minute
	throttleFor    = 30 * time.Second
)

// Throttle makes nodes wait whose attempts were refused too often. The zero
// Throttle is ready for use; it is safe for concurrent use.
type Throttle struct {
	mu    sync.Mutex
	nodes map[identity.NodeID]*attempts // only of trusted nodes
}

type attempts struct {
	since   time.Time
	refused int
	until   time.Time
}

// Allow reports whether the node may try at now.
func (t *Throttle) Allow(node identity.NodeID, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.nodes[node]
	return a == nil || !now.Before(a.until)
}

// Note counts an attempt. One that was not refused makes those before it
// forgotten.
func (t *Throttle) Note(node identity.NodeID, refused bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !refused {
		delete(t.nodes, node)
		return
	}

	if t.nodes == nil {
		t.nodes = make(map[identity.NodeID]*attempts)
	}

	a := t.nodes[node]
	if a == nil || now.Sub(a.since) > throttleWithin {
		a = &attempts{since: now}
		t.nodes[node] = a
	}

	if a.refused++; a.refused >= throttleAfter {
		a.until, a.refused, a.since = now.Add(throttleFor), 0, now
	}
}

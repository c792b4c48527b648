package residence

import (
	"time"

	"wasmhost.example/host/internal/lock"
	"wasmhost.example/identity"
)

// mostKept is how many proofs are kept.
const mostKept = 1 << 16

// Cache are the proofs that still hold, and who was proven an owner last. The zero Cache has
// none. It is safe for concurrent use.
type Cache struct {
	mu    lock.Mutex[lock.Leaf]
	until map[Place]Kept
	last  map[identity.EntityID]Owner
}

// Place is a daemon at a node.
type Place struct {
	Entity identity.EntityID
	Node   identity.NodeID
}

// Kept is what a proof said of a place, and until when it holds.
type Kept struct {
	Epoch, Rank uint64 // see Proof
	Until       time.Time
}

// Get returns what was proven of the place, where that still holds.
func (c *Cache) Get(at Place, now time.Time) (Kept, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.until[at]
	return p, ok && now.Before(p.Until)
}

// Put keeps what was proven. Where as many are kept as may be, all are dropped first.
func (c *Cache) Put(at Place, p Kept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.until == nil || len(c.until) >= mostKept {
		c.until = make(map[Place]Kept) // it is a cache
	}
	if c.last == nil || len(c.last) >= mostKept {
		c.last = make(map[identity.EntityID]Owner)
	}
	if old, ok := c.last[at.Entity]; ok && old.Node != at.Node {
		delete(c.until, Place{at.Entity, old.Node}) // it is not there any more
	}
	c.until[at], c.last[at.Entity] = p, Owner{at.Node, p.Epoch}
}

// LastOf returns who was proven the daemon's owner last; false: nobody was.
func (c *Cache) LastOf(id identity.EntityID) (Owner, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last, ok := c.last[id]
	return last, ok
}

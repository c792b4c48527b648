package cluster

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost.example/host/directory"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// memory is what the directory said of each daemon last. It outlives the directory: a
// node whose cluster has lost it still names every daemon that was there.
type memory struct {
	mu      sync.Mutex
	daemons map[identity.EntityID]directory.Daemon
	silent  time.Duration // when the directory did not answer last, by the lease's clock; 0: it was not asked
}

// remember keeps what the directory says of a daemon. It need not be on disk soon: the
// directory says it again after a restart.
func (c *Member) remember(e directory.Entry) {
	c.memory.mu.Lock()
	c.memory.daemons[e.Entity] = e.Daemon
	c.memory.mu.Unlock()
	if c.env.Store == nil {
		return
	}
	rec, err := e.Daemon.MarshalBinary()
	if err != nil {
		c.env.Logger.Error("remembering a daemon of the cluster", "daemon", e.Entity.Origin(), "error", err)
		return
	}
	b := &store.Batch{}
	b.Put(store.Known, e.Entity[:], rec)
	c.env.Store.SubmitLater(b, c.noteMemory)
}

func (c *Member) noteMemory(err error) {
	if err != nil {
		c.env.Logger.Warn("remembering the daemons of the cluster", "error", err)
	}
}

// removed forgets a daemon that was removed. The copy here is dropped if the daemon
// signed that it is no more.
func (c *Member) removed(r directory.Removal) {
	if _, listed := c.directory.Look(r.Entity); listed {
		return // it was made anew
	}
	if s := c.copies.Find(r.Entity); s != nil {
		older := s.State().Epoch <= r.Epoch
		if !r.Signed() || !older {
			c.env.Logger.Warn("the copy of a daemon stays that the cluster has removed without the daemon's signature", "daemon", r.Entity.Origin(), "epoch", r.Epoch)
		} else {
			c.copies.Drop(r.Entity)
		}
	}
	c.memory.mu.Lock()
	was, ok := c.memory.daemons[r.Entity]
	if ok = ok && was.Epoch <= r.Epoch; ok {
		delete(c.memory.daemons, r.Entity)
	}
	c.memory.mu.Unlock()
	if ok && c.env.Store != nil {
		b := &store.Batch{}
		b.Delete(store.Known, r.Entity[:])
		c.env.Store.SubmitLater(b, c.noteMemory)
	}
}

// Recall returns what the directory said of a daemon last.
func (c *Member) Recall(id identity.EntityID) (directory.Daemon, bool) {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	d, ok := c.memory.daemons[id]
	return d, ok
}

// recoverMemory reads what the node remembers.
func (c *Member) recoverMemory() error {
	return c.env.Store.Scan(store.Known, func(k, v []byte) error {
		var id identity.EntityID
		var d directory.Daemon
		if err := errors.Join(id.UnmarshalBinary(k), d.UnmarshalBinary(v)); err != nil || d.Entity != id {
			return fmt.Errorf("%w: what was remembered of daemon %x: %w", store.ErrCorrupt, k, err)
		}
		c.memory.daemons[id] = d
		return nil
	})
}

// Remembered returns what the directory said of the daemons last, in no order.
func (c *Member) Remembered() []directory.Daemon {
	if c == nil {
		return nil
	}
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	out := make([]directory.Daemon, 0, len(c.memory.daemons))
	for _, d := range c.memory.daemons {
		out = append(out, d)
	}
	return out
}

package host

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// What a runtime is to the leaders of its daemons, and what it asks of them. All of it does
// nothing for a daemon of no cluster.

// leaderOf returns the leader of a daemon of a cluster; nil: it is no cluster's.
func leaderOf(d *engine.Daemon) *leader.Leader {
	l, _ := d.Cluster().Leader().(*leader.Leader)
	return l
}

// attach makes the daemon one of the cluster's. It needs d.mu, or d is not in the tables yet.
func (c *member) attach(d *engine.Daemon, b leader.Beginning) {
	if c == nil || d.Kind() == "" || d.Cluster().Leader() != nil {
		return
	}
	d.Cluster().SetLeader(c.leaders.Lead(d.Cluster(), b))
}

// replaced has a daemon take the place of old, whose history was repaired: it serves once
// it was compared with its standbys. It reports whether they are the cluster's. It needs
// the locks of both.
func (c *member) replaced(old, d *engine.Daemon) bool {
	l := leaderOf(old)
	if l == nil {
		return false
	}
	l.End(fmt.Errorf("%w: it was mended", daemon.ErrNotReady))
	c.attach(d, leader.Beginning{Uncompared: true})
	return true
}

// resign gives up, with err, all answers of a daemon that are held back: it is not this
// node's any more.
func (c *member) resign(d *engine.Daemon, err error) {
	if l := leaderOf(d); l != nil {
		l.End(err)
	}
}

// disown takes the daemon out of the directory, before it is stopped here. It needs d.mu.
func (c *member) disown(ctx context.Context, d *engine.Daemon) error {
	if l := leaderOf(d); l != nil {
		return l.Disown(ctx, d.Position().Key)
	}
	return nil
}

// stays is the end of a move that came to nothing.
func (c *member) stays(d *engine.Daemon) {
	if l := leaderOf(d); l != nil {
		l.Stay()
	}
}

// again has the directory told of the daemon's epoch, and the standbys begin anew: the
// history was written to beside them. It needs d.mu.
func (c *member) again(d *engine.Daemon) {
	if l := leaderOf(d); l != nil {
		l.Restart()
		c.lookSoon()
	}
}

// wasRead has the daemon looked at, which was not until it was read from the store.
func (c *member) wasRead(d *engine.Daemon) {
	l := leaderOf(d)
	if l == nil {
		return
	}
	l.Read()
	c.tell(func() {
		if session := c.sessionNamed(); session != 0 { // else the first session has all looked at
			c.lookAt(d, session)
		}
	})
}

// feedLast waits, for a while, until the standbys that are level have all of the daemons,
// whose states are stored, and ends the streams.
func (c *member) feedLast(ctx context.Context, daemons []*engine.Daemon) {
	if c == nil {
		return
	}
	var leaders []*leader.Leader
	for _, d := range daemons {
		if l := leaderOf(d); l != nil {
			leaders = append(leaders, l)
		}
	}
	c.leaders.FeedLast(ctx, leaders)
}

// leadersNode is the runtime as the leaders of its daemons see it.
type leadersNode struct{ rt *Runtime }

// Open implements leader.Node.
func (n leadersNode) Open() error { return n.rt.open() }

// Module implements leader.Node.
func (n leadersNode) Module(ctx context.Context, digest [32]byte) ([]byte, error) {
	return n.rt.Kinds().Module(ctx, digest)
}

// ProveReach implements leader.Node.
func (n leadersNode) ProveReach(id identity.EntityID) ([]byte, error) {
	ours, err := reach.Of(n.rt.env.Store, id)
	if err != nil {
		return nil, err
	}
	return n.rt.proveReach(id, ours)
}

// proveReach proves how far the history here goes, with the daemon's key as the store has
// it; nil where the store does not have it.
func (r *Runtime) proveReach(id identity.EntityID, e reach.Extent) ([]byte, error) {
	encoded, err := r.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return nil, err
	}
	rec, err := stored.DecodeRecord(encoded)
	if err != nil {
		return nil, err
	}
	return reach.Prove(r.env.Node, id, e, rec.Key, stored.AtRest, nil)
}

// FirstRecord implements leader.Node.
func (n leadersNode) FirstRecord(id identity.EntityID) (uint64, error) {
	first, _, err := stored.Beginning(n.rt.env.Store, id)
	return first, err
}

// Lost implements leader.Node.
func (n leadersNode) Lost(e directory.Entry, session uint64) {
	c := n.rt.cluster
	c.tell(func() {
		if d := n.rt.table.Daemon(e.Entity); d != nil && leaderOf(d) != nil {
			c.compareWith(d, e, session)
		}
	})
}

// standbyLink is what a key that is sealed to a standby is bound to.
var standbyLink = []byte("wasmhost identity for a standby")

// RecordFor implements leader.Node.
func (n leadersNode) RecordFor(ctx context.Context, id identity.EntityID, to mesh.Peer) ([]byte, error) {
	b, err := n.rt.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return nil, err
	}
	rec, err := stored.DecodeRecord(b)
	if err != nil {
		return nil, err
	}
	if len(rec.Key) == 0 {
		return rec.Encode()
	}

	key, err := stored.OpenKey(rec.Key, n.rt.env.Node, id)
	if err != nil {
		return nil, err
	}
	defer key.Wipe()
	sealTo, err := to.SealKey(ctx)
	if err != nil {
		return nil, err
	}
	env, err := identity.Seal(key, sealTo, standbyLink)
	if err != nil {
		return nil, fmt.Errorf("sealing the daemon's key to a standby: %w", err)
	}
	rec.Key = env.Bytes()
	return rec.Encode()
}

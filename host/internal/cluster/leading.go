package cluster

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

// LeaderOf returns the leader of a daemon of a cluster; nil: it is no cluster's.
func LeaderOf(d *engine.Daemon) *leader.Leader {
	l, _ := d.Cluster().Leader().(*leader.Leader)
	return l
}

// Attach makes the daemon one of the cluster's. It needs d.mu, or d is not in the tables yet.
func (c *Member) Attach(d *engine.Daemon, b leader.Beginning) {
	if c == nil || d.Kind() == "" || d.Cluster().Leader() != nil {
		return
	}
	d.Cluster().SetLeader(c.leaders.Lead(d.Cluster(), b))
}

// Replaced has a daemon take the place of old, whose history was repaired: it serves once
// it was compared with its standbys. It reports whether they are the cluster's. It needs
// the locks of both.
func (c *Member) Replaced(old, d *engine.Daemon) bool {
	l := LeaderOf(old)
	if l == nil {
		return false
	}
	l.End(fmt.Errorf("%w: it was mended", daemon.ErrNotReady))
	c.Attach(d, leader.Beginning{Uncompared: true})
	return true
}

// Resign gives up, with err, all answers of a daemon that are held back: it is not this
// node's any more.
func (c *Member) Resign(d *engine.Daemon, err error) {
	if l := LeaderOf(d); l != nil {
		l.End(err)
	}
}

// Disown takes the daemon out of the directory, before it is stopped here. It needs d.mu.
func (c *Member) Disown(ctx context.Context, d *engine.Daemon) error {
	if l := LeaderOf(d); l != nil {
		return l.Disown(ctx, d.Position().Key)
	}
	return nil
}

// Stayed is the end of a move that came to nothing.
func (c *Member) Stayed(d *engine.Daemon) {
	if l := LeaderOf(d); l != nil {
		l.Stay()
	}
}

// Restarted writes the daemon's epoch to the directory, and feeds the standbys from the
// beginning: the history has records that did not go to them. It needs d.mu.
func (c *Member) Restarted(d *engine.Daemon) {
	if l := LeaderOf(d); l != nil {
		l.Restart()
		c.LookSoon()
	}
}

// WasRead has the daemon looked at, which was not until it was read from the store.
func (c *Member) WasRead(d *engine.Daemon) {
	l := LeaderOf(d)
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

// FeedLast waits, for a while, until the standbys that are level have all of the daemons,
// whose states are stored, and ends the streams.
func (c *Member) FeedLast(ctx context.Context, daemons []*engine.Daemon) {
	if c == nil {
		return
	}
	var leaders []*leader.Leader
	for _, d := range daemons {
		if l := LeaderOf(d); l != nil {
			leaders = append(leaders, l)
		}
	}
	c.leaders.FeedLast(ctx, leaders)
}

// leadersNode is the node as the leaders of its daemons see it.
type leadersNode struct{ member *Member }

// Open implements leader.Node.
func (n leadersNode) Open() error { return n.member.config.Node.Open() }

// Module implements leader.Node.
func (n leadersNode) Module(ctx context.Context, digest [32]byte) ([]byte, error) {
	return n.member.config.Modules.Module(ctx, digest)
}

// ProveReach implements leader.Node.
func (n leadersNode) ProveReach(id identity.EntityID) ([]byte, error) {
	ours, err := reach.Of(n.member.env.Store, id)
	if err != nil {
		return nil, err
	}
	return n.member.ProveReach(id, ours)
}

// ProveReach proves how far the history here goes, with the daemon's key as the store has
// it; nil where the store does not have it.
func (c *Member) ProveReach(id identity.EntityID, e reach.Extent) ([]byte, error) {
	encoded, err := c.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return nil, err
	}
	rec, err := stored.DecodeRecord(encoded)
	if err != nil {
		return nil, err
	}
	return reach.Prove(c.env.Node, id, e, rec.Key, stored.AtRest, nil)
}

// FirstRecord implements leader.Node.
func (n leadersNode) FirstRecord(id identity.EntityID) (uint64, error) {
	first, _, err := stored.Beginning(n.member.env.Store, id)
	return first, err
}

// Lost implements leader.Node.
func (n leadersNode) Lost(e directory.Entry, session uint64) {
	c := n.member
	c.tell(func() {
		if d := c.config.Table.Daemon(e.Entity); d != nil && LeaderOf(d) != nil {
			c.CompareWith(d, e, session)
		}
	})
}

// standbyLink is what a key that is sealed to a standby is bound to.
var standbyLink = []byte("wasmhost identity for a standby")

// RecordFor implements leader.Node.
func (n leadersNode) RecordFor(ctx context.Context, id identity.EntityID, to mesh.Peer) ([]byte, error) {
	b, err := n.member.env.Store.Get(store.Daemons, id[:])
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

	key, err := stored.OpenKey(rec.Key, n.member.env.Node, id)
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

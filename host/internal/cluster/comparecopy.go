package cluster

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/internal/standbys"
)

// compareCopy returns nil where the copy here may go on: no other standby in sync has
// more. e is what the directory says.
func (c *Member) compareCopy(ctx context.Context, e directory.Entry, s *standbys.Standby) (*rival, error) {
	ours, err := reach.Of(c.env.Store, e.Entity)
	if err != nil {
		return nil, err
	}
	data, err := c.lineage(ctx)
	if err != nil {
		return nil, err
	}
	to, whole, err := c.compareWithStandbys(ctx, e.Entity, ours, e)
	switch {
	case err != nil || to != nil:
	case data.older:
		err = errOlderData
	case e.Owner != c.env.Self && !data.clean && !whole && c.directory.Knows(e.Owner):
		err = errOwnerAway
	}
	var waits *daemon.HeldDaemon
	switch {
	case err != nil:
		waits = heldBy(e.Entity, err)
	case to != nil && to.verdict == reach.Undecided:
		waits = &daemon.HeldDaemon{Entity: e.Entity, Reason: daemon.HoldForked, Node: to.node, Epoch: to.has.Epoch, Index: to.has.Next,
			Why: fmt.Sprintf("standby %s, which is in sync, has another history than the copy here", to.node)}
	case to == nil && !c.config.Node.IsConfirmed():
		err = daemon.ErrUnconfirmed
		waits = &daemon.HeldDaemon{Entity: e.Entity, Reason: daemon.HoldUnconfirmed, Why: "the copy on this node comes from a backup, and no other node in sync is there to go on"}
	}
	if waits != nil {
		waits.Name, waits.Since = e.Name, c.env.Clock()
	}
	s.Wait(waits)
	return to, err
}

// fromDisk runs compareCopy for a copy that no owner has fed in this process, and next
// once the copy here may go on. It does not block, and does nothing where that is under
// way.
func (c *Member) fromDisk(e directory.Entry, s *standbys.Standby, next func()) {
	if !s.BeginComparing() || !c.env.Work.Begin() {
		return
	}
	go func() {
		defer c.env.Work.Done()
		defer s.EndComparing()
		to, err := c.compareCopy(c.env.Context, e, s)
		switch {
		case err != nil:
			if c.env.Context.Err() == nil {
				c.env.Logger.Warn("a daemon waits: comparing the copy here with other standbys", "daemon", e.Entity.Origin(), "error", err)
			}
		case to == nil:
			next()
		case to.verdict == reach.TheirsGoesOn && e.Owner == c.env.Self:
			if _, err := c.nameOwner(c.env.Context, e, to.node); err != nil {
				c.env.Logger.Warn("handing a daemon over to a standby that has more", "daemon", e.Entity.Origin(), "standby", to.node, "error", err)
			}
		case to.verdict == reach.TheirsGoesOn:
			c.env.Logger.Info("another standby has more of a daemon: it takes that over", "daemon", e.Entity.Origin(), "standby", to.node)
		}
	}()
}

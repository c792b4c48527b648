package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// Claim makes a daemon that is being spawned known as this node's.
func (c *Member) Claim(ctx context.Context, d *engine.Daemon, epoch uint64, standbys int, ack directory.Ack) (directory.Entry, error) {
	if standbys < 0 || standbys > directory.MaxStandbys {
		return directory.Entry{}, fmt.Errorf("%w: %d standbys, at most %d", directory.ErrBadStandbys, standbys, directory.MaxStandbys)
	}
	if err := c.leaders.Holding(); err != nil {
		return directory.Entry{}, err
	}
	epoch = max(epoch, c.directory.RemovedAt(d.Entity())+1) // its removal is not of what begins now
	want := directory.Daemon{Entity: d.Entity(), Name: d.Name(), Owner: c.env.Self, Epoch: epoch, Want: standbys, Ack: ack}
	e, err := c.directory.Create(ctx, want)
	if taken := new(directory.NameTakenError); errors.As(err, &taken) && c.forgetCutShort(ctx, taken) {
		e, err = c.directory.Create(ctx, want)
	}
	if errors.As(err, new(*directory.NameTakenError)) {
		return e, fmt.Errorf("%w: %w", daemon.ErrNameTaken, err)
	}
	if !errors.Is(err, directory.ErrConflict) {
		return e, err
	}
	old, err := c.directory.Read(ctx, d.Entity())
	if err != nil {
		return directory.Entry{}, err
	}
	if old.Owner != c.env.Self || len(old.Standbys) > 0 || c.copies.Find(d.Entity()) != nil {
		return directory.Entry{}, fmt.Errorf("%w: %s is on node %s, epoch %d", daemon.ErrAlreadyPresent, d.Entity().Origin(), old.Owner, old.Epoch)
	}
	// A spawn here that a crash cut short, or a data directory that is lost.
	want.Epoch = max(epoch, old.Epoch+1)
	if old.Name == want.Name {
		return c.directory.Put(ctx, old, want)
	}
	if err := c.directory.Delete(ctx, old); err != nil {
		return directory.Entry{}, err
	}
	return c.directory.Create(ctx, want)
}

// forgetCutShort removes from the directory who has a name, where that is a daemon whose
// spawn here was cut short after it was claimed, and reports whether it did.
func (c *Member) forgetCutShort(ctx context.Context, taken *directory.NameTakenError) bool {
	if taken.Owner != c.env.Self || c.IsComing(taken.By) {
		return false
	}
	known, err := c.config.Table.IsKnown(taken.By)
	if err == nil && known {
		return false
	}
	var e directory.Entry
	if err == nil {
		e, err = c.directory.Read(ctx, taken.By)
	}
	if err == nil && e.Owner == c.env.Self && len(e.Standbys) == 0 {
		err = c.directory.Delete(ctx, e)
	}
	if err != nil {
		c.env.Logger.Warn("freeing the name of a spawn that was cut short", "name", taken.Name, "daemon", taken.By.Origin(), "error", err)
	}
	return err == nil
}

// CheckMove says why a daemon cannot move to the target, and has the target be no
// standby of the daemon meanwhile.
func (c *Member) CheckMove(ctx context.Context, d *engine.Daemon, target identity.NodeID) error {
	if c == nil || LeaderOf(d) == nil {
		return nil
	}
	if !c.directory.Here(target) {
		return migration.Failf(migration.TargetUnavailable, "node %s is not in this node's cluster, or is not there", target)
	}
	return LeaderOf(d).Spare(ctx, target)
}

// Move is the point of no return of a planned move: the directory names the
// target. The release is on disk; it is given to nobody before. It returns once what
// became of it is known, or ctx ends.
func (c *Member) Move(ctx context.Context, d *engine.Daemon, target identity.NodeID, epoch uint64) error {
	l := LeaderOf(d)
	for {
		now, err := c.directory.Read(ctx, d.Entity())
		switch {
		case err == nil && now.Owner == target && now.Epoch == epoch:
			l.End(&daemon.MovedError{Moved: daemon.Moved{Entity: d.Entity(), Node: target, Epoch: epoch, Time: c.env.Clock()}})
			return nil
		case err == nil && now.Owner != c.env.Self:
			c.tell(func() { c.CompareWith(d, now, c.SessionNow()) })
			return migration.Failf(migration.StaleEpoch, "node %s owns daemon %s, epoch %d", now.Owner, d.Entity().Origin(), now.Epoch)
		case err == nil:
			to := now.Daemon.Without(target)
			to.Owner, to.Epoch = target, epoch
			if err = l.HandOver(ctx, now, to); err == nil {
				continue // read it
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		c.env.Logger.Warn("moving a daemon: the directory is asked again", "daemon", d.Entity().Origin(), "error", err)
		timer := time.NewTimer(c.directory.Self().TTL / 8)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
	}
}

// MakeWay lets a daemon come here that this node stood by for.
func (c *Member) MakeWay(ctx context.Context, id identity.EntityID) error {
	if c == nil || c.copies.Find(id) == nil {
		return nil
	}
	e, err := c.directory.Read(ctx, id)
	if err == nil && e.InSync(c.env.Self) {
		err = errors.New("this node is a standby in sync")
	}
	if err != nil {
		return migration.Failf(migration.NotReady, "%v", err)
	}
	c.copies.Drop(id)
	return nil
}

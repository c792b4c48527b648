package cluster

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/identity"
)

// handOver names a standby that has more the daemon's owner. What is here is kept as
// evidence where it is no beginning of that.
func (c *Member) handOver(ctx context.Context, d *engine.Daemon, e directory.Entry, to *rival) error {
	if to.forked {
		if err := c.config.Node.KeepEvidence(d.Entity(), e.Epoch, fmt.Sprintf("standby %s, which is in sync, has another history under a higher epoch", to.node)); err != nil {
			return err
		}
	}
	now, err := c.nameOwner(ctx, e, to.node)
	if err != nil {
		return fmt.Errorf("handing it over to standby %s, which has more: %w", to.node, err)
	}
	c.env.Logger.Error("the history here is older than a standby's: the daemon goes on there", "daemon", d.Entity().Origin(), "name", d.Name(), "standby", to.node,
		"records there", to.has.Next, "epoch", now.Epoch)
	c.tell(func() { c.CompareWith(d, now, c.SessionNow()) })
	return nil
}

// Yield names a standby in sync the daemon's owner, as an operator says, and returns the
// epoch of that. The copy here is dropped once the directory's news come. It needs d.mu.
func (c *Member) Yield(ctx context.Context, d *engine.Daemon, to identity.NodeID) (uint64, error) {
	e, err := c.directory.Read(ctx, d.Entity())
	if err != nil {
		return 0, err
	}
	if e.Owner != c.env.Self || !e.InSync(to) {
		return 0, fmt.Errorf("%w: node %s is no standby in sync of daemon %s any more", daemon.ErrNoneFurther, to, d.Entity().Origin())
	}
	if err := c.config.Node.KeepEvidence(d.Entity(), d.Position().Epoch, fmt.Sprintf("yielded to standby %s", to)); err != nil {
		return 0, err
	}
	now, err := c.nameOwner(ctx, e, to)
	if err != nil {
		return 0, fmt.Errorf("yielding it to standby %s: %w", to, err)
	}
	c.env.Logger.Warn("an operator yielded a held daemon to a standby", "daemon", d.Entity().Origin(), "standby", to, "epoch", now.Epoch)
	c.tell(func() { c.CompareWith(d, now, c.SessionNow()) })
	return now.Epoch, nil
}

// nameOwner makes another node, a standby in sync, the owner of a daemon of this one.
func (c *Member) nameOwner(ctx context.Context, e directory.Entry, to identity.NodeID) (directory.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, c.directory.Self().TTL)
	defer cancel()
	d := e.Daemon.Without(to)
	d.Owner, d.Epoch = to, e.Epoch+1
	return c.directory.Put(ctx, e, d)
}

package cluster

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/identity"
)

// ConfirmWaiting lets a daemon go on that waits for a standby, as an operator says: what
// that standby has beyond the copy here is lost.
func (c *Member) ConfirmWaiting(ctx context.Context, id identity.EntityID) (chain.Mended, error) {
	d := c.config.Table.Daemon(id)
	if d == nil {
		return c.confirmCopy(ctx, id)
	}
	if err := d.LockContext(ctx); err != nil {
		return chain.Mended{}, err
	}
	defer d.Unlock()
	if err := d.Memory().Wake(ctx); err != nil {
		return chain.Mended{}, err
	}
	if d.Position().State != lifecycle.Running {
		return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), errors.Join(d.Position().Gone, daemon.ErrNotHeld))
	}
	e, ok := c.directory.Look(id)
	if !ok || e.Owner != c.env.Self {
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrNotHeld, id.Origin())
	}
	fact, b, err := d.Upkeep().RepairFact(chain.MendConfirm, max(d.Position().Epoch, e.Epoch)+1)
	if err != nil {
		return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), err)
	}
	if err := c.env.Store.Commit(b); err != nil {
		return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), err)
	}
	d.Making().GoOn(fact.Epoch)
	c.env.Logger.Warn("an operator confirmed a daemon that waited for a standby: what that has beyond the copy here is lost", "daemon", id.Origin(), "name", d.Name(), "epoch", fact.Epoch)
	d.Notify(daemon.WasMended, chain.MendConfirm.String())
	LeaderOf(d).SetCompared()
	d.Show()
	c.Restarted(d)
	return fact, nil
}

// confirmCopy is confirmWaiting of a copy that this node is to serve.
func (c *Member) confirmCopy(ctx context.Context, id identity.EntityID) (chain.Mended, error) {
	s := c.copies.Find(id)
	e, ok := c.directory.Look(id)
	if s == nil || !ok {
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrNotHeld, id.Origin())
	}
	if e.Owner == c.env.Self { // the silent standby may have more under this epoch
		old := e
		e.Epoch++
		var err error
		if e, err = c.directory.Put(ctx, old, e.Daemon); err != nil {
			return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), err)
		}
	}
	s.Trust()
	c.env.Logger.Warn("an operator confirmed a copy that waited for another standby: what that has beyond it is lost", "daemon", id.Origin(), "name", e.Name)
	c.LookSoon()
	return chain.Mended{How: chain.MendConfirm, Epoch: e.Epoch}, nil
}

package host

import (
	"context"

	"wasmhost.example/host/internal/leader"
) // recover brings back kinds, daemons and migrations from the
// store. A daemon that cannot be brought back is kept as failed or diverged,
// with the reason, and stops no other.
func (r *Runtime) recover(ctx context.Context) error {
	if r.env.Store == nil {
		return nil
	}
	if err := r.recoverDraining(); err != nil {
		return err
	}
	if err := r.recoverIncarnation(); err != nil {
		return err
	}
	if err := r.evidence.Recover(); err != nil {
		return err
	}
	if err := r.losses.Recover(); err != nil {
		return err
	}
	if err := r.holds.Recover(); err != nil {
		return err
	}
	if err := r.registry.Recover(ctx); err != nil {
		return err
	}
	if err := r.broker.Recover(); err != nil {
		return err
	}
	if err := r.recoverDaemons(ctx); err != nil {
		return err
	}
	if r.cluster != nil {
		if err := r.cluster.Recover(); err != nil {
			return err
		}
		for _, d := range r.table.Daemons() {
			r.cluster.Attach(d, leader.Beginning{Uncompared: true, Unread: d.IsUnread()})
		}
	}
	if err := r.recoverOutgoing(); err != nil {
		return err
	}
	return r.arrivals.Recover(ctx, r.table.PutArrival)
}

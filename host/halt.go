package host

import (
	"context"
	"errors"

	"wasmhost.example/identity"
)

// A stopped daemon takes no events until it is started again: those from outside are
// refused, and its timers, what it sent, and what it is to have of daemons and channels
// wait. That it is stopped is part of its state: it survives restarts and failovers,
// and moves with it. A fork of it is not stopped.

// Halt stops the daemon, durably. One that is stopped stays so. Errors:
// *NotFoundError, *MovedError, and the context's while the daemon is on its way to
// another node.
func (r *Runtime) Halt(ctx context.Context, id identity.EntityID) error { return r.halt(ctx, id, true) }

// Resume starts a daemon that Halt stopped. One that is not stopped stays so. Errors
// are those of Halt.
func (r *Runtime) Resume(ctx context.Context, id identity.EntityID) error {
	return r.halt(ctx, id, false)
}

func (r *Runtime) halt(ctx context.Context, id identity.EntityID, stop bool) error {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return err
	}
	d, err := r.find(id)
	if err != nil {
		return err
	}
	if err := d.Mailbox().Admit(ctx); err != nil { // not enter: a full mailbox keeps no operator out
		return err
	}
	t, err := d.Upkeep().SetHalted(stop)
	d.Unlock()
	if err != nil {
		return err
	}
	return t.Wait(ctx)
}

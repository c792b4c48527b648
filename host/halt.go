package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/journal"
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
	if err := d.admit(ctx); err != nil { // not enter: a full mailbox keeps no operator out
		return err
	}
	t, err := d.setHalted(stop)
	d.Unlock()
	if err != nil {
		return err
	}
	return t.wait(ctx)
}

// setHalted needs d.mu.
func (d *hosted) setHalted(stop bool) (*ticket, error) {
	if d.halted() == stop {
		return d.last, nil
	}
	rec, err := journal.Encode(&journal.Halt{Stopped: stop, Time: d.now()})
	if err != nil {
		return nil, err
	}
	d.halt(stop)
	t := d.last
	if d.recording() {
		t = d.record(rec)
	}
	d.show()
	what := daemon.Stopped
	if !stop {
		what = daemon.Started
		d.startEffects()
	}
	d.notify(what, "")
	return t, nil
}

// halt notes that the daemon is stopped, or not. It needs d.mu.
func (d *hosted) halt(stop bool) {
	if d.effects == nil {
		d.effects = &effect.State{}
	}
	d.effects.Halt(stop)
}

// halted needs d.mu.
func (d *hosted) halted() bool { return d.effects != nil && d.effects.Halted() }

// going returns nil where the daemon takes events. It needs d.mu.
func (d *hosted) going() error {
	if d.halted() {
		return fmt.Errorf("%w: %s", daemon.ErrHalted, d.id.Origin())
	}
	return nil
}

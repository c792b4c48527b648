package host

import (
	"context"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/identity"
)

// Deliver applies the event and returns when its outputs are durable. Errors:
// *NotFoundError, *MovedError, ErrMailboxFull, ErrTooLarge, *GuestError, and
// the context's while the daemon is on its way to another node.
func (r *Runtime) Deliver(ctx context.Context, id identity.EntityID, ev daemon.Event) (daemon.Result, error) {
	var p pending.Event
	if err := r.submit(ctx, id, &engine.Input{Event: ev}, &p); err != nil {
		return daemon.Result{}, err
	}
	return p.Wait(ctx)
}

// Submit applies the event and returns at once: events submitted one after
// the other are applied in that order, and become durable together. Errors are
// those of Deliver, but that of the event itself, which Wait returns.
func (r *Runtime) Submit(ctx context.Context, id identity.EntityID, ev daemon.Event) (*pending.Event, error) {
	p := new(pending.Event)
	if err := r.submit(ctx, id, &engine.Input{Event: ev}, p); err != nil {
		return nil, err
	}
	return p, nil
}

// submit is Submit to p, which is zero: a Pending takes more words than results are
// returned in.
func (r *Runtime) submit(ctx context.Context, id identity.EntityID, ev *engine.Input, p *pending.Event) error {
	if r.env.Tracer != nil {
		return r.traced(ctx, id, ev, p)
	}
	return r.untraced(ctx, id, ev, p)
}

func (r *Runtime) untraced(ctx context.Context, id identity.EntityID, ev *engine.Input, p *pending.Event) error {
	if err := r.ready(); err != nil {
		return err
	}
	if err := ev.Direct(); err != nil {
		return err
	}
	d, err := r.find(id)
	if err != nil {
		return err
	}
	if err := r.mayTake(id); err != nil {
		return err
	}
	if err := d.Mailbox().Enter(ctx, len(ev.Payload)); err != nil {
		return err
	}
	hold, err := d.Mailbox().RoomForAnswer(ctx, ev)
	if err != nil {
		return err
	}
	return d.Mailbox().Answer(ev, hold, p)
}

// room returns nil when the store takes new records.
func (r *Runtime) room() error {
	if r.env.Store == nil {
		return nil
	}
	return r.env.Store.Err()
}

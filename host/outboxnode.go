package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/outbox"
	"wasmhost.example/identity"
)

// outboxOf gives the outbox of a runtime its daemons: those that send, and those that take.
type outboxOf struct{ rt *Runtime }

// goneErr marks an error that says that the daemon is not this node's any more, or takes
// no events for now.
func goneErr(err error) error {
	var moved *daemon.MovedError
	if errors.As(err, &moved) || errors.Is(err, daemon.ErrHalted) || errors.Is(err, daemon.ErrHeld) ||
		errors.Is(err, daemon.ErrNotFound) || errors.Is(err, daemon.ErrStopped) || errors.Is(err, daemon.ErrShuttingDown) {
		return fmt.Errorf("%w: %w", outbox.ErrGone, err)
	}
	return err
}

// Due returns effects of the daemon that are durable.
func (o outboxOf) Due(ctx context.Context, id identity.EntityID, p effect.Place, most, bytes int, none func()) ([]channel.Carriage, error) {
	d, err := o.rt.find(id)
	if err != nil {
		return nil, goneErr(err)
	}
	if err := fair.Sleep(ctx, d.Turns().Owes()); err != nil {
		return nil, err
	}

	var list []channel.Carriage
	var last *pending.Ticket
	err = d.Turns().Turn(ctx, func(*fair.Turn) error {
		if err := d.Turns().Going(); err != nil {
			none()
			return err
		}
		if list = d.Effects().DueFor(p, most, bytes); len(list) == 0 {
			none()
		}
		last = d.Position().Last
		return nil
	})
	if err != nil || len(list) == 0 {
		return nil, goneErr(err)
	}
	if err := last.Wait(ctx); err != nil {
		return nil, err // the daemon goes back to what is stored
	}
	return list, nil
}

// Acknowledge records that effects need not be sent again.
func (o outboxOf) Acknowledge(ctx context.Context, id identity.EntityID, p effect.Place, list []channel.Carriage, lost string) error {
	d, err := o.rt.find(id)
	if err != nil {
		return err
	}
	return d.Turns().Turn(ctx, func(*fair.Turn) error { return d.Effects().Acknowledge(p, list, lost) })
}

// PassedOver notes in the daemon's log and in its count of lost events that the receiver
// passed some of what it sent over.
func (o outboxOf) PassedOver(id identity.EntityID, p effect.Place, n int, why error) {
	d, err := o.rt.find(id)
	if err != nil {
		return
	}
	d.Effects().LostOfSent(n, p, why)
	o.rt.env.Logger.Warn("what a daemon sent was passed over", "daemon", id.Origin(), "to", p, "reason", why)
}

// Credentials are the daemon's word that it is here, and the token for the channel.
// ErrHalted where it was stopped since its effects were listed.
func (o outboxOf) Credentials(ctx context.Context, id identity.EntityID, p effect.Place, had outbox.Credentials) (c outbox.Credentials, err error) {
	d, err := o.rt.find(id)
	if err != nil {
		return had, err
	}

	err = d.Turns().Turn(ctx, func(*fair.Turn) error {
		if err := d.Turns().Going(); err != nil {
			return err
		}
		c, err = d.Effects().Credentials(p, had)
		return err
	})

	return c, err
}

// Fire has the daemon process its timers that are due.
func (o outboxOf) Fire(ctx context.Context, id identity.EntityID) (next int64, err error) {
	next, err = o.rt.fireDue(ctx, id)
	return next, goneErr(err)
}

// Believed returns where the daemon is by what this node knows.
func (o outboxOf) Believed(id identity.EntityID) (identity.NodeID, bool) {
	_, err := o.rt.find(id)
	var moved *daemon.MovedError
	switch {
	case err == nil:
		return o.rt.env.Self, true
	case errors.As(err, &moved):
		return moved.Node, true
	}

	return 0, false
}

// Prove is Runtime.Believe.
func (o outboxOf) Prove(ctx context.Context, id identity.EntityID, at, by identity.NodeID) (identity.NodeID, uint64, error) {
	p, err := o.rt.Believe(ctx, id, at, by)
	return p.Node, p.Epoch, err
}

// longestDebt is the longest that a node which brings events waits here for the
// receiver's rate. Where it would wait longer, it is refused with channel.ErrBusy and tries
// again.
const longestDebt = 5 * time.Second

// Take has a daemon of this node take effects in one turn.
func (o outboxOf) Take(ctx context.Context, via identity.NodeID, m *channel.Carry, list []channel.Carriage) (taken outbox.Taken, err error) {
	r := o.rt
	if err := r.mayTake(m.To); err != nil {
		return taken, err
	}
	d, err := r.receiverOf(m.To)
	if err != nil {
		return taken, err
	}
	owes := d.Turns().OwesBytes()
	if owes > longestDebt {
		return taken, fmt.Errorf("%w: daemon %s has used up its limit internal-bytes", channel.ErrBusy, m.To.Origin())
	}
	if err := fair.Sleep(ctx, owes); err != nil {
		return taken, err
	}

	var t *pending.Ticket
	err = d.Turns().Turn(ctx, func(turn *fair.Turn) (err error) {
		if err := d.Turns().Going(); err != nil {
			return fmt.Errorf("%w: %w", channel.ErrBusy, err)
		}
		var some engine.Taken
		some, t, err = d.Effects().TakeSome(turn, m.From, via, list)
		taken = outbox.Taken(some)
		if errors.Is(err, engine.ErrNoRoom) {
			why := channel.ErrNoRoom
			if r.sender.Blocked(m.To) {
				why = channel.ErrBusy
			}
			err = fmt.Errorf("%w: %w", why, err)
		}

		return err
	})
	if taken.Events == 0 {
		return taken, err
	}

	if err := t.Wait(ctx); err != nil { // all of it comes again
		return outbox.Taken{}, err
	}
	return taken, err
}

// receiverOf returns a daemon of this node. One that is on its way here is not
// unknown.
func (r *Runtime) receiverOf(id identity.EntityID) (*engine.Daemon, error) {
	d, err := r.find(id)
	if errors.Is(err, daemon.ErrNotFound) {
		if r.table.Arrival(id) != nil {
			return nil, fmt.Errorf("%w: daemon %s is on its way to node %s", channel.ErrBusy, id.Origin(), r.env.Self)
		}
		return nil, fmt.Errorf("%w: %w", channel.ErrNoReceiver, err)
	}

	return d, err
}

// Waits reports whether the daemon waits for an answer of another, and has its calls end
// where that is gone.
func (o outboxOf) Waits(ctx context.Context, asker, asked identity.EntityID, gone bool) (waits bool, err error) {
	d, err := o.rt.find(asker)
	if err = goneErr(err); errors.Is(err, outbox.ErrGone) {
		return false, nil // whoever has it now looks after its calls
	}
	if err != nil {
		return false, err
	}

	if err := d.Peek(ctx); err != nil {
		return false, err
	}
	if d.Position().Effects != nil {
		_, waits = d.Position().Effects.LastCall(asked)
	}
	d.Unlock()
	if !waits || !gone {
		return waits, nil
	}
	return true, d.Turns().Turn(ctx, func(*fair.Turn) error { return d.Effects().EndCallsTo(asked) })
}

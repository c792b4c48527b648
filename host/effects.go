package host

import (
	"context"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/identity"
)

// A daemon's effects are part of its state and of its history: what an event
// published, sent and set is in its record, waits in package effect's State, and is
// carried out once the record is durable. A replay of the history comes to the
// same.

// startAllEffects goes on with those of all daemons that serve here.
func (r *Runtime) startAllEffects() {
	all := r.table.Daemons()
	for _, d := range all {
		if d.IsUnread() {
			continue // they are started when it is read
		}
		d.Lock()
		if d.Position().State.Serves() {
			d.Effects().StartEffects()
		}
		d.Unlock()
	}
	r.timers.Start()
	r.watch.Start()
}

// Effects returns what the daemon may do and what of it is still to come. While the
// daemon is busy it is what it was before. *MovedError, *NotFoundError.
func (r Daemons) Effects(id identity.EntityID) (daemon.Effects, error) {
	d, err := r.rt.find(id)
	if err != nil {
		return daemon.Effects{}, err
	}
	e, err := d.Effects().ShownEffects()
	if err != nil {
		return daemon.Effects{}, err
	}
	e.Pending = append([]daemon.PendingEffects(nil), e.Pending...)
	for i := range e.Pending {
		e.Pending[i].Reason = r.rt.sender.Reason(id, e.Pending[i].Place)
	}
	return e, nil
}

// fireDue has the daemon process the timers that are due, in order, in a round: one
// that is set meanwhile is of the next round. next is when to look again; 0: there
// are no timers.
func (r *Runtime) fireDue(ctx context.Context, id identity.EntityID) (next int64, err error) {
	var limit uint64 // numbers from here on are of the next round; 0: the round has not begun
	for {
		if err := r.mayTake(id); err != nil {
			return 0, err
		}
		d, err := r.find(id)
		if err != nil {
			return 0, err
		}
		if owes := d.Turns().Owes(); owes > 0 {
			return r.env.Clock().UnixNano() + int64(owes), nil
		}
		var last *pending.Ticket
		more := false
		err = d.Turns().Turn(ctx, func(t *fair.Turn) (err error) {
			if err := d.Turns().Going(); err != nil {
				return err
			}
			if limit == 0 {
				if limit = d.Effects().BeginRound(); limit == 0 {
					next = d.Effects().NextRound()
					return nil
				}
			}
			last, more, err = d.Effects().FireSome(t, limit)
			next = d.Effects().NextRound()
			return err
		})
		if waitErr := last.Wait(ctx); err == nil {
			err = waitErr
		}
		if err != nil || !more {
			return next, err
		}
	}
}

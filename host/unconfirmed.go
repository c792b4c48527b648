package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/holds"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// A held daemon is here and serves nothing: no events, no timers, no channels, no
// effects, no moves. This node does not know whether its copy is the one that goes on.
// An operator ends the hold: Unconfirmed.Confirm lets this copy go on, under a higher epoch;
// Unconfirmed.Yield drops it for the one that has more. The hold survives restarts.

// Mark holds a daemon, durably, as a copy of which nobody has confirmed that
// it is the last. It may be called before Start, and for a daemon that is not here yet.
// The first hold of a daemon stays until an operator ends it, but one as unconfirmed gives
// way to one by a proof.
func (r Unconfirmed) Mark(id identity.EntityID, why string) error {
	return r.rt.holds.Hold(id, &holds.Record{Reason: daemon.HoldUnconfirmed, Why: why})
}

// MarkUnconfirmedIn is Unconfirmed.Mark in a store that no runtime has.
func MarkUnconfirmedIn(s *store.Store, id identity.EntityID, why string, at time.Time) error {
	return holds.Unconfirmed(why, at).Commit(s, id)
}

// List returns the daemons that are held here, by name.
func (r Unconfirmed) List() []daemon.HeldDaemon {
	out := r.rt.holds.List()
	for i := range out {
		if here := r.rt.table.Daemon(out[i].Entity); here != nil {
			out[i].Name = here.Name()
		}
	}
	out = append(out, r.rt.cluster.Waiting()...)
	slices.SortFunc(out, func(a, b daemon.HeldDaemon) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), a.Entity.Compare(b.Entity))
	})
	return out
}

// heldHere returns the held daemon, paused for the operator's decision: the caller
// has its lock, and end ends that.
func (r *Runtime) heldHere(ctx context.Context, id identity.EntityID) (d *engine.Daemon, h *holds.Record, end func(), err error) {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return nil, nil, nil, err
	}
	if d, err = r.find(id); err != nil {
		return nil, nil, nil, err
	}
	if h = r.holds.Of(id); h == nil {
		return nil, nil, nil, fmt.Errorf("%w: %s", daemon.ErrNotHeld, id.Origin())
	}
	if !d.Moves().BeginMove() {
		return nil, nil, nil, fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, id.Origin())
	}
	if err := d.LockContext(ctx); err != nil {
		d.Moves().EndMove()
		return nil, nil, nil, err
	}
	end = func() {
		d.Unlock()
		d.Moves().EndMove()
	}
	if err = d.Memory().Wake(ctx); err == nil && d.Position().State != lifecycle.Running {
		if err = d.Position().Gone; err == nil {
			err = fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, id.Origin())
		}
	}
	if err != nil {
		end()
		return nil, nil, nil, err
	}
	return d, h, end, nil
}

// Confirm ends a hold: the copy here goes on, under a higher epoch, which its chain
// says (MendConfirm). What another copy has beyond it is lost. Errors: *NotFoundError,
// *MovedError, ErrNotHeld, ErrFurther where a node that answers now proves more, and
// ErrUnsigned where the daemon's key is not here.
func (r Unconfirmed) Confirm(ctx context.Context, id identity.EntityID) (chain.Mended, error) {
	if c := r.rt.cluster; c != nil && c.WaitsFor(id) != nil {
		return c.ConfirmWaiting(ctx, id)
	}
	if h := r.rt.holds.Of(id); h != nil {
		if err := r.rt.noTwin(ctx); err != nil {
			return chain.Mended{}, err
		}
		if err := r.rt.nobodyFurther(ctx, id); err != nil {
			return chain.Mended{}, err
		}
	}
	d, h, end, err := r.rt.heldHere(ctx, id)
	if err != nil {
		return chain.Mended{}, err
	}
	defer end()
	fact, b, err := d.Upkeep().RepairFact(chain.MendConfirm, max(d.Position().Epoch, h.Epoch)+1)
	if err != nil {
		return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), err)
	}
	holds.Delete(b, id)
	if r.rt.env.Store != nil {
		if err := r.rt.env.Store.Commit(b); err != nil {
			return chain.Mended{}, fmt.Errorf("confirming daemon %s: %w", id.Origin(), err)
		}
	}
	d.Making().GoOn(fact.Epoch)
	r.rt.holds.Drop(id)
	d.Show()
	r.rt.env.Logger.Warn("an operator confirmed a held daemon: this copy goes on, and what any other has beyond it is lost", "daemon", id.Origin(), "name", d.Name(),
		"was held for", h.Why, "sequence", fact.After, "epoch", fact.Epoch)
	d.Notify(daemon.WasMended, chain.MendConfirm.String())
	r.rt.subscriber.Start(id, d.Position().Ledger.All())
	d.Effects().StartEffects()
	r.rt.cluster.Restarted(d)
	return fact, nil
}

// Yield ends a hold: the copy here is dropped for the one that has more, which its
// callers are sent to. Its history is kept as evidence first. Errors: *NotFoundError,
// *MovedError, ErrNotHeld, ErrNoneFurther.
func (r Unconfirmed) Yield(ctx context.Context, id identity.EntityID) (chain.Mended, error) {
	twin, err := r.rt.seeTwin(ctx)
	if err != nil {
		return chain.Mended{}, err
	}
	d, h, end, err := r.rt.heldHere(ctx, id)
	if err != nil {
		return chain.Mended{}, err
	}
	defer end()
	if h.Node == 0 {
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrNoneFurther, id.Origin())
	}
	if h.Node == r.rt.env.Self {
		return r.rt.leaveToTwin(d, h, twin)
	}
	fact := chain.Mended{How: chain.MendDrop, After: d.Position().Head.Sequence, Epoch: max(d.Position().Epoch, h.Epoch)}
	if d.Cluster().Leader() != nil {
		fact.Epoch, err = r.rt.cluster.Yield(ctx, d, h.Node)
		return fact, err
	}
	t := table.Tombstone{Name: d.Name(), Node: h.Node, Epoch: fact.Epoch, Time: r.rt.env.Clock().UnixNano()}
	grave, err := r.rt.grave(d, t)
	if err != nil {
		return chain.Mended{}, err
	}
	if err := r.rt.keepEvidence(d.Entity(), d.Position().Epoch, fmt.Sprintf("yielded to node %s", h.Node)); err != nil {
		return chain.Mended{}, err
	}
	if err := r.rt.bury(d, t, grave); err != nil {
		return chain.Mended{}, err
	}
	d.End(lifecycle.Leave, &daemon.MovedError{Moved: movedBy(t, id)})
	r.rt.subscriber.LeaveAll(id)
	r.rt.env.Logger.Warn("an operator yielded a held daemon: the copy here is dropped, its history is kept as evidence", "daemon", id.Origin(), "name", t.Name, "node", h.Node, "epoch", h.Epoch)
	return fact, nil
}

package host

import (
	"context"
	"fmt"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/identity"
)

// Limits are changed while daemons run. A daemon's are part of its record, which is
// durable, moves with it, and goes to its standbys.

// SetLimits changes the limits that a daemon has of its own: change has them by name, in
// bytes, counts and nanoseconds; 0 takes one away, so that the node's holds. What is not
// named stays. They hold from the daemon's next event on, and are durable when SetLimits
// returns. With a shorter history, what is beyond it is let go of, and its space on disk
// given back, in the background.
//
// Errors: *NotFoundError, *MovedError, ErrBadLimit, an *UnfitError where they would not fit
// one another, the node, or the memory that the daemon has, ErrAlreadyMigrating, and those
// of the store. After an error nothing has changed.
func (r Daemons) SetLimits(ctx context.Context, id identity.EntityID, change map[string]int64) (daemon.Info, error) {
	if err := r.rt.ready(); err != nil {
		return daemon.Info{}, err
	}
	if _, err := (daemon.Limits{}).With(change); err != nil {
		return daemon.Info{}, err
	}
	d, err := r.rt.find(id)
	if err != nil {
		return daemon.Info{}, err
	}
	if err := d.RelimitStill(ctx, change); err != nil {
		return daemon.Info{}, fmt.Errorf("setting limits of daemon %s: %w", id.Origin(), err)
	}
	r.rt.env.Logger.Info("limits set", "daemon", id.Origin(), "name", d.Name(), "limits", change)
	if _, named := change["history"]; named {
		d.Lock()
		d.TrimNow()
		d.Unlock()
	}
	return d.Info(), nil
}

// KindLimits says what Kinds.SetLimits did.
type KindLimits struct {
	Kind    KindInfo
	Changed int          // daemons of this node that have the new limits
	Kept    []KeptLimits // those that have not, by name
}

// KeptLimits is a daemon whose limits are not the kind's new ones.
type KeptLimits struct {
	Name   string
	Entity identity.EntityID
	Why    error // nil: it has others of its own
}

// SetLimits is SetLimits of a kind: for daemons that are made of it from now on, and for
// those of this node that had the kind's. A daemon that was given another value of its own
// keeps that. The kind's are set where the error is nil; what kept single daemons from
// taking them is in the answer.
func (r Kinds) SetLimits(ctx context.Context, name string, change map[string]int64) (KindLimits, error) {
	if err := r.rt.ready(); err != nil {
		return KindLimits{}, err
	}
	r.rt.mu.RLock()
	k := r.rt.kinds[name]
	r.rt.mu.RUnlock()
	if k == nil {
		return KindLimits{}, &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}
	own, err := k.limits.With(change)
	if err != nil {
		return KindLimits{}, err
	}
	if err := daemon.Concerning(own.FitOn(r.rt.env.Limits), change); err != nil {
		return KindLimits{}, err
	}
	before := k.limits
	if err := r.rt.storeKindLimits(k, own); err != nil {
		return KindLimits{}, err
	}

	var out KindLimits
	for _, d := range r.rt.ofKind(name) {
		mine, others := ofKindsOwn(d.OwnLimits(), before, change)
		if len(mine) > 0 {
			if _, err := r.rt.Daemons().SetLimits(ctx, d.Entity(), mine); err != nil {
				out.Kept = append(out.Kept, KeptLimits{d.Name(), d.Entity(), err})
				continue
			}
			out.Changed++
		}
		if others {
			out.Kept = append(out.Kept, KeptLimits{d.Name(), d.Entity(), nil})
		}
	}
	out.Kind, err = r.rt.Kinds().Get(name)
	return out, err
}

// ofKindsOwn returns what of a change of a kind's limits is for a daemon that has such limits
// of its own: those that it had of the kind. others says that it has another value of some.
func ofKindsOwn(own, kind daemon.Limits, change map[string]int64) (mine map[string]int64, others bool) {
	mine = make(map[string]int64)
	for name, v := range change {
		if now := own.Value(name); now == 0 || now == kind.Value(name) {
			mine[name] = v
		} else if now != v {
			others = true
		}
	}
	return mine, others
}

// ofKind returns the daemons of this node that are of the kind, by name.
func (r *Runtime) ofKind(name string) []*engine.Daemon {
	list := r.table.OfKind(name)
	slices.SortFunc(list, func(a, b *engine.Daemon) int { return a.Entity().Compare(b.Entity()) })
	return list
}

// storeKindLimits durably makes own the limits of the kind. A kind that was pushed meanwhile
// has those of the push.
func (r *Runtime) storeKindLimits(k *kind, own daemon.Limits) error {
	fresh := *k
	fresh.limits = own
	if err := r.putKind(&fresh); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.kinds[k.name] != k {
		return &daemon.KindError{Kind: k.name, Err: fmt.Errorf("%w: it was pushed meanwhile", daemon.ErrKindInUse)}
	}
	r.kinds[k.name] = &fresh
	return nil
}

// Limits returns the limits that hold for daemons without others.
func (r Node) Limits() daemon.Limits { return r.rt.env.Limits }

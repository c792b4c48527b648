package host

import (
	"context"
	"fmt"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/registry"
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
	if err := d.Upkeep().RelimitStill(ctx, change); err != nil {
		return daemon.Info{}, fmt.Errorf("setting limits of daemon %s: %w", id.Origin(), err)
	}
	r.rt.env.Logger.Info("limits set", "daemon", id.Origin(), "name", d.Name(), "limits", change)
	if _, named := change["history"]; named {
		d.Lock()
		d.Upkeep().TrimNow()
		d.Unlock()
	}
	return d.Info(), nil
}

// applyKindLimits gives the daemons of a kind a change of its limits, which were before.
func (r *Runtime) applyKindLimits(ctx context.Context, kind string, before daemon.Limits, change map[string]int64) (changed int, kept []registry.KeptLimits) {
	for _, d := range r.ofKind(kind) {
		mine, others := ofKindsOwn(d.OwnLimits(), before, change)
		if len(mine) > 0 {
			if _, err := r.Daemons().SetLimits(ctx, d.Entity(), mine); err != nil {
				kept = append(kept, registry.KeptLimits{Name: d.Name(), Entity: d.Entity(), Why: err})
				continue
			}
			changed++
		}
		if others {
			kept = append(kept, registry.KeptLimits{Name: d.Name(), Entity: d.Entity()})
		}
	}
	return changed, kept
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

// Limits returns the limits that hold for daemons without others.
func (r Node) Limits() daemon.Limits { return r.rt.env.Limits }

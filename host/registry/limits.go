package registry

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// KindLimits says what SetLimits did.
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

// SetLimits changes limits of a kind: for daemons that are made of it from now on, and for
// those of this node that had the kind's. A daemon that was given another value of its own
// keeps that. The kind's are set where the error is nil; what kept single daemons from
// taking them is in the answer.
func (r *Registry) SetLimits(ctx context.Context, name string, change map[string]int64) (KindLimits, error) {
	if err := r.node.Ready(); err != nil {
		return KindLimits{}, err
	}

	k := r.kind(name)
	if k == nil {
		return KindLimits{}, &daemon.KindError{Kind: name, Err: daemon.ErrKindNotFound}
	}

	own, err := k.limits.With(change)
	if err != nil {
		return KindLimits{}, err
	}
	if err := daemon.Concerning(own.FitOn(r.env.Limits), change); err != nil {
		return KindLimits{}, err
	}
	if err := r.storeLimits(k, own); err != nil {
		return KindLimits{}, err
	}

	var out KindLimits
	out.Changed, out.Kept = r.node.ApplyLimits(ctx, name, k.limits, change)
	out.Kind, err = r.Get(name)
	return out, err
}

// storeLimits durably makes own the limits of the kind. A kind that was pushed meanwhile
// has those of the push.
func (r *Registry) storeLimits(k *kind, own daemon.Limits) error {
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

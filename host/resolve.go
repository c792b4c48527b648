package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// A migration that a crash of one side cut settles by itself once both are
// back. When one side is gone for good its operator settles it: under a higher
// epoch, as a fact of the daemon's chain. Should the other side come back after
// all, two nodes may answer for the daemon, and the higher epoch counts.

// Unsettled is a migration whose other side has not been heard.
type Unsettled struct {
	Entity   identity.EntityID
	Name     string
	Peer     identity.NodeID // the other side
	Outgoing bool            // this node released the daemon to Peer; else it holds it for Peer
	Epoch    uint64          // under which the target would own it
	Sequence uint64          // of the daemon's last output, as known here
}

// Unsettled returns the migrations that wait for their other side, by
// name.
func (r Migrations) Unsettled() []Unsettled {
	departures, arrivals := r.rt.table.Moving()
	var out []Unsettled
	for _, m := range departures {
		if s := m.Status(); s.Phase.Owner() == migration.OwnerTarget {
			out = append(out, Unsettled{Entity: m.Entity(), Name: s.Name, Peer: m.Target(), Outgoing: true, Epoch: s.Epoch, Sequence: s.Sequence})
		}
	}
	for _, in := range arrivals {
		if sequence, ok := in.Pending(); ok {
			out = append(out, Unsettled{Entity: in.Entity(), Name: in.Name(), Peer: in.From(), Epoch: in.Offer().Epoch + 1, Sequence: sequence})
		}
	}
	slices.SortFunc(out, func(a, b Unsettled) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// Resolve settles a migration whose other side is gone for good: how
// is MendTakeBack, MendClaim or MendDrop. migration.ErrSettled where there is nothing to
// settle so. key is the daemon's for MendClaim, or nil.
func (r Migrations) Resolve(ctx context.Context, id identity.EntityID, how chain.Mend, key *identity.KeyPair) (chain.Mended, error) {
	if err := errors.Join(r.rt.ready(), r.rt.room()); err != nil {
		return chain.Mended{}, err
	}
	if key != nil && key.ID() != id {
		return chain.Mended{}, fmt.Errorf("%w: it is %s", daemon.ErrIdentityMismatch, key.ID())
	}
	p := r.rt.table.Look(id)
	m, in := p.Leaving, p.Coming
	switch {
	case how == chain.MendTakeBack && m != nil:
		return m.TakeBack(ctx)
	case how == chain.MendClaim && in != nil:
		return in.Claim(key)
	case how == chain.MendDrop && in != nil:
		if !in.Discard(migration.Operator) {
			return chain.Mended{}, fmt.Errorf("%w: %s is still on its way, or settled", migration.ErrSettled, id.Origin())
		}
		return chain.Mended{How: how}, nil
	case how > chain.MendDrop || how < chain.MendTakeBack:
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrNotSupported, how)
	}
	return chain.Mended{}, fmt.Errorf("%w: %s", migration.ErrSettled, id.Origin())
}

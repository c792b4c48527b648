package locate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// What peers say of where daemons are. Only those are asked that may have this node's
// daemons, and what they claim counts once the daemon's key has signed it.

// MayOwn reports whether a peer of these rights is asked for daemons, and may be sent
// some by this node's choice.
func MayOwn(r trust.Rights) bool { return r&(trust.RightMigrate|trust.RightOperate) != 0 }

// Owners are the peers that are asked for daemons.
func (f *Finder) Owners() ([]wire.PeerInfo, error) {
	peers, err := f.mesh.Peers()
	return slices.DeleteFunc(peers, func(p wire.PeerInfo) bool { return !MayOwn(p.Rights) }), err
}

// AskOwnersAll is askAll of the peers that are asked for daemons.
func (f *Finder) AskOwnersAll(ctx context.Context, ask func(context.Context, *client.Client) ([]api.Daemon, error)) (map[identity.NodeID][]api.Daemon, []identity.NodeID, error) {
	peers, err := f.Owners()
	if err != nil {
		return nil, nil, err
	}
	return AskThese(ctx, f, peers, ask)
}

// claim is a daemon that is elsewhere, on proof.
type claim struct {
	host.Proven
	entity identity.EntityID
	Said   api.Daemon
}

// AskOwners asks the peers for the daemon that ref names, and returns what they have
// proven. An answer about a daemon that ref does not name is left out. silent are those
// that did not say whether they have it. unproven is why a claim does not count; nil: all
// do.
func (f *Finder) AskOwners(ctx context.Context, ref daemon.Ref) (proven []claim, silent []identity.NodeID, unproven error) {
	peers, err := f.Owners()
	if err != nil {
		f.logger.Warn("asking the peers", "error", err)
		return nil, nil, nil
	}
	said, silent, _ := AskThese(ctx, f, peers, func(ctx context.Context, c *client.Client) (looked, error) {
		d, err := c.Daemons().GetHere(ctx, ref.String())
		return lookedOf(d, err)
	})
	for _, from := range slices.Sorted(maps.Keys(said)) {
		d := said[from].Daemon
		if several := said[from].several; several != nil { // it has several, and names none
			unproven = several
			continue
		}
		id, err := identity.ParseEntityID(d.EntityID)
		if err == nil && !ref.Names(id, d.Name) {
			continue
		}
		c, err := f.check(ctx, id, from, d)
		if err == nil {
			proven = append(proven, c)
			continue
		}
		f.logger.Warn("a peer's claim to have a daemon does not count", "peer", from, "daemon", ref, "error", err)
		unproven = err
	}
	return proven, silent, unproven
}

// check has the node that a peer names prove that it has the daemon.
func (f *Finder) check(ctx context.Context, id identity.EntityID, from identity.NodeID, d api.Daemon) (claim, error) {
	at, err := identity.ParseNodeID(d.NodeID)
	if err != nil || id.IsZero() {
		return claim{}, fmt.Errorf("%w: node %s names daemon %q at node %q", daemon.ErrUnproven, from, d.EntityID, d.NodeID)
	}
	by := from
	if at == from {
		by = 0 // its own claim is not its own proof
	}
	p, err := f.places.Weigh(ctx, id, at, by)
	if err != nil && !errors.Is(err, daemon.ErrUnproven) {
		err = fmt.Errorf("%w: node %s names node %s: %w", daemon.ErrUnproven, from, at, err)
	}
	return claim{p, id, d}, err
}

// pick returns the claim that counts; nil: there is none. Claims of several daemons are
// a *host.AmbiguousError. Of several nodes for one daemon that one counts which accounts
// for the most of its owners; where two do so, none: host.ErrUnproven.
func pick(ref string, claims []claim) (*claim, error) {
	var best *claim
	tie := false
	var entities []identity.EntityID
	for i := range claims {
		c := &claims[i]
		if !slices.Contains(entities, c.entity) {
			entities = append(entities, c.entity)
		}
		switch {
		case best == nil || c.Rank > best.Rank:
			best, tie = c, false
		case c.Rank == best.Rank && c.Node != best.Node:
			tie = true
		}
	}
	switch {
	case len(entities) > 1:
		return nil, &daemon.AmbiguousError{Ref: ref, Matches: entities}
	case tie:
		return nil, fmt.Errorf("%w: several nodes claim daemon %q, and nothing decides between them", daemon.ErrUnproven, ref)
	}
	return best, nil
}

// Proven returns the node that has the daemon, where at is said to.
func (f *Finder) Proven(ctx context.Context, id identity.EntityID, at identity.NodeID) (identity.NodeID, error) {
	by := f.mesh.Self()
	for range web.MaxHops {
		p, err := f.rt.Believe(ctx, id, at, by)
		var moved *daemon.MovedError
		var refused *channel.Refusal
		switch {
		case errors.As(err, &moved):
			at, by = moved.Node, at
		case errors.As(err, &refused) && errors.Is(refused, channel.ErrNoReceiver):
			return 0, &daemon.NotFoundError{Entity: id}
		case err != nil:
			return 0, err
		default:
			return p.Node, nil
		}
	}
	return 0, problem.ErrTooManyHops
}

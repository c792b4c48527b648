package host

import (
	"errors"
	"fmt"

	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// A key that does not travel with its daemon is either at the target already, which
// the target proves before the source destroys its own, or stays at home.

// holds proves that this node has the daemon's key.
func (in *incoming) holds() (*migration.Holds, error) {
	key := in.rt.expectedKey(in.offer.Entity)
	defer key.Wipe()
	proof, err := exchange.ProveHolds(key, in.offer.Migration, in.from, in.env.Self)
	if err != nil {
		return nil, errNoKeyHere(in.env.Self, in.offer.Entity)
	}
	return proof, nil
}

func errNoKeyHere(node identity.NodeID, id identity.EntityID) *migration.Error {
	return migration.Failf(migration.IdentityTransportFailed, "the key of daemon %s is to stay behind, and node %s was not given it", id.Origin(), node)
}

// ErrNotKept says that the node keeps no key of that identity: only that of a daemon
// which moved away public-only is kept.
var ErrNotKept = errors.New("this node keeps no key of that identity")

// KeptIdentity returns the key of a daemon that moved away public-only; ErrNotKept.
// The caller wipes it.
func (r Daemons) KeptIdentity(id identity.EntityID) (*identity.KeyPair, error) {
	if r.rt.env.Store == nil {
		r.rt.mu.RLock()
		defer r.rt.mu.RUnlock()
		if key := r.rt.kept[id]; key != nil {
			return key.Clone(), nil
		}
		return nil, fmt.Errorf("%w: %s", ErrNotKept, id.Origin())
	}
	return KeptIn(r.rt.env.Store, r.rt.env.Node, id)
}

// KeptIn is KeptIdentity of a store that no runtime has, with the key of its node.
func KeptIn(s *store.Store, node *identity.KeyPair, id identity.EntityID) (*identity.KeyPair, error) {
	sealed, err := s.Get(store.Meta, stored.KeptKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", ErrNotKept, id.Origin())
	}
	if err != nil {
		return nil, err
	}
	env, err := identity.ParseEnvelope(sealed)
	if err != nil {
		return nil, fmt.Errorf("%w: a key that is kept: %w", store.ErrCorrupt, err)
	}
	return env.Open(node, stored.AtRest, id)
}

// keyless reports whether this node has no key for the daemon, unless the daemon
// brings it.
func (r *Runtime) keyless(id identity.EntityID) bool {
	key := r.expectedKey(id)
	defer key.Wipe()
	return !key.CanSign()
}

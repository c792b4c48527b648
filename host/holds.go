package host

import (
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// A key that does not travel with its daemon is either at the target already, which
// the target proves before the source destroys its own, or stays at home.

// KeptIdentity returns the key of a daemon that moved away public-only; ErrNotKept.
// The caller wipes it.
func (r Daemons) KeptIdentity(id identity.EntityID) (*identity.KeyPair, error) {
	if r.rt.env.Store == nil {
		r.rt.mu.RLock()
		defer r.rt.mu.RUnlock()
		if key := r.rt.kept[id]; key != nil {
			return key.Clone(), nil
		}
		return nil, fmt.Errorf("%w: %s", daemon.ErrNotKept, id.Origin())
	}
	return KeptIn(r.rt.env.Store, r.rt.env.Node, id)
}

// KeptIn is KeptIdentity of a store that no runtime has, with the key of its node.
func KeptIn(s *store.Store, node *identity.KeyPair, id identity.EntityID) (*identity.KeyPair, error) {
	sealed, err := s.Get(store.Meta, stored.KeptKey(id))
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %s", daemon.ErrNotKept, id.Origin())
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

package host

import (
	"fmt"

	"wasmhost/identity"
)

// expectation is what a node was told of a daemon that is to come.
type expectation struct {
	kind string
	key  *identity.KeyPair // nil: only the envelope can bring it
}

// RegisterMigrationTargetIdentity gives the node the key of a daemon that is
// to migrate here, for a source that leaves the key behind. A second
// registration for the identity is ErrTargetKnown.
func (r *Runtime) RegisterMigrationTargetIdentity(kind string, key *identity.KeyPair) error {
	return r.expect(kind, key.ID(), key.Clone())
}

// ExpectMigration tells the node that a daemon is to migrate here. The kind
// must be known: KindError with ErrKindNotFound. A second call for the entity
// is ErrTargetKnown.
func (r *Runtime) ExpectMigration(kind string, entity identity.EntityID) error {
	return r.expect(kind, entity, nil)
}

func (r *Runtime) expect(kind string, entity identity.EntityID, key *identity.KeyPair) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.open(); err != nil {
		return err
	}
	if _, ok := r.kinds[kind]; !ok {
		return &KindError{kind, ErrKindNotFound}
	}
	if _, ok := r.expected[entity]; ok {
		return fmt.Errorf("%w: %s", ErrTargetKnown, entity.Origin())
	}
	r.expected[entity] = &expectation{kind: kind, key: key}
	return nil
}

// expectedKey returns the key that was registered for the daemon, or its
// public half.
func (r *Runtime) expectedKey(entity identity.EntityID) *identity.KeyPair {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.expected[entity]; e != nil && e.key != nil {
		return e.key.Clone()
	}
	return identity.PublicOnly(entity)
}

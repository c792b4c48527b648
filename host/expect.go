package host

import (
	"errors"
	"fmt"

	"wasmhost/host/daemon"
	"wasmhost/host/migration"
	"wasmhost/identity"
)

// expectation is what a node was told of a daemon that is to come.
type expectation struct {
	kind   string
	key    *identity.KeyPair // nil: only the envelope can bring it
	source identity.NodeID   // from where alone it may come; 0: from anywhere
}

// RegisterMigrationTargetIdentity gives the node the key of a daemon that is
// to migrate here as one of the kind, for a source that leaves the key behind.
// It is kept until the daemon has come. A second registration for the identity
// is ErrTargetKnown, and the first stays.
func (r *Runtime) RegisterMigrationTargetIdentity(kind string, key *identity.KeyPair) error {
	return r.expect(kind, key.ID(), key.Clone())
}

// ExpectMigration tells the node that a daemon is to migrate here as one of the
// kind; one of another kind is refused. The kind must be known: KindError with
// ErrKindNotFound. A second call for the entity is ErrTargetKnown, and the first
// stays.
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
		return &daemon.KindError{Kind: kind, Err: daemon.ErrKindNotFound}
	}
	if _, ok := r.expected[entity]; ok {
		return fmt.Errorf("%w: %s", daemon.ErrTargetKnown, entity.Origin())
	}
	r.expected[entity] = &expectation{kind: kind, key: key}
	return nil
}

// BindMigrationSource lets an expected daemon come from that node alone, whichever nodes
// may move other daemons here. From there it may come without its own signature, as one
// does that has no private key. It may be said again. Of a daemon that is not
// expected it is a *NotFoundError, of one that is bound to another node
// ErrTargetKnown.
func (r *Runtime) BindMigrationSource(entity identity.EntityID, source identity.NodeID) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.expected[entity]
	switch {
	case e == nil:
		return &daemon.NotFoundError{Entity: entity}
	case e.source != 0 && e.source != source:
		return fmt.Errorf("%w: %s is to come from node %s", daemon.ErrTargetKnown, entity.Origin(), e.source)
	}
	e.source = source
	return nil
}

// mayCome says what an expectation has against the offer. It needs r.mu.
func (r *Runtime) mayCome(from identity.NodeID, o *migration.Offer) error {
	e := r.expected[o.Entity]
	switch {
	case e == nil:
		return nil
	case e.source != 0 && e.source != from:
		return migration.Failf(migration.Denied, "daemon %s is expected from node %s, not from %s", o.Entity.Origin(), e.source, from)
	case e.kind != o.Kind:
		return migration.Failf(migration.FactoryNotFound, "daemon %s is expected as one of kind %q, not %q", o.Entity.Origin(), e.kind, o.Kind)
	}
	return nil
}

// expectedKey returns the key that was registered for the daemon, or kept when it
// went public-only, or its public half.
func (r *Runtime) expectedKey(entity identity.EntityID) *identity.KeyPair {
	r.mu.RLock()
	e := r.expected[entity]
	if e != nil && e.key != nil {
		defer r.mu.RUnlock()
		return e.key.Clone()
	}
	r.mu.RUnlock()
	key, err := r.KeptIdentity(entity)
	switch {
	case err == nil:
		return key
	case !errors.Is(err, ErrNotKept):
		r.env.Logger.Error("reading a key that is kept", "daemon", entity.Origin(), "error", err)
	}
	return identity.PublicOnly(entity)
}

// named reports whether this node was told that the daemon is to come from that node,
// so that it may come without its own signature: by its operator, or because it went
// there from here without its key.
func (r *Runtime) named(entity identity.EntityID, from identity.NodeID) bool {
	r.mu.RLock()
	e := r.expected[entity]
	r.mu.RUnlock()
	if e != nil && e.source != 0 {
		return e.source == from
	}
	w, err := r.whereIs(entity)
	if err != nil {
		r.env.Logger.Error("whether a daemon may come without its signature", "daemon", entity.Origin(), "error", err)
		return false
	}
	if t := w.went; !t.known() || t.Stopped || t.Node != from {
		return false
	}
	key, err := r.KeptIdentity(entity)
	if err != nil {
		return false
	}
	key.Wipe()
	return true
}

func (e *expectation) wipe() {
	if e.key != nil {
		e.key.Wipe()
	}
}

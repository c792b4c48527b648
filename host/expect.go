package host

import (
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

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
	if err := r.open(); err != nil {
		return err
	}
	if !r.registry.Knows(kind) {
		return &daemon.KindError{Kind: kind, Err: daemon.ErrKindNotFound}
	}

	switch err := r.table.Expect(entity, kind, key); err {
	case table.ErrClosed:
		return daemon.ErrShuttingDown
	case table.ErrExpected:
		return fmt.Errorf("%w: %s", daemon.ErrTargetKnown, entity.Origin())
	default:
		return err
	}
}

// BindSource lets an expected daemon come from that node alone, whichever nodes
// may move other daemons here. From there it may come without its own signature, as one
// does that has no private key. It may be said again. Of a daemon that is not
// expected it is a *NotFoundError, of one that is bound to another node
// ErrTargetKnown.
func (r Migrations) BindSource(entity identity.EntityID, source identity.NodeID) error {
	bound, ok := r.rt.table.BindSource(entity, source)
	switch {
	case !ok:
		return &daemon.NotFoundError{Entity: entity}
	case bound != source:
		return fmt.Errorf("%w: %s is to come from node %s", daemon.ErrTargetKnown, entity.Origin(), bound)
	}
	return nil
}

// mayCome says what an expectation has against the offer.
func (r *Runtime) mayCome(from identity.NodeID, o *migration.Offer) error {
	kind, source, ok := r.table.Expected(o.Entity)
	switch {
	case !ok:
		return nil
	case source != 0 && source != from:
		return migration.Failf(migration.Denied, "daemon %s is expected from node %s, not from %s", o.Entity.Origin(), source, from)
	case kind != o.Kind:
		return migration.Failf(migration.FactoryNotFound, "daemon %s is expected as one of kind %q, not %q", o.Entity.Origin(), kind, o.Kind)
	}
	return nil
}

// expectedKey returns the key that was registered for the daemon, or kept when it
// went public-only, or its public half.
func (r *Runtime) expectedKey(entity identity.EntityID) *identity.KeyPair {
	if key := r.table.ExpectedKey(entity); key != nil {
		return key
	}

	key, err := r.Daemons().KeptIdentity(entity)
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
	if _, source, ok := r.table.Expected(entity); ok && source != 0 {
		return source == from
	}

	w, err := r.table.Find(entity)
	if err != nil {
		r.env.Logger.Error("whether a daemon may come without its signature", "daemon", entity.Origin(), "error", err)
		return false
	}
	if t := w.Went; !t.Known() || t.Stopped || t.Node != from {
		return false
	}
	key, err := r.Daemons().KeptIdentity(entity)
	if err != nil {
		return false
	}
	key.Wipe()
	return true
}

package host

import (
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/table"
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

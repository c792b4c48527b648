package target

import (
	"errors"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// mayCome says what an expectation has against the offer.
func (t *Arrivals) mayCome(from identity.NodeID, o *migration.Offer) error {
	kind, source, ok := t.known.Expected(o.Entity)
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
func (t *Arrivals) expectedKey(entity identity.EntityID) *identity.KeyPair {
	if key := t.known.ExpectedKey(entity); key != nil {
		return key
	}

	key, err := t.known.KeptIdentity(entity)
	switch {
	case err == nil:
		return key
	case !errors.Is(err, daemon.ErrNotKept):
		t.env.Logger.Error("reading a key that is kept", "daemon", entity.Origin(), "error", err)
	}
	return identity.PublicOnly(entity)
}

// Named reports whether this node was told that the daemon is to come from that node,
// so that it may come without its own signature: by its operator, or because it went
// there from here without its key.
func (t *Arrivals) Named(entity identity.EntityID, from identity.NodeID) bool {
	if _, source, ok := t.known.Expected(entity); ok && source != 0 {
		return source == from
	}

	w, err := t.known.Find(entity)
	if err != nil {
		t.env.Logger.Error("whether a daemon may come without its signature", "daemon", entity.Origin(), "error", err)
		return false
	}
	if g := w.Went; !g.Known() || g.Stopped || g.Node != from {
		return false
	}
	key, err := t.known.KeptIdentity(entity)
	if err != nil {
		return false
	}
	key.Wipe()
	return true
}

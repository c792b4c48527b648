package host

import (
	"context"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// A node keeps the last signed word of each daemon that left it. What comes in a
// daemon's name later, to be restored or from another node, is held against that:
// a contradiction is kept as a proof, and the identity is refused until an
// operator pardons it.

// mayRun returns nil, or a *HeldError or *EquivocationError where the identity is held
// or refused.
func (r *Runtime) mayRun(id identity.EntityID) error {
	if err := r.holds.MayServe(id); err != nil {
		return err
	}
	return r.evidence.Refuses(id)
}

// Accuse puts a proof on record: from now on, and after a restart, the node
// refuses to spawn, restore, take or serve the daemon. The proof is verified
// first; errors are those of Verify.
func (r Evidence) Accuse(_ context.Context, e *chain.Equivocation) (daemon.Accusation, error) {
	if err := r.rt.ready(); err != nil {
		return daemon.Accusation{}, err
	}
	return r.rt.evidence.Accuse(e, false)
}

// Pardon lets an identity be used here again. What this node finds later counts
// only where it is of a higher epoch than the daemon's, or the proof's, is now; a
// proof that an operator brings always counts. ErrNotAccused.
func (r Evidence) Pardon(_ context.Context, id identity.EntityID) (daemon.Accusation, error) {
	if err := r.rt.ready(); err != nil {
		return daemon.Accusation{}, err
	}
	w, err := r.rt.table.Find(id)
	if err != nil {
		return daemon.Accusation{}, err
	}

	through := w.Went.Epoch
	if w.Here != nil {
		through = max(through, w.Here.Info().Epoch)
	}
	return r.rt.evidence.Pardon(id, through)
}

// Accusations returns what is on record, by entity.
func (r Evidence) Accusations() []daemon.Accusation { return r.rt.evidence.Accusations() }

// Find returns the identity that a reference names and against which a proof is
// on record: as Resolve does, or by its whole id or origin. Errors: ErrBadRef,
// ErrNotAccused, *AmbiguousError.
func (r Evidence) Find(text string) (identity.EntityID, error) {
	ref, err := daemon.ParseRef(text)
	if err != nil {
		return identity.EntityID{}, err
	}
	id, err := r.rt.Daemons().ResolveRef(ref)
	known := err == nil
	_, named := ref.Name()
	return r.rt.accusedOf(text, func(a identity.EntityID) bool { return known && a == id || !named && ref.Names(a, "") })
}

// BegunBy is Evidence.Find by the beginning of an id, for those who look.
func (r Evidence) BegunBy(text string) (identity.EntityID, error) {
	return r.rt.accusedOf(text, func(a identity.EntityID) bool { return daemon.CanBegin(text) && daemon.BeginsID(a, text) })
}

// accusedOf returns the only accused that match holds of.
func (r *Runtime) accusedOf(text string, match func(identity.EntityID) bool) (identity.EntityID, error) {
	var found []identity.EntityID
	for _, a := range r.Evidence().Accusations() {
		if match(a.Entity) {
			found = append(found, a.Entity)
		}
	}
	if len(found) == 0 {
		return identity.EntityID{}, fmt.Errorf("%w: %q", daemon.ErrNotAccused, text)
	}
	return onlyOne(text, found)
}

// Proof returns the proof on record against the daemon: ErrNotAccused, and
// ErrNoHistory where the node keeps nothing.
func (r Evidence) Proof(id identity.EntityID) (*chain.Equivocation, error) {
	return r.rt.evidence.Proof(id)
}

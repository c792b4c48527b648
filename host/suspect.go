package host

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost/host/chain"
	"wasmhost/host/daemon"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/internal/canon"
)

// A node keeps the last signed word of each daemon that left it. What comes in a
// daemon's name later, to be restored or from another node, is held against that:
// a contradiction is kept as a proof, and the identity is refused until an
// operator pardons it.

// ErrNotAccused says that no proof against a daemon is on record.
var ErrNotAccused = errors.New("no proof against this daemon is on record")

// Accusation is a proof on record.
type Accusation struct {
	chain.Conflict
	Recorded time.Time
	Found    bool      // by this node itself; else an operator brought it
	Pardoned time.Time // zero: the identity is refused
}

// accusationRecord is how the store keeps it.
type accusationRecord struct {
	_       struct{} `cbor:",toarray"`
	Proof   []byte
	Time    int64
	Found   bool
	Pardon  int64  // 0: none
	Through uint64 // epochs up to this are pardoned
}

// accused is what is in memory of an accusation.
type accused struct {
	Accusation
	through uint64
}

func (a *accused) err() error { return &chain.EquivocationError{Conflict: a.Conflict} }

// mayRun returns nil, or an *EquivocationError when the identity is refused.
func (r *Runtime) mayRun(id identity.EntityID) error {
	if r.refused.Load() == 0 { // nearly always
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.mayRunLocked(id)
}

// mayRunLocked needs r.mu.
func (r *Runtime) mayRunLocked(id identity.EntityID) error {
	if h := r.holds[id]; h != nil {
		return h.err(id)
	}
	if a := r.accused[id]; a != nil && a.Pardoned.IsZero() {
		return a.err()
	}
	return nil
}

// Accuse puts a proof on record: from now on, and after a restart, the node
// refuses to spawn, restore, take or serve the daemon. The proof is verified
// first; errors are those of Verify.
func (r *Runtime) Accuse(_ context.Context, e *chain.Equivocation) (Accusation, error) {
	if err := r.ready(); err != nil {
		return Accusation{}, err
	}
	return r.accuse(e, false)
}

func (r *Runtime) accuse(e *chain.Equivocation, found bool) (Accusation, error) {
	c, err := e.Verify()
	if err != nil {
		return Accusation{}, err
	}
	b, err := e.Encode()
	if err != nil {
		return Accusation{}, err
	}
	a := &accused{Accusation: Accusation{Conflict: c, Recorded: r.env.Clock().UTC(), Found: found}}
	for i := range e.Statements {
		a.through = max(a.through, e.Statements[i].Checkpoint.Epoch)
	}
	if err := r.putAccusation(a, b); err != nil {
		return Accusation{}, err
	}
	r.setAccused(a)
	r.env.Logger.Error("an identity is refused: its key has signed two histories", "daemon", c.Entity.Origin(), "epoch", c.Epoch, "sequence", c.Sequence, "found here", found)
	return a.Accusation, nil
}

func (r *Runtime) putAccusation(a *accused, proof []byte) error {
	if r.env.Store == nil {
		return nil
	}
	rec := &accusationRecord{Proof: proof, Time: a.Recorded.UnixNano(), Found: a.Found, Through: a.through}
	if !a.Pardoned.IsZero() {
		rec.Pardon = a.Pardoned.UnixNano()
	}
	value, err := canon.Marshal(rec)
	if err != nil {
		return err
	}
	b := &store.Batch{}
	b.Put(store.Proofs, a.Entity[:], value)
	if err := r.env.Store.Commit(b); err != nil {
		return fmt.Errorf("storing a proof against daemon %s: %w", a.Entity.Origin(), err)
	}
	return nil
}

func (r *Runtime) setAccused(a *accused) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.accused[a.Entity] = a
	n := int32(0)
	for _, a := range r.accused {
		if a.Pardoned.IsZero() {
			n++
		}
	}
	r.refused.Store(n)
}

// Pardon lets an identity be used here again. What this node finds later counts
// only where it is of a higher epoch than the daemon's, or the proof's, is now; a
// proof that an operator brings always counts. ErrNotAccused.
func (r *Runtime) Pardon(_ context.Context, id identity.EntityID) (Accusation, error) {
	if err := r.ready(); err != nil {
		return Accusation{}, err
	}
	r.mu.RLock()
	old := r.accused[id]
	r.mu.RUnlock()
	if old == nil || !old.Pardoned.IsZero() {
		return Accusation{}, fmt.Errorf("%w: %s", ErrNotAccused, id.Origin())
	}
	e, err := r.proof(id)
	if err != nil {
		return Accusation{}, err
	}
	var encoded []byte
	if e != nil {
		if encoded, err = e.Encode(); err != nil {
			return Accusation{}, err
		}
	}
	w, err := r.table.Find(id)
	if err != nil {
		return Accusation{}, err
	}
	a := *old
	a.Pardoned, a.through = r.env.Clock().UTC(), max(a.through, w.Went.Epoch)
	if w.Here != nil {
		a.through = max(a.through, w.Here.info().Epoch)
	}
	if err := r.putAccusation(&a, encoded); err != nil {
		return Accusation{}, err
	}
	r.setAccused(&a)
	r.env.Logger.Warn("an identity was pardoned", "daemon", id.Origin(), "through epoch", a.through)
	return a.Accusation, nil
}

// Accusations returns what is on record, by entity.
func (r *Runtime) Accusations() []Accusation {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]Accusation, 0, len(r.accused))
	for _, a := range r.accused {
		out = append(out, a.Accusation)
	}
	slices.SortFunc(out, func(a, b Accusation) int { return a.Entity.Compare(b.Entity) })
	return out
}

// FindAccused returns the identity that a reference names and against which a proof is
// on record: as Resolve does, or by its whole id or origin. Errors: ErrBadRef,
// ErrNotAccused, *AmbiguousError.
func (r *Runtime) FindAccused(text string) (identity.EntityID, error) {
	ref, err := daemon.ParseRef(text)
	if err != nil {
		return identity.EntityID{}, err
	}
	id, err := r.ResolveRef(ref)
	known := err == nil
	_, named := ref.Name()
	return r.accusedOf(text, func(a identity.EntityID) bool { return known && a == id || !named && ref.Names(a, "") })
}

// AccusedBegunBy is FindAccused by the beginning of an id, for those who look.
func (r *Runtime) AccusedBegunBy(text string) (identity.EntityID, error) {
	return r.accusedOf(text, func(a identity.EntityID) bool { return daemon.CanBegin(text) && daemon.BeginsID(a, text) })
}

// accusedOf returns the only accused that match holds of.
func (r *Runtime) accusedOf(text string, match func(identity.EntityID) bool) (identity.EntityID, error) {
	var found []identity.EntityID
	for _, a := range r.Accusations() {
		if match(a.Entity) {
			found = append(found, a.Entity)
		}
	}
	if len(found) == 0 {
		return identity.EntityID{}, fmt.Errorf("%w: %q", ErrNotAccused, text)
	}
	return onlyOne(text, found)
}

// Proof returns the proof on record against the daemon: ErrNotAccused, and
// ErrNoHistory where the node keeps nothing.
func (r *Runtime) Proof(id identity.EntityID) (*chain.Equivocation, error) {
	r.mu.RLock()
	a := r.accused[id]
	r.mu.RUnlock()
	if a == nil {
		return nil, fmt.Errorf("%w: %s", ErrNotAccused, id.Origin())
	}
	e, err := r.proof(id)
	if err == nil && e == nil {
		err = daemon.ErrNoHistory
	}
	return e, err
}

// proof reads the proof; nil where the node keeps nothing.
func (r *Runtime) proof(id identity.EntityID) (*chain.Equivocation, error) {
	if r.env.Store == nil {
		return nil, nil
	}
	value, err := r.env.Store.Get(store.Proofs, id[:])
	if err != nil {
		return nil, err
	}
	var rec accusationRecord
	if err := canon.Unmarshal(value, &rec); err != nil {
		return nil, fmt.Errorf("%w: a proof against %s: %w", store.ErrCorrupt, id.Origin(), err)
	}
	return chain.DecodeEquivocation(rec.Proof)
}

// recoverAccused brings back whom this node refuses.
func (r *Runtime) recoverAccused() error {
	return r.env.Store.Scan(store.Proofs, func(k, v []byte) error {
		var rec accusationRecord
		var id identity.EntityID
		err := cmp.Or(id.UnmarshalBinary(k), canon.Unmarshal(v, &rec))
		var e *chain.Equivocation
		if err == nil {
			e, err = chain.DecodeEquivocation(rec.Proof)
		}
		a := &accused{through: rec.Through}
		if err == nil {
			a.Conflict, err = e.Conflict()
		}
		if err != nil {
			return fmt.Errorf("%w: a proof against %x: %w", store.ErrCorrupt, k, err)
		}
		a.Recorded, a.Found = time.Unix(0, rec.Time).UTC(), rec.Found
		if rec.Pardon != 0 {
			a.Pardoned = time.Unix(0, rec.Pardon).UTC()
		}
		r.setAccused(a)
		return nil
	})
}

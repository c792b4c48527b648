package evidence

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A node keeps the last signed word of each daemon that left it. What comes in a
// daemon's name later, to be restored or from another node, is held against that:
// a contradiction is kept as a proof, and the identity is refused until an
// operator pardons it.

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
	daemon.Accusation
	through uint64
}

// Refuses returns nil, or a *chain.EquivocationError where the identity is refused.
func (r *Records) Refuses(id identity.EntityID) error {
	if r.refused.Load() == 0 { // nearly always
		return nil
	}
	if a := r.get(id); a != nil && a.Pardoned.IsZero() {
		return &chain.EquivocationError{Conflict: a.Conflict}
	}
	return nil
}

// Refused returns how many identities are refused.
func (r *Records) Refused() int { return int(r.refused.Load()) }

// get returns what is in memory of the accusation; nil: there is none. It is not
// changed.
func (r *Records) get(id identity.EntityID) *accused {
	r.mu.RLock()
	defer r.mu.RUnlock()

	return r.accused[id]
}

// Accuse puts a proof on record, durably; found says that this node found it itself.
// Errors are those of the proof's Verify, and the store's.
func (r *Records) Accuse(e *chain.Equivocation, found bool) (daemon.Accusation, error) {
	c, err := e.Verify()
	if err != nil {
		return daemon.Accusation{}, err
	}
	b, err := e.Encode()
	if err != nil {
		return daemon.Accusation{}, err
	}
	a := &accused{Accusation: daemon.Accusation{Conflict: c, Recorded: r.env.Clock().UTC(), Found: found}}
	for i := range e.Statements {
		a.through = max(a.through, e.Statements[i].Checkpoint.Epoch)
	}
	if err := r.putAccusation(a, b); err != nil {
		return daemon.Accusation{}, err
	}
	r.setAccused(a)
	r.env.Logger.Error("an identity is refused: its key has signed two histories", "daemon", c.Entity.Origin(), "epoch", c.Epoch, "sequence", c.Sequence, "found here", found)
	return a.Accusation, nil
}

// putAccusation stores it.
func (r *Records) putAccusation(a *accused, proof []byte) error {
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

// setAccused puts it into memory, in the place of one before.
func (r *Records) setAccused(a *accused) {
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

// Pardon lets an identity be used here again. A proof that this node finds later counts
// only where it is of a higher epoch than through, and the old proof's; one that an
// operator brings always counts. daemon.ErrNotAccused.
func (r *Records) Pardon(id identity.EntityID, through uint64) (daemon.Accusation, error) {
	old := r.get(id)
	if old == nil || !old.Pardoned.IsZero() {
		return daemon.Accusation{}, fmt.Errorf("%w: %s", daemon.ErrNotAccused, id.Origin())
	}
	e, err := r.stored(id)
	if err != nil {
		return daemon.Accusation{}, err
	}
	var encoded []byte
	if e != nil {
		if encoded, err = e.Encode(); err != nil {
			return daemon.Accusation{}, err
		}
	}

	a := *old
	a.Pardoned, a.through = r.env.Clock().UTC(), max(a.through, through)
	if err := r.putAccusation(&a, encoded); err != nil {
		return daemon.Accusation{}, err
	}
	r.setAccused(&a)
	r.env.Logger.Warn("an identity was pardoned", "daemon", id.Origin(), "through epoch", a.through)
	return a.Accusation, nil
}

// Accusations returns what is on record, by entity.
func (r *Records) Accusations() []daemon.Accusation {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]daemon.Accusation, 0, len(r.accused))
	for _, a := range r.accused {
		out = append(out, a.Accusation)
	}
	slices.SortFunc(out, func(a, b daemon.Accusation) int { return a.Entity.Compare(b.Entity) })
	return out
}

// Proof returns the proof on record against the daemon: daemon.ErrNotAccused, and
// daemon.ErrNoHistory where the node keeps nothing.
func (r *Records) Proof(id identity.EntityID) (*chain.Equivocation, error) {
	if r.get(id) == nil {
		return nil, fmt.Errorf("%w: %s", daemon.ErrNotAccused, id.Origin())
	}
	e, err := r.stored(id)
	if err == nil && e == nil {
		err = daemon.ErrNoHistory
	}
	return e, err
}

// stored reads the proof; nil where the node keeps nothing.
func (r *Records) stored(id identity.EntityID) (*chain.Equivocation, error) {
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

// Recover brings back whom this node refuses.
func (r *Records) Recover() error {
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

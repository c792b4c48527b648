package evidence

import (
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// maxWitnessed bounds the payload that is kept with a daemon's last word.
const maxWitnessed = 4 << 10 // bytes of the payload that is kept with a daemon's last word

// PutLastWord adds to the batch what the daemon signed last before it leaves, with the
// link and the payload at its head where they are what it signed and not too large.
func PutLastWord(b *store.Batch, id identity.EntityID, check *chain.Checkpoint, head chain.Link, payload []byte) error {
	s := chain.Statement{Links: []chain.StatedLink{}, Checkpoint: *check}
	if len(payload) <= maxWitnessed && head.Hash(payload) == check.Head {
		s.Links = append(s.Links, chain.StatedLink{Link: head, Payload: payload})
	}
	encoded, err := canon.Marshal(&s)
	if err != nil {
		return err
	}
	b.Put(store.Witnesses, id[:], encoded)
	return nil
}

// LastWord returns the daemon's last word to this node; nil where there is none.
func (r *Records) LastWord(id identity.EntityID) (*chain.Statement, error) {
	if r.env.Store == nil {
		return nil, nil
	}
	b, err := r.env.Store.Get(store.Witnesses, id[:])
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	s := &chain.Statement{}
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: the last word of daemon %s: %w", store.ErrCorrupt, id.Origin(), err)
	}
	return s, nil
}

// Compare holds what came in a daemon's name against what this node knows. A
// contradiction goes on record, unless one of its epoch was pardoned, and is a
// *chain.EquivocationError. What cannot be compared is no ground to refuse.
func (r *Records) Compare(id identity.EntityID, known, came chain.Source) error {
	e, err := chain.FindConflict(func() identity.EntityID { return id }, known, came)
	if err != nil {
		r.env.Logger.Warn("comparing what is known of a daemon with what came", "daemon", id.Origin(), "error", err)
		return nil
	}
	if e == nil {
		return nil
	}
	c, err := e.Conflict()
	if err != nil {
		return err
	}

	if a := r.get(id); a != nil && !a.Pardoned.IsZero() && c.Epoch <= a.through {
		return nil
	}
	if _, err := r.Accuse(e, true); err != nil {
		return err
	}
	return &chain.EquivocationError{Conflict: c}
}

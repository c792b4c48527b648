package standbys

import (
	"errors"
	"fmt"

	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/reach"
	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
)

// takeProof takes the owner's proof of how far its history goes.
func (in *receiving) takeProof(m *standby.Proof) error {
	e, err := reach.Verify(m.Bytes, in.s.id, in.from, []byte{})
	if err != nil {
		return fmt.Errorf("%w: %w", standby.ErrBadMessage, err)
	}
	in.proof = &e
	return nil
}

// mayReset returns nil where what is here of the daemon may be dropped, or why not. A
// copy that had caught up is given up only for a history that is proven to be longer,
// or for one under an epoch that the directory has granted since; its end is kept as
// evidence then.
func (in *receiving) mayReset() error {
	in.s.mu.Lock()
	sound, granted := in.s.sound, in.s.epoch
	in.s.mu.Unlock()
	if !sound {
		return nil // it is part of a copy only
	}
	have, err := reach.Of(in.set.env.Store, in.s.id)
	if err != nil && !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, journal.ErrMalformed) {
		return err
	}
	if err != nil || have.Next == 0 {
		return nil // it is of no use
	}
	switch {
	case granted > have.Epoch:
	case in.proof != nil && in.proof.Supersedes(have):
	case in.proof != nil:
		return &Refusal{have.Epoch, fmt.Sprintf("the copy here has %d records, up to epoch %d, and the owner proves %d, up to epoch %d: it is not thrown away", have.Next, have.Epoch, in.proof.Next, in.proof.Epoch)}
	default:
		return &Refusal{have.Epoch, fmt.Sprintf("the copy here has %d records, up to epoch %d, and the owner proves nothing: it is not thrown away", have.Next, have.Epoch)}
	}
	return in.set.node.KeepEvidence(in.s.id, have.Epoch, fmt.Sprintf("node %s proved a longer history", in.from))
}

// reset drops what is here of the daemon. That it is not whole is durable with it.
func (in *receiving) reset() error {
	if err := in.mayReset(); err != nil {
		var refused *Refusal
		if errors.As(err, &refused) {
			in.set.env.Logger.Error("a node has this one throw a daemon's copy away, and does not prove that it has more", "daemon", in.s.id.Origin(), "node", in.from, "why", refused.Text)
		}
		return err
	}
	in.s.mu.Lock()
	in.s.whole, in.s.record = false, nil
	b := &store.Batch{}
	in.s.unsound(b)
	err := in.s.put(b)
	in.s.mu.Unlock()
	for _, p := range store.ForgetParts() {
		err = errors.Join(err, b.AddPart(in.s.id, p))
	}
	if err != nil {
		return err
	}
	return in.set.env.Store.Commit(b)
}

func (in *receiving) takeRecord(m *standby.Record) error {
	if err := in.set.node.CheckRecord(m.Bytes); err != nil {
		return fmt.Errorf("%w: %w", standby.ErrBadMessage, err)
	}
	in.s.mu.Lock()
	in.s.record = m.Bytes
	b := &store.Batch{}
	err := in.s.put(b)
	in.s.mu.Unlock()
	if err == nil {
		err = in.set.env.Store.Commit(b)
	}
	return err
}

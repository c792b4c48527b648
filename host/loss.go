package host

import (
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// recordLoss keeps that what came after the output of the sequence is lost. A later loss
// takes the place of an earlier one, which the log has.
func (r *Runtime) recordLoss(id identity.EntityID, after, epoch uint64, why string) error {
	l := &snapshot.LossRecord{From: after + 1, Epoch: epoch, Why: daemon.ClipWhy(why), Time: r.env.Clock().UnixNano()}
	value, err := canon.Marshal(l)
	if err != nil {
		return err
	}
	b := &store.Batch{}
	b.Put(store.Meta, engine.LossKey(id), value)
	if err := r.env.Store.Commit(b); err != nil {
		return fmt.Errorf("recording what daemon %s lost: %w", id.Origin(), err)
	}
	r.setLoss(id, l)
	r.env.Logger.Error("what was acknowledged of a daemon is lost", "daemon", id.Origin(), "name", r.nameOf(id), "from", l.From, "to", "not known", "epoch", epoch, "why", why)
	return nil
}

func (r *Runtime) setLoss(id identity.EntityID, l *snapshot.LossRecord) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.losses[id] = &daemon.Loss{From: l.From, To: l.To, Epoch: l.Epoch, Why: l.Why, Time: time.Unix(0, l.Time)}
}

// Loss returns what of the daemon is known to be lost; nil: nothing is.
func (r Evidence) Loss(id identity.EntityID) *daemon.Loss {
	r.rt.mu.RLock()
	defer r.rt.mu.RUnlock()
	return r.rt.losses[id]
}

// recoverLosses brings back what the store says is lost.
func (r *Runtime) recoverLosses() error {
	return r.env.Store.ScanPrefix(store.Meta, engine.LossPrefix, func(k, v []byte) error {
		l := &snapshot.LossRecord{}
		var id identity.EntityID
		if err := errors.Join(id.UnmarshalBinary(k[len(engine.LossPrefix):]), canon.Unmarshal(v, l)); err != nil {
			return fmt.Errorf("%w: a loss: %w", store.ErrCorrupt, err)
		}
		r.setLoss(id, l)
		return nil
	})
}

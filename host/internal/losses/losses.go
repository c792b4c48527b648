// Package losses keeps what was acknowledged of a node's daemons and is known to be lost:
// by a disk that was set back, or a standby that had it in memory alone.
package losses

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// prefix begins the keys of losses in store.Meta; a daemon's id follows.
var prefix = []byte("loss/")

func key(id identity.EntityID) []byte { return append(bytes.Clone(prefix), id[:]...) }

// Losses are those of the daemons here, the last of each. It is safe for concurrent use.
type Losses struct {
	env    *env.Env
	nameOf func(identity.EntityID) string

	mu      lock.RWMutex[lock.Leaf]
	daemons map[identity.EntityID]*daemon.Loss
}

// New has none. nameOf returns a daemon's name, for the log; it is called without a lock.
func New(e *env.Env, nameOf func(identity.EntityID) string) *Losses {
	return &Losses{env: e, nameOf: nameOf, daemons: make(map[identity.EntityID]*daemon.Loss)}
}

// Record keeps that what came after the output of the sequence is lost, durably. A later
// loss takes the place of an earlier one, which the log has.
func (s *Losses) Record(id identity.EntityID, after, epoch uint64, why string) error {
	l := &snapshot.LossRecord{From: after + 1, Epoch: epoch, Why: daemon.ClipWhy(why), Time: s.env.Clock().UnixNano()}
	b := &store.Batch{}
	if err := Keep(b, id, &snapshot.Facts{Losses: []snapshot.LossRecord{*l}}); err != nil {
		return err
	}
	if err := s.env.Store.Commit(b); err != nil {
		return fmt.Errorf("recording what daemon %s lost: %w", id.Origin(), err)
	}

	s.set(id, l)
	s.env.Logger.Error("what was acknowledged of a daemon is lost", "daemon", id.Origin(), "name", s.nameOf(id), "from", l.From, "to", "not known", "epoch", epoch, "why", why)
	return nil
}

func (s *Losses) set(id identity.EntityID, l *snapshot.LossRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.daemons[id] = &daemon.Loss{From: l.From, To: l.To, Epoch: l.Epoch, Why: l.Why, Time: time.Unix(0, l.Time)}
}

// Show makes the loss known that a daemon brought along, once it is stored. Facts that are
// nil, or have no loss, change nothing.
func (s *Losses) Show(id identity.EntityID, f *snapshot.Facts) {
	if f != nil && len(f.Losses) > 0 {
		s.set(id, &f.Losses[0])
	}
}

// Of returns what of the daemon is known to be lost; nil: nothing is. The caller does not
// change it.
func (s *Losses) Of(id identity.EntityID) *daemon.Loss {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.daemons[id]
}

// Count returns of how many daemons something is lost.
func (s *Losses) Count() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.daemons)
}

// Drop forgets, in memory, what of a daemon is lost that is not here any more.
func (s *Losses) Drop(id identity.EntityID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.daemons, id)
}

// Recover brings back what the store says is lost. Errors wrap store.ErrCorrupt.
func (s *Losses) Recover() error {
	return s.env.Store.ScanPrefix(store.Meta, prefix, func(k, v []byte) error {
		l := &snapshot.LossRecord{}
		var id identity.EntityID
		if err := errors.Join(id.UnmarshalBinary(k[len(prefix):]), canon.Unmarshal(v, l)); err != nil {
			return fmt.Errorf("%w: a loss: %w", store.ErrCorrupt, err)
		}
		s.set(id, l)
		return nil
	})
}

// Keep adds to a batch what the store keeps of a daemon's loss. Facts that are nil, or have
// no loss, add nothing.
func Keep(b *store.Batch, id identity.EntityID, f *snapshot.Facts) error {
	if f == nil || len(f.Losses) == 0 {
		return nil
	}
	value, err := canon.Marshal(&f.Losses[0])
	if err == nil {
		b.Put(store.Meta, key(id), value)
	}
	return err
}

// Delete adds to a batch that nothing of the daemon is known to be lost.
func Delete(b *store.Batch, id identity.EntityID) { b.Delete(store.Meta, key(id)) }

package holds

import (
	"sync/atomic"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Holds are the daemons that a node holds. It is safe for concurrent use.
type Holds struct {
	env    *env.Env
	nameOf func(identity.EntityID) string

	mu      lock.RWMutex[lock.Holds]
	daemons map[identity.EntityID]*Record
	count   atomic.Int32 // of daemons: nearly always 0, which is asked without the lock
}

// New holds nothing. nameOf returns a daemon's name, for the log; it is called without a
// lock of the Holds.
func New(e *env.Env, nameOf func(identity.EntityID) string) *Holds {
	return &Holds{env: e, nameOf: nameOf, daemons: make(map[identity.EntityID]*Record)}
}

// Hold holds the daemon, durably where there is a store, unless it is held already: the
// first hold stays, but one as unconfirmed gives way to one by a proof. In memory it holds
// even where the store fails. The caller leaves h alone afterwards.
func (s *Holds) Hold(id identity.EntityID, h *Record) error {
	h.Why, h.Time = daemon.ClipWhy(h.Why), s.env.Clock().UnixNano()
	if h.Proof == nil {
		h.Proof = []byte{}
	}
	if !s.set(id, h) {
		return nil
	}

	name := s.nameOf(id)
	s.env.Logger.Error("a daemon is held: it serves nothing until an operator decides", "daemon", id.Origin(), "name", name, "reason", h.Reason, "why", h.Why,
		"node", h.Node, "epoch", h.Epoch, "decide with", "wasmhost recover DAEMON --confirm or --yield")
	s.env.Notify(daemon.Notification{Topic: daemon.WasHeld, Entity: id, Name: name, Epoch: h.Epoch, Reason: h.Why, Peer: h.Node})
	if s.env.Store == nil {
		return nil
	}
	return h.Commit(s.env.Store, id)
}

// set puts the hold into the table, and reports whether it did: where there was none, or
// one for lack of a proof and this has one.
func (s *Holds) set(id identity.EntityID, h *Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.daemons[id]; was != nil && (was.Reason != daemon.HoldUnconfirmed || h.Reason == daemon.HoldUnconfirmed || len(h.Proof) == 0) {
		return false
	}

	s.daemons[id] = h
	s.count.Store(int32(len(s.daemons)))
	return true
}

// Replace has next take the place of was, unless another did so before. It stores nothing.
func (s *Holds) Replace(id identity.EntityID, was, next *Record) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.daemons[id] != was {
		return false
	}

	s.daemons[id] = next
	return true
}

// Drop ends the hold in memory; the caller has it ended in the store.
func (s *Holds) Drop(id identity.EntityID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.daemons, id)
	s.count.Store(int32(len(s.daemons)))
}

// Of returns why the daemon is held; nil: it is not.
func (s *Holds) Of(id identity.EntityID) *Record {
	if s.count.Load() == 0 {
		return nil
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.daemons[id]
}

// Has reports whether the daemon is held.
func (s *Holds) Has(id identity.EntityID) bool { return s.Of(id) != nil }

// IsUnconfirmed reports whether the daemon is held as one that comes from a backup.
func (s *Holds) IsUnconfirmed(id identity.EntityID) bool {
	h := s.Of(id)
	return h != nil && h.Reason == daemon.HoldUnconfirmed
}

// MayServe returns nil, or a *daemon.HeldError where the daemon is held.
func (s *Holds) MayServe(id identity.EntityID) error {
	if h := s.Of(id); h != nil {
		return h.Err(id)
	}
	return nil
}

// Unless calls f where the daemon is not held, and returns what f does; else a
// *daemon.HeldError. The daemon is not held between the question and f's end. f may take
// locks that come after Holds.
func (s *Holds) Unless(id identity.EntityID, f func() error) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if h := s.daemons[id]; h != nil {
		return h.Err(id)
	}
	return f()
}

// PointTo makes a hold say which node has more, durably, so that the copy can be yielded to
// it. Where the store fails that is logged: the hold says it until the node's end.
func (s *Holds) PointTo(id identity.EntityID, to *Record) {
	was := s.Of(id)
	if was == nil {
		return
	}
	h := *was
	h.Node, h.Epoch, h.Index, h.Proof = to.Node, to.Epoch, to.Index, to.Proof
	if !s.Replace(id, was, &h) || s.env.Store == nil {
		return
	}
	if err := h.Commit(s.env.Store, id); err != nil {
		s.env.Logger.Error("noting who has more of a held daemon", "daemon", id.Origin(), "error", err)
	}
}

// List returns the daemons that are held, in no order and without their names.
func (s *Holds) List() []daemon.HeldDaemon {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]daemon.HeldDaemon, 0, len(s.daemons))
	for id, h := range s.daemons {
		out = append(out, daemon.HeldDaemon{Entity: id, Reason: h.Reason, Why: h.Why, Since: time.Unix(0, h.Time), Node: h.Node, Epoch: h.Epoch, Index: h.Index})
	}
	return out
}

// Recover brings back the holds that the store keeps. Errors wrap store.ErrCorrupt.
func (s *Holds) Recover() error {
	return s.env.Store.Scan(store.Holds, func(k, v []byte) error {
		id, h, err := decode(k, v)
		if err == nil {
			s.set(id, h)
		}
		return err
	})
}

// Package holds keeps which daemons a node holds, and why. A held daemon is here and serves
// nothing: no events, no timers, no channels, no effects, no moves. The node does not know
// whether its copy is the one that goes on. A hold survives restarts, until an operator, or
// a proof, ends it.
package holds

import (
	"cmp"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Record is why a daemon is held, as the store keeps it. One that is among the Holds is
// never changed: another takes its place.
type Record struct {
	_      struct{} `cbor:",toarray"`
	Reason daemon.HoldReason
	Why    string
	Time   int64           // since when, Unix nanoseconds
	Node   identity.NodeID // that has more; 0: none is known
	Epoch  uint64          // under which that node has the daemon
	Index  uint64          // how many records, or events, it has
	Proof  []byte          // its signed statement; empty: there is none
}

// Unconfirmed is the record of a copy of which nobody has confirmed that it is the last.
func Unconfirmed(why string, at time.Time) *Record {
	return &Record{Reason: daemon.HoldUnconfirmed, Why: daemon.ClipWhy(why), Time: at.UnixNano(), Proof: []byte{}}
}

// Put adds the record to a batch.
func (h *Record) Put(b *store.Batch, id identity.EntityID) error {
	value, err := canon.Marshal(h)
	if err != nil {
		return err
	}
	b.Put(store.Holds, id[:], value)
	return nil
}

// Commit stores the record. It is durable when Commit returns nil.
func (h *Record) Commit(s *store.Store, id identity.EntityID) error {
	b := &store.Batch{}
	if err := h.Put(b, id); err != nil {
		return err
	}
	if err := s.Commit(b); err != nil {
		return fmt.Errorf("holding daemon %s: %w", id.Origin(), err)
	}
	return nil
}

// Delete adds to a batch that the daemon is held no longer.
func Delete(b *store.Batch, id identity.EntityID) { b.Delete(store.Holds, id[:]) }

// Err is what whoever needs the daemon is answered: a *daemon.HeldError.
func (h *Record) Err(id identity.EntityID) error {
	return &daemon.HeldError{Entity: id, Reason: h.Reason, Why: h.Why}
}

// decode reads one row of the store. Errors wrap store.ErrCorrupt.
func decode(k, v []byte) (id identity.EntityID, h *Record, err error) {
	h = &Record{}
	if err := cmp.Or(id.UnmarshalBinary(k), canon.Unmarshal(v, h)); err != nil {
		return id, nil, fmt.Errorf("%w: hold %x: %w", store.ErrCorrupt, k, err)
	}
	return id, h, nil
}

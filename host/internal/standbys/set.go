// Package standbys are the copies that a node keeps of other nodes' daemons, as one of their
// standbys: history and state are in the store, as a daemon's are, and the daemon is not in
// the node's tables. A copy is fed by its owner over one stream, and says to it up to where
// it has all; when the node is to own the daemon the copy is fenced, and nothing more is
// taken.
package standbys

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Node is what the copies need of the node that they are on.
type Node interface {
	// FindModule returns nil where the module is here, and has it compiled for the day that
	// it is needed; daemon.ErrModuleNotFound.
	FindModule(ctx context.Context, digest store.Digest) error

	// AddModule keeps and compiles a module that came from a peer.
	AddModule(ctx context.Context, wasm []byte) error

	// RefusesModules reports whether the node takes no module from peers.
	RefusesModules() bool

	// WantsEarlier reports whether a module that daemons may be rolled back to is to be
	// sent here.
	WantsEarlier(ctx context.Context, digest store.Digest) bool

	// KeepEvidence keeps the history of the daemon here as evidence, before it is dropped.
	KeepEvidence(id identity.EntityID, epoch uint64, why string) error

	// CheckRecord returns an error where the bytes are no daemon's record.
	CheckRecord(b []byte) error
}

// Set are the copies of one node. It is safe for concurrent use.
type Set struct {
	env      *env.Env
	receipts *evidence.Records
	node     Node

	mu   lock.Mutex[lock.Copies]
	byID map[identity.EntityID]*Standby
}

// New returns the copies of a node that has none.
func New(e *env.Env, receipts *evidence.Records, node Node) *Set {
	return &Set{env: e, receipts: receipts, node: node, byID: make(map[identity.EntityID]*Standby)}
}

// Recover finds the copies that the store has. It is called once, before any other method.
func (g *Set) Recover() error {
	return g.env.Store.Scan(store.Standbys, func(k, v []byte) error {
		var rec copyRecord
		var id identity.EntityID
		if err := errors.Join(id.UnmarshalBinary(k), canon.Unmarshal(v, &rec)); err != nil {
			return fmt.Errorf("%w: copy %x: %w", store.ErrCorrupt, k, err)
		}
		// One that was acknowledged in memory may lack its end.
		_, err := g.env.Store.Get(store.Meta, soundKey(id))
		g.byID[id] = &Standby{id: id, receiving: make(chan struct{}, 1), owner: rec.Owner, epoch: rec.Epoch, whole: rec.Whole, disk: rec.Whole, said: rec.Whole, sound: rec.Whole || err == nil, record: canon.OrNil(rec.Record)}
		return nil
	})
}

// Find returns the copy of the daemon; nil: there is none.
func (g *Set) Find(id identity.EntityID) *Standby {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.byID[id]
}

// FindOrAdd returns the copy of the daemon, an empty one where there was none.
func (g *Set) FindOrAdd(id identity.EntityID) *Standby {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.byID[id]
	if s == nil {
		s = &Standby{id: id, receiving: make(chan struct{}, 1)}
		g.byID[id] = s
	}
	return s
}

// All returns the copies, in no order.
func (g *Set) All() []*Standby {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make([]*Standby, 0, len(g.byID))
	for _, s := range g.byID {
		out = append(out, s)
	}
	return out
}

// Add adds a copy that Keep made, once that is committed.
func (g *Set) Add(s *Standby) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.byID[s.id] = s
}

// Remove removes a copy that is the daemon itself by now, or is dropped. The store is not
// touched.
func (g *Set) Remove(id identity.EntityID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.byID, id)
}

// Drop drops the copy of a daemon that is no more, and all that the store has of the daemon.
func (g *Set) Drop(id identity.EntityID) {
	s := g.Find(id)
	if s == nil {
		return
	}
	s.Fence()
	defer func() { <-s.receiving }()

	b := &store.Batch{}
	for _, p := range store.ForgetParts() {
		if err := b.AddPart(id, p); err != nil {
			g.env.Logger.Error("forgetting a daemon's copy", "daemon", id.Origin(), "error", err)
			return
		}
	}
	Forget(b, id)
	if err := g.env.Store.Commit(b); err != nil {
		g.env.Logger.Error("forgetting a daemon's copy", "daemon", id.Origin(), "error", err)
		return
	}
	g.Remove(id)
}

// Forget has the batch remove what the store says of the copy: its history and state stay.
func Forget(b *store.Batch, id identity.EntityID) {
	b.Delete(store.Standbys, id[:])
	b.Delete(store.Meta, soundKey(id))
	b.Delete(store.Meta, snapshot.ArrivingKey(id))
}

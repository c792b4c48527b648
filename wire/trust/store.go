// Package trust is whom a node trusts, with which rights, and the tokens by which others
// come to be trusted. It knows no network: package wire asks it.
package trust

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Peer is a node that this one trusts.
type Peer struct {
	Key   identity.EntityID
	Name  string
	Addr  string // where it was last known to listen
	Added time.Time

	Rights Rights
}

// Store keeps the trusted nodes. It is safe for concurrent use.
type Store interface {
	List() ([]Peer, error) // sorted by key
	Put(Peer) error
	Delete(identity.EntityID) error
}

// Memory is a Store that is gone with its process.
type Memory struct {
	mu    sync.Mutex
	peers []Peer
}

// List returns a copy of the trusted nodes, sorted by key. It never fails.
func (t *Memory) List() ([]Peer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.peers), nil
}

// Put adds or replaces the node with p's key. It never fails.
func (t *Memory) Put(p Peer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(p)
	return nil
}

func (t *Memory) put(p Peer) {
	t.peers = slices.DeleteFunc(t.peers, func(o Peer) bool { return o.Key == p.Key })
	t.peers = append(t.peers, p)
	slices.SortFunc(t.peers, func(a, b Peer) int { return bytes.Compare(a.Key[:], b.Key[:]) })
}

// Delete removes the node with the key, if it is there. It never fails.
func (t *Memory) Delete(key identity.EntityID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = slices.DeleteFunc(t.peers, func(o Peer) bool { return o.Key == key })
	return nil
}

// stored is a Memory that a store remembers.
type stored struct {
	Memory
	store *store.Store
}

type peerRecord struct {
	_     struct{} `cbor:",toarray"`
	Name  string
	Addr  string
	Added int64

	Rights Rights
}

// FromStore returns the trusted nodes that s remembers. Errors wrap store.ErrCorrupt where
// a record cannot be read.
func FromStore(s *store.Store) (Store, error) {
	t := &stored{store: s}
	err := s.Scan(store.Peers, func(k, v []byte) error {
		var rec peerRecord
		var key identity.EntityID
		if err := key.UnmarshalBinary(k); err != nil {
			return fmt.Errorf("%w: trusted node %x: %w", store.ErrCorrupt, k, err)
		}
		if err := canon.Unmarshal(v, &rec); err != nil {
			return fmt.Errorf("%w: trusted node %s: %w", store.ErrCorrupt, key, err)
		}
		t.put(Peer{Key: key, Name: rec.Name, Addr: rec.Addr, Added: time.Unix(0, rec.Added), Rights: rec.Rights})
		return nil
	})
	return t, err
}

func (t *stored) Put(p Peer) error {
	rec, err := canon.Marshal(&peerRecord{Name: p.Name, Addr: p.Addr, Added: p.Added.UnixNano(), Rights: p.Rights})
	if err != nil {
		return err
	}
	var b store.Batch
	b.Put(store.Peers, p.Key[:], rec)
	if err := t.store.Commit(&b); err != nil {
		return fmt.Errorf("storing a trusted node: %w", err)
	}
	return t.Memory.Put(p)
}

func (t *stored) Delete(key identity.EntityID) error {
	var b store.Batch
	b.Delete(store.Peers, key[:])
	if err := t.store.Commit(&b); err != nil {
		return fmt.Errorf("forgetting a trusted node: %w", err)
	}
	return t.Memory.Delete(key)
}

package wire

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

// TrustedPeer is a node that this one trusts.
type TrustedPeer struct {
	Key   identity.EntityID
	Name  string
	Addr  string // where it was last known to listen
	Added time.Time

	Rights Rights
}

// TrustStore keeps the trusted nodes. It is safe for concurrent use.
type TrustStore interface {
	List() ([]TrustedPeer, error) // sorted by key
	Put(TrustedPeer) error
	Delete(identity.EntityID) error
}

type memoryTrust struct {
	mu    sync.Mutex
	peers []TrustedPeer
}

func (t *memoryTrust) List() ([]TrustedPeer, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.peers), nil
}

func (t *memoryTrust) Put(p TrustedPeer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(p)
	return nil
}

func (t *memoryTrust) put(p TrustedPeer) {
	t.peers = slices.DeleteFunc(t.peers, func(o TrustedPeer) bool { return o.Key == p.Key })
	t.peers = append(t.peers, p)
	slices.SortFunc(t.peers, func(a, b TrustedPeer) int { return bytes.Compare(a.Key[:], b.Key[:]) })
}

func (t *memoryTrust) Delete(key identity.EntityID) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.peers = slices.DeleteFunc(t.peers, func(o TrustedPeer) bool { return o.Key == key })
	return nil
}

// storedTrust is a memoryTrust that a store remembers.
type storedTrust struct {
	memoryTrust
	store *store.Store
}

type peerRecord struct {
	_     struct{} `cbor:",toarray"`
	Name  string
	Addr  string
	Added int64

	Rights Rights
}

// Trust returns the trusted nodes that s remembers.
func Trust(s *store.Store) (TrustStore, error) {
	t := &storedTrust{store: s}
	err := s.Scan(store.Peers, func(k, v []byte) error {
		var rec peerRecord
		var key identity.EntityID
		if err := key.UnmarshalBinary(k); err != nil {
			return fmt.Errorf("%w: trusted node %x: %w", store.ErrCorrupt, k, err)
		}
		if err := canon.Unmarshal(v, &rec); err != nil {
			return fmt.Errorf("%w: trusted node %s: %w", store.ErrCorrupt, key, err)
		}
		t.put(TrustedPeer{Key: key, Name: rec.Name, Addr: rec.Addr, Added: time.Unix(0, rec.Added), Rights: rec.Rights})
		return nil
	})
	return t, err
}

func (t *storedTrust) Put(p TrustedPeer) error {
	rec, err := canon.Marshal(&peerRecord{Name: p.Name, Addr: p.Addr, Added: p.Added.UnixNano(), Rights: p.Rights})
	if err != nil {
		return err
	}
	var b store.Batch
	b.Put(store.Peers, p.Key[:], rec)
	if err := t.store.Commit(&b); err != nil {
		return fmt.Errorf("storing a trusted node: %w", err)
	}
	return t.memoryTrust.Put(p)
}

func (t *storedTrust) Delete(key identity.EntityID) error {
	var b store.Batch
	b.Delete(store.Peers, key[:])
	if err := t.store.Commit(&b); err != nil {
		return fmt.Errorf("forgetting a trusted node: %w", err)
	}
	return t.memoryTrust.Delete(key)
}

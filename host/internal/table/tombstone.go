package table

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Tombstone is what a node keeps for ever of a daemon that it answers for no more: where
// it went, or that it was stopped. Its epoch fences whatever is older. The zero
// Tombstone is of a daemon that never was here.
type Tombstone struct {
	_       struct{}        `cbor:",toarray"`
	Name    string          // empty when Stopped: nobody is to find it by that
	Node    identity.NodeID // where it went; the own node's when Stopped
	Epoch   uint64          // under which Node owns it, or owned it when it was stopped
	Time    int64           // Unix nanoseconds
	Stopped bool
}

// Known reports whether there is a tombstone: every epoch is 1 or more.
func (t *Tombstone) Known() bool { return t.Epoch > 0 }

// decodeTombstone reads a stored tombstone. Epochs begin at 1: a record of epoch 0 would
// be taken for none.
func decodeTombstone(k, v []byte) (t Tombstone, err error) {
	if err = canon.Unmarshal(v, &t); err == nil && (!t.Known() || len(k) != len(identity.EntityID{})) {
		err = errors.New("a key of another length, or no epoch")
	}
	if err != nil {
		err = fmt.Errorf("%w: the tombstone of daemon %x: %w", store.ErrCorrupt, k, err)
	}
	return t, err
}

// Bury adds the tombstone of the daemon to the batch, behind what deletes all else of it.
func (t *Tombstone) Bury(b *store.Batch, id identity.EntityID) error {
	encoded, err := canon.Marshal(t)
	if err != nil {
		return err
	}
	b.Put(store.Moved, id[:], encoded)
	for _, k := range t.entries(id) {
		b.Put(store.Departed, k, []byte{})
	}
	return nil
}

// Raise removes the tombstone by the batch.
func (t *Tombstone) Raise(b *store.Batch, id identity.EntityID) {
	b.Delete(store.Moved, id[:])
	for _, k := range t.entries(id) {
		b.Delete(store.Departed, k)
	}
}

// What entries of the index are by.
const (
	byDepartedName   = 'n'
	byDepartedOrigin = 'o'
)

// indexHash is how many bytes of a name's hash, and of an entity id, an entry has.
const indexHash = 8

// NameEntry is how the index's entries of daemons with the name begin.
func NameEntry(name string) []byte {
	sum := sha256.Sum256([]byte(name))
	return append([]byte{byDepartedName}, sum[:indexHash]...)
}

// OriginEntry is how the index's entries of daemons of the origin begin.
func OriginEntry(o identity.OriginHash) []byte {
	return binary.BigEndian.AppendUint64([]byte{byDepartedOrigin}, uint64(o))
}

// entries are the index's keys of the tombstone: none of a daemon that was stopped,
// which nobody is to find.
func (t *Tombstone) entries(id identity.EntityID) [][]byte {
	if t.Stopped || !t.Known() {
		return nil
	}
	return [][]byte{append(NameEntry(t.Name), id[:indexHash]...), append(OriginEntry(id.Origin()), id[:indexHash]...)}
}

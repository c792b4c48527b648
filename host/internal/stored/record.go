package stored

import (
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Record is how the store keeps what a daemon is. The private key is
// sealed to the node's own key.
type Record struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Kind    string
	Module  []byte
	Spawned int64
	Key     []byte           // an identity envelope, or empty for a public-only daemon
	Limits  map[string]int64 // of its own

	Previous []byte // the module before the last upgrade; empty: there was none
}

// DecodeRecord reads what Encode wrote; store.ErrCorrupt where it is not that.
func DecodeRecord(b []byte) (*Record, error) {
	rec := &Record{}
	if err := canon.Unmarshal(b, rec); err != nil {
		return nil, fmt.Errorf("%w: the daemon's record: %w", store.ErrCorrupt, err)
	}
	return rec, nil
}

// Encode is how the store keeps the record.
func (r *Record) Encode() ([]byte, error) { return canon.Marshal(r) }

// AtRest is the link to which an identity that is stored is bound.
var AtRest = []byte("wasmhost identity at rest")

// SealKey seals a daemon's key to the node's own key, as it is stored.
func SealKey(key, node *identity.KeyPair) ([]byte, error) {
	own, err := node.SealKey()
	if err != nil {
		return nil, err
	}
	env, err := identity.Seal(key, own, AtRest)
	if err != nil {
		return nil, err
	}
	return env.Bytes(), nil
}

// OpenKey opens what SealKey sealed of the daemon; the key is the caller's.
func OpenKey(sealed []byte, node *identity.KeyPair, id identity.EntityID) (*identity.KeyPair, error) {
	env, err := identity.ParseEnvelope(sealed)
	if err != nil {
		return nil, fmt.Errorf("the daemon's key: %w", err)
	}
	key, err := env.Open(node, AtRest, id)
	if err != nil {
		return nil, fmt.Errorf("the daemon's key: %w", err)
	}
	return key, nil
}

// KeptKey is where the store keeps the key of a daemon that went public-only.
func KeptKey(id identity.EntityID) []byte { return append([]byte("kept-key/"), id[:]...) }

// Passive is how the store keeps where a passive daemon stands.
type Passive struct {
	_        struct{} `cbor:",toarray"`
	Epoch    uint64
	Sequence uint64
	HeadHash chain.Hash
	Applied  uint64
	Emitted  uint64
	Errors   uint64
}

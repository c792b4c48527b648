package engine

import (
	"fmt"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// KeptKey is where the store keeps the key of a daemon that went public-only.
func KeptKey(id identity.EntityID) []byte { return append([]byte("kept-key/"), id[:]...) }

// KeepKey adds to the batch that the daemon's key stays here, sealed as at rest. It
// needs d.mu.
func (d *Daemon) KeepKey(b *store.Batch) error {
	if !d.key.CanSign() {
		return nil // it has been without before
	}
	own, err := d.env.Node.SealKey()
	if err != nil {
		return fmt.Errorf("sealing a key that is kept: %w", err)
	}
	env, err := identity.Seal(d.key, own, AtRest)
	if err != nil {
		return fmt.Errorf("sealing a key that is kept: %w", err)
	}
	b.Put(store.Meta, KeptKey(d.id), env.Bytes())
	return nil
}

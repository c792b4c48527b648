package engine

import (
	"fmt"

	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
)

// KeepKey adds to the batch that the daemon's key stays here, sealed as at rest. It
// needs d.mu.
func (x Moves) KeepKey(b *store.Batch) error {
	d := x.d
	if !d.key.CanSign() {
		return nil // it has been without before
	}
	sealed, err := stored.SealKey(d.key, d.env.Node)
	if err != nil {
		return fmt.Errorf("sealing a key that is kept: %w", err)
	}
	b.Put(store.Meta, stored.KeptKey(d.id), sealed)
	return nil
}

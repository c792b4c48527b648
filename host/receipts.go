package host

import (
	"wasmhost.example/host/chain"
	"wasmhost.example/identity"
)

// Receipts returns the receipts of the daemon's moves that this node knows, by
// epoch. They are verified.
func (r Evidence) Receipts(id identity.EntityID) ([]*chain.Receipt, error) {
	return r.rt.evidence.Receipts(id)
}

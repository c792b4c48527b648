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

// signArrival makes the target's half.
func (r *Runtime) signArrival(f chain.ReceiptFacts) (*chain.Receipt, error) {
	rec := &chain.Receipt{Facts: f}
	return rec, rec.SignTarget(r.env.Node, chain.ReceiptTarget{Activated: r.env.Clock().UnixNano()})
}

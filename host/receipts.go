package host

import (
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// Receipts returns the receipts of the daemon's moves that this node knows, by
// epoch. They are verified.
func (r Evidence) Receipts(id identity.EntityID) ([]*chain.Receipt, error) {
	return r.rt.evidence.Receipts(id)
}

// facts are what a receipt of a move of the daemon says. root is the hash of its
// memory, where that is known. It needs d.mu, or the daemon to be paused.
func (d *hosted) facts(id migration.ID, from, to identity.NodeID, rel *migration.Release, root []byte) (chain.ReceiptFacts, error) {
	f := chain.ReceiptFacts{Version: chain.ReceiptVersion, Migration: id, Entity: d.id, Kind: d.kind, Module: d.module, From: from, To: to,
		Epoch: rel.Epoch, Sequence: rel.Sequence, Applied: d.applied, Head: chain.Hash(rel.Head), State: root}
	if of, ok := d.daemon.(rooter); ok && len(root) == 0 && d.form() == snapshot.FormMemory {
		root, err := of.Root()
		if err != nil {
			return f, fmt.Errorf("hashing the memory of daemon %s: %w", d.id.Origin(), err)
		}
		f.State = root[:]
	}
	return f, nil
}

// rooter is a Daemon whose memory has a hash.
type rooter interface{ Root() ([32]byte, error) }

// signArrival makes the target's half.
func (r *Runtime) signArrival(f chain.ReceiptFacts) (*chain.Receipt, error) {
	rec := &chain.Receipt{Facts: f}
	return rec, rec.SignTarget(r.env.Node, chain.ReceiptTarget{Activated: r.env.Clock().UnixNano()})
}

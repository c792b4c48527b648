package host

import (
	"errors"
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

// addReceipts takes those that came with the daemon and are good.
func (in *incoming) addReceipts(all [][]byte) {
	in.receipts = nil
	for _, b := range all {
		rec, err := chain.DecodeReceipt(b)
		if err == nil {
			err = errors.Join(rec.Verify(), in.mayKeep(rec))
		}
		if err != nil {
			in.env.Logger.Warn("a receipt that came with a daemon is not kept", "daemon", in.offer.Entity.Origin(), "from", in.from, "error", err)
			continue
		}
		in.receipts = append(in.receipts, rec)
	}
}

func (in *incoming) mayKeep(rec *chain.Receipt) error {
	if rec.Facts.Entity != in.offer.Entity || rec.Facts.Epoch > in.offer.Epoch {
		return fmt.Errorf("%w: of daemon %s, epoch %d", chain.ErrBadReceipt, rec.Facts.Entity.Origin(), rec.Facts.Epoch)
	}
	return nil
}

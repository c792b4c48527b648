package engine

import (
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/history"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// EncodeFacts is what the daemon keeps for life, encoded. It needs d.mu.
func (x Image) EncodeFacts() ([]byte, error) {
	d := x.d
	l := &snapshot.Facts{Version: snapshot.FactsVersion, Spawned: max(d.spawned.UnixNano(), 1), Previous: orEmpty(d.previous), Errors: d.stats.Errors, Losses: []snapshot.LossRecord{}}
	if loss := d.node.LossOf(d.id); loss != nil {
		l.Losses = append(l.Losses, snapshot.LossRecord{From: loss.From, To: loss.To, Epoch: loss.Epoch, Why: loss.Why, Time: loss.Time.UnixNano()})
	}
	return l.Encode()
}

func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

// TakeFacts gives the daemon what it keeps for life, but for a loss: that is shown once the
// daemon is this node's. It needs d.mu.
func (x Making) TakeFacts(l *snapshot.Facts) {
	d := x.d
	if l != nil {
		d.spawned, d.previous, d.stats.Errors = time.Unix(0, l.Spawned), canon.OrNil(l.Previous), l.Errors
	}
}

// CameBy returns the checkpoint by which the daemon came here last, encoded. It needs
// d.mu.
func (x Moves) CameBy() ([]byte, error) {
	d := x.d
	if d.came != nil {
		return canon.Marshal(d.came)
	}
	if d.env.Store == nil {
		return nil, fmt.Errorf("%w: daemon %s has no key here, and no history", channel.ErrResidence, d.id.Origin())
	}
	came, err := history.LastMove(d.env.Store, d.id, d.env.Self)
	d.came = came
	if err == nil && d.came == nil {
		err = fmt.Errorf("%w: daemon %s has no key here, and came from nowhere", channel.ErrResidence, d.id.Origin())
	}
	if err != nil {
		return nil, err
	}
	return canon.Marshal(d.came)
}

// ReceiptFacts are what a receipt of a move of the daemon says. root is the hash of its
// memory, where that is known. It needs d.mu, or the daemon to be paused.
func (x Moves) ReceiptFacts(id migration.ID, from, to identity.NodeID, rel *migration.Release, root []byte) (chain.ReceiptFacts, error) {
	d := x.d
	f := chain.ReceiptFacts{Version: chain.ReceiptVersion, Migration: id, Entity: d.id, Kind: d.kind, Module: d.module, From: from, To: to,
		Epoch: rel.Epoch, Sequence: rel.Sequence, Applied: d.applied, Head: chain.Hash(rel.Head), State: root}
	if of, ok := d.daemon.(rooter); ok && len(root) == 0 && d.Image().Form() == snapshot.FormMemory {
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

// StoredLimits gives a daemon that is on its way here the limits that its
// stored snapshot has.
func (x Making) StoredLimits() error {
	d := x.d
	value, err := d.env.Store.Get(store.Snapshots, d.id[:])
	if err != nil {
		return err
	}
	_, s, err := stored.Read(d.env.Store, value, d.id)
	if err != nil {
		return err
	}
	return x.SetLimits(s.Header.Limits)
}

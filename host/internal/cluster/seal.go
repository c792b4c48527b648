package cluster

import (
	"context"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/standbys"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// SealCopy returns the daemon's signature under what the copy has, and how many records that
// is.
func (c *Member) SealCopy(ctx context.Context, s *standbys.Standby) (uint64, *chain.Checkpoint, error) {
	id, encoded := s.Entity(), s.State().Record
	if encoded == nil {
		return 0, nil, fmt.Errorf("%w: its record has not come", daemon.ErrNoHistory)
	}
	rec, err := stored.DecodeRecord(encoded)
	if err != nil {
		return 0, nil, err
	}
	if err := c.env.Store.Commit(&store.Batch{}); err != nil { // what is acknowledged in memory may be on its way there
		return 0, nil, err
	}
	end, err := c.env.Store.HistoryEnd(id)
	if err != nil {
		return 0, nil, err
	}
	at, err := stored.BeginningAt(ctx, c.env.Store, id, end)
	if err != nil {
		return 0, nil, err
	}
	seal := &chain.Checkpoint{Purpose: chain.PurposeExport, Entity: id, Epoch: at.Epoch, Sequence: at.Head.Sequence, Head: at.Head.Hash(at.HeadPayload)}
	if len(rec.Key) == 0 {
		return end, seal, nil
	}
	env, err := identity.ParseEnvelope(rec.Key)
	if err != nil {
		return 0, nil, fmt.Errorf("the daemon's key: %w", err)
	}
	key, err := env.Open(c.env.Node, standbyLink, id)
	if err != nil {
		return 0, nil, fmt.Errorf("the daemon's key: %w", err)
	}
	defer key.Wipe()
	return end, seal, seal.Sign(key)
}

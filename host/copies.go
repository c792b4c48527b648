package host

import (
	"context"
	"errors"
	"fmt"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// Promote makes this node's copy of a daemon the daemon, under a higher epoch, while the
// cluster has no directory: the chosen copy must stand where at says. The daemon answers
// for nothing until a new directory names this node its owner. A second call with the
// same epoch does nothing. Errors: directory.ErrAnswers, chain.ErrOtherEnd, *NotFoundError,
// and those of reading the daemon.
func (r Copies) Promote(ctx context.Context, id identity.EntityID, at chain.End, epoch uint64) error {
	if err := errors.Join(r.rt.ready(), r.rt.Copies().WithoutDirectory(ctx)); err != nil {
		return err
	}
	if epoch <= at.Epoch {
		return fmt.Errorf("%w: epoch %d after %d", chain.ErrEpochBackwards, epoch, at.Epoch)
	}
	p := r.rt.table.Look(id)
	if p.Leaving != nil || p.Coming != nil {
		return fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, id.Origin())
	}
	if d := p.Here; d != nil {
		return d.Upkeep().Promote(ctx, epoch, func(epoch, sequence uint64, head chain.Hash) error {
			if stands := (chain.End{Epoch: epoch, Sequence: sequence, Head: head}); stands != at {
				return fmt.Errorf("%w: %d outputs under epoch %d, not %d under %d", chain.ErrOtherEnd, stands.Sequence, stands.Epoch, at.Sequence, at.Epoch)
			}
			return nil
		})
	}
	s := r.rt.cluster.Copies().Find(id)
	if s == nil {
		return &daemon.NotFoundError{Entity: id}
	}
	return r.rt.cluster.PromoteCopy(ctx, s, at, epoch)
}

// WithoutDirectory returns nil if the node is in a cluster whose directory does not
// answer: the node's lease has ended, and a read fails. directory.ErrAnswers, directory.ErrNoCluster.
func (r Copies) WithoutDirectory(ctx context.Context) error {
	if r.rt.cluster == nil || r.rt.env.Store == nil {
		return directory.ErrNoCluster
	}
	return r.rt.cluster.WithoutDirectory(ctx)
}

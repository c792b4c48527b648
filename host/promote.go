package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/standbys"
	"wasmhost.example/identity"
)

// ErrDirectoryHere says that nothing is recovered while the directory answers.
var ErrDirectoryHere = errors.New("the cluster's directory answers: nothing is to be recovered")

// Promote makes this node's copy of a daemon the daemon, under a higher epoch, while the
// cluster has no directory: the chosen copy must stand where at says. The daemon answers
// for nothing until a new directory names this node its owner. A second call with the
// same epoch does nothing. Errors: ErrDirectoryHere, ErrOtherEnd, *NotFoundError,
// and those of reading the daemon.
func (r Copies) Promote(ctx context.Context, id identity.EntityID, at ChainEnd, epoch uint64) error {
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
			if stands := (ChainEnd{epoch, sequence, head}); stands != at {
				return fmt.Errorf("%w: %d outputs under epoch %d, not %d under %d", ErrOtherEnd, stands.Sequence, stands.Epoch, at.Sequence, at.Epoch)
			}
			return nil
		})
	}
	s := r.rt.cluster.copies.Find(id)
	if s == nil {
		return &daemon.NotFoundError{Entity: id}
	}
	return r.rt.cluster.promoteCopy(ctx, s, at, epoch)
}

// WithoutDirectory returns nil if the node is in a cluster whose directory does not
// answer: the node's lease has ended, and a read fails. ErrDirectoryHere, ErrNoCluster.
func (r Copies) WithoutDirectory(ctx context.Context) error {
	if r.rt.cluster == nil || r.rt.env.Store == nil {
		return ErrNoCluster
	}
	if r.rt.Node().Holding() == nil {
		return ErrDirectoryHere
	}
	c := r.rt.cluster
	c.memory.mu.Lock()
	asked := c.memory.silent
	c.memory.mu.Unlock()
	if asked != 0 && c.directory.Now()-asked < c.directory.Self().TTL { // many daemons are promoted one after another
		return nil
	}
	if c.directory.Answers(ctx) == nil {
		return ErrDirectoryHere
	}
	c.memory.mu.Lock()
	c.memory.silent = c.directory.Now()
	c.memory.mu.Unlock()
	return nil
}

// promoteCopy makes a standby's copy the daemon.
func (c *member) promoteCopy(ctx context.Context, s *standbys.Standby, at ChainEnd, epoch uint64) error {
	if s.State().Fenced {
		return fmt.Errorf("%w: %s", daemon.ErrComing, s.Entity().Origin())
	}
	s.Fence()
	defer s.Unfence()
	_, seal, err := c.rt.sealCopy(ctx, s)
	if err != nil {
		return err
	}
	stands := ChainEnd{seal.Epoch, seal.Sequence, seal.Head}
	if stands != at {
		return fmt.Errorf("%w: %d outputs under epoch %d, not %d under %d", ErrOtherEnd, stands.Sequence, stands.Epoch, at.Sequence, at.Epoch)
	}
	return c.activate(ctx, directory.Entry{Daemon: directory.Daemon{Entity: s.Entity(), Owner: c.env.Self, Epoch: epoch}}, s)
}

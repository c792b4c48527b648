package cluster

import (
	"context"
	"fmt"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/standbys"
)

// WithoutDirectory returns nil if the directory does not answer: the node's lease has
// ended, and a read fails. directory.ErrAnswers.
func (c *Member) WithoutDirectory(ctx context.Context) error {
	if c.leaders.Holding() == nil {
		return directory.ErrAnswers
	}

	c.memory.mu.Lock()
	asked := c.memory.silent
	c.memory.mu.Unlock()
	if asked != 0 && c.directory.Now()-asked < c.directory.Self().TTL { // many daemons are promoted one after another
		return nil
	}
	if c.directory.Answers(ctx) == nil {
		return directory.ErrAnswers
	}
	c.memory.mu.Lock()
	c.memory.silent = c.directory.Now()
	c.memory.mu.Unlock()
	return nil
}

// PromoteCopy makes a standby's copy the daemon.
func (c *Member) PromoteCopy(ctx context.Context, s *standbys.Standby, at chain.End, epoch uint64) error {
	if s.State().Fenced {
		return fmt.Errorf("%w: %s", daemon.ErrComing, s.Entity().Origin())
	}
	s.Fence()
	defer s.Unfence()
	_, seal, err := c.SealCopy(ctx, s)
	if err != nil {
		return err
	}
	stands := chain.End{Epoch: seal.Epoch, Sequence: seal.Sequence, Head: seal.Head}
	if stands != at {
		return fmt.Errorf("%w: %d outputs under epoch %d, not %d under %d", chain.ErrOtherEnd, stands.Sequence, stands.Epoch, at.Sequence, at.Epoch)
	}
	return c.activate(ctx, directory.Entry{Daemon: directory.Daemon{Entity: s.Entity(), Owner: c.env.Self, Epoch: epoch}}, s)
}

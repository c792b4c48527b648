// Package forkpoint is what forks of a daemon begin with: its state at one moment, as it is
// now or as its history says that it was.
package forkpoint

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Point is what a daemon was at one moment, for forks to begin with.
type Point struct {
	key      *identity.KeyPair // the parent's
	own      daemon.Limits     // of its own
	header   snapshot.Header   // of the parent; a fork's differs in who it is
	previous []byte            // the parent's module before its last upgrade; nil: there was none
	state    []byte            // as header.Form says
	shared   *sandbox.Shared   // of FormMemory: the same, for all forks together
	root     []byte            // hash of the state; empty: there is none

	view *sandbox.Frozen // until it is finished
	of   forker

	record chain.ForkRecord // of the fork that was made of it
}

// forker is a Daemon whose memory forks can have together.
type forker interface {
	moving.Memory
	Adopt(*sandbox.Shared) error
}

// Of takes what the daemon is. It holds up the daemon only for that; Finish
// does the rest. It needs the daemon's lock.
func Of(d *engine.Daemon) (*Point, error) {
	if err := d.Image().Portable(); err != nil {
		return nil, err
	}
	if !d.Position().Key.CanSign() {
		return nil, fmt.Errorf("%w: a fork needs the word of the daemon that it comes of", identity.ErrReadOnly)
	}
	s, err := d.Image().Header(d.Image().Form())
	if err != nil {
		return nil, err
	}
	p := &Point{own: d.OwnLimits(), header: s.Header, previous: bytes.Clone(d.Position().Previous)}
	switch s.Header.Form {
	case snapshot.FormMemory:
		of, ok := d.Position().Code.(forker)
		if !ok {
			return nil, daemon.ErrNotPortable
		}
		p.of = of
		p.view, err = of.Freeze(nil)
	case snapshot.FormGiven:
		p.state, err = d.Position().Code.Snapshot(d.Image().StateCall())
	}
	if err != nil {
		return nil, err
	}
	p.key = d.Position().Key.Clone()
	return p, nil
}

// Header is of the daemon as it was; the caller does not change it.
func (p *Point) Header() *snapshot.Header { return &p.header }

// Own returns the limits of its own that the daemon had.
func (p *Point) Own() daemon.Limits { return p.own }

// Record returns the record of the fork that was made of p.
func (p *Point) Record() chain.ForkRecord { return p.record }

// Thaw ends what Of began at the daemon's memory, once the point is finished.
func (p *Point) Thaw() {
	if p.of != nil {
		p.of.Thaw()
	}
}

// Wipe wipes the key.
func (p *Point) Wipe() { p.key.Wipe() }

// Finish makes of a point what forks begin with. limit is of the state, bytes.
func (p *Point) Finish(limit int64) error {
	switch p.header.Form {
	case snapshot.FormMemory:
		hash := p.of.Follow()
		to := snapshot.NewBuffer(limit)
		w := snapshot.NewMemoryWriter(to)
		v := p.view
		if err := w.Begin(&v.State); err != nil {
			return err
		}
		blocks := make([]byte, 0, min(snapshot.ChunkBlocks, v.Len())*sandbox.BlockBytes)
		for first := 0; first < v.Len(); first += snapshot.ChunkBlocks {
			end := min(first+snapshot.ChunkBlocks, v.Len())
			blocks = blocks[:0]
			for k := first; k < end; k++ {
				hash.Put(v.Index[k], v.Block(k))
				blocks = append(blocks, v.Block(k)...)
			}
			if err := w.Chunk(v.Index[first:end], blocks); err != nil {
				return err
			}
		}
		root := hash.Root(&v.State)
		p.state, p.root, p.shared, p.view = to.Bytes(), root[:], v.Share(), nil
	case snapshot.FormGiven:
		if int64(len(p.state)) > limit {
			return fmt.Errorf("%w: it has %d bytes, at most %d", daemon.ErrStateTooLarge, len(p.state), limit)
		}
		p.state = bytes.Clone(p.state)
		sum := sha256.Sum256(p.state)
		p.root = sum[:]
	}
	p.header.StateHash = sha256.Sum256(p.state)
	return nil
}

// Begin makes d, which is fresh, the fork of p, and stores it. It needs the daemon's lock.
func (p *Point) Begin(ctx context.Context, e *env.Env, d *engine.Daemon, factory daemon.Factory) error {
	if err := d.Making().Construct(ctx, factory); err != nil {
		return err
	}
	h := p.header
	d.Making().SetPrevious(canon.OrNil(p.previous))
	p.record = chain.ForkRecord{Version: chain.ForkVersion, Parent: h.Entity, Child: d.Entity(), Epoch: h.Head.Epoch, Sequence: h.Through, Head: h.Head.Hash(h.HeadPayload),
		Applied: h.Applied, Module: h.Module, State: p.root}
	if err := p.record.Sign(p.key); err != nil {
		return fmt.Errorf("signing a fork record: %w", err)
	}
	head, payload, err := p.record.Genesis(d.Position().Epoch)
	if err != nil {
		return err
	}
	if err := p.timersOnly(&h); err != nil {
		return err
	}
	h.Bindings, h.Entity, h.Name, h.Epoch = nil, d.Entity(), d.Name(), d.Position().Epoch
	h.Version = h.FormVersion()
	h.Through, h.Head, h.HeadPayload, h.Limits, h.CreatedAt = 0, head, payload, d.OwnLimits().Map(), e.Clock().UnixNano()
	s := &snapshot.Snapshot{Header: h, State: p.state}
	begin := &journal.Begin{Kind: d.Kind(), Module: d.Position().Module, Config: h.Config, Time: max(d.Turns().Now(), h.LastTime), Epoch: d.Position().Epoch,
		Head: head, HeadPayload: payload, Applied: h.Applied}
	if p.shared != nil {
		err = d.Making().RestoreTo(&h)
		if err == nil {
			d.Making().SetTime(begin.Time)
			err = d.Position().Code.(forker).Adopt(p.shared)
		}
	} else {
		err = d.Making().Restore(s, begin.Time)
	}
	if err != nil {
		return err
	}
	if e.Store == nil {
		return nil
	}
	begin.Checkpoint = *d.Image().CheckpointFor(chain.PurposeRestart, d.Position().Epoch)
	begin.Checkpoint.State = chain.CodeHash(d.Kind(), d.Position().Module)
	if err := errors.Join(begin.Checkpoint.Sign(d.Position().Key), s.Seal(d.Position().Key)); err != nil {
		return fmt.Errorf("signing the beginning of the chain: %w", err)
	}
	return d.Making().StoreBeginning(begin, s, effect.Grants{})
}

// timersOnly leaves in h, of the parent, no effects but its timers.
func (p *Point) timersOnly(h *snapshot.Header) error {
	effects, err := effect.Decode(h.Effects)
	if err != nil {
		return err
	}
	h.Effects, err = effects.Fork().Encode()
	return err
}

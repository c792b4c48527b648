package host

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
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// finish makes of a point what forks begin with. limit is of the state, bytes.
func (p *forkPoint) finish(limit int64) error {
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

// beginFork makes d, which is fresh, the fork of p, and stores it. It needs d.mu.
func (r *Runtime) beginFork(ctx context.Context, d *engine.Daemon, factory daemon.Factory, p *forkPoint) error {
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
	h.Through, h.Head, h.HeadPayload, h.Limits, h.CreatedAt = 0, head, payload, d.OwnLimits().Map(), r.env.Clock().UnixNano()
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
	if r.env.Store == nil {
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
func (p *forkPoint) timersOnly(h *snapshot.Header) error {
	effects, err := effect.Decode(h.Effects)
	if err != nil {
		return err
	}
	h.Effects, err = effects.Fork().Encode()
	return err
}

// pastPoint is what the daemon was right after output at.
func (r *Runtime) pastPoint(ctx context.Context, d *engine.Daemon, at uint64) (*forkPoint, error) {
	before := uint64(0) // the last output of an event that is passed
	_, p, err := r.retrace(ctx, d.Entity(), func(past *engine.Daemon) (bool, error) {
		head := past.Position().Head
		switch {
		case head.Sequence == at && head.Horizon == past.Position().Applied:
			return true, nil
		case head.Sequence > at:
			return false, fmt.Errorf("%w: output %d is among %d to %d of one event", daemon.ErrNoForkPoint, at, before+1, head.Sequence)
		}
		before = head.Sequence
		return false, nil
	}, func(index uint64, h *snapshot.Header) (bool, error) {
		if h.Through != at || h.Head.Horizon != h.Applied {
			return h.Through < at, nil
		}
		return r.sameSince(d.Entity(), index, at)
	})
	return p, err
}

// sameSince reports whether nothing became of the daemon between its output and
// history record index that an event does not: an upgrade, or a mending.
func (r *Runtime) sameSince(id identity.EntityID, index, output uint64) (bool, error) {
	same := true
	err := r.env.Store.ReadHistoryBackward(id, func(at uint64, b []byte) error {
		if at >= index {
			return nil
		}
		switch rec, err := journal.Decode(b); rec := rec.(type) {
		case nil:
			return err
		case *journal.Upgrade, *journal.Mend:
			same = false
			return store.ErrStop
		case *journal.Event:
			if rec.Before.Sequence+uint64(len(rec.Outputs)) == output {
				return store.ErrStop
			}
		}
		return nil
	})
	return same, err
}

// lastGoodPoint is what the daemon was after the last record that can be
// replayed.
func (r *Runtime) lastGoodPoint(ctx context.Context, d *engine.Daemon) (*forkPoint, error) {
	if !d.CannotGoOn() {
		return nil, fmt.Errorf("%w: %s", ErrNotFailed, d.Entity().Origin())
	}
	all := func(uint64, *snapshot.Header) (bool, error) { return true, nil }
	// The record that fails may have changed what it failed on: so once to find
	// it, and once up to it.
	bad, p, err := r.retrace(ctx, d.Entity(), func(*engine.Daemon) (bool, error) { return false, nil }, all)
	if err == nil || ctx.Err() != nil || bad == 0 {
		return p, err
	}
	r.env.Logger.Info("the history of a daemon can be replayed so far", "daemon", d.Entity().Origin(), "record", bad, "error", err)
	_, p, err = r.retrace(ctx, d.Entity(), func(past *engine.Daemon) (bool, error) { return past.Position().Next >= bad, nil }, all)
	return p, err
}

// retrace makes the daemon again as it once was, from the stored state where
// that may be used, else from its beginning: record by record until stop says so,
// which is asked before the first and after each. It returns the index of the
// record at which it ended. The daemon itself is left alone.
func (r *Runtime) retrace(ctx context.Context, id identity.EntityID, stop func(*engine.Daemon) (bool, error), use func(uint64, *snapshot.Header) (bool, error)) (uint64, *forkPoint, error) {
	if r.env.Store == nil {
		return 0, nil, fmt.Errorf("%w: of daemon %s", daemon.ErrNoHistory, id.Origin())
	}
	encoded, err := r.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return 0, nil, err
	}
	d := engine.FromRecord(r.daemons, id, encoded)
	d.Lock()
	defer d.Unlock()
	if d.Position().State != lifecycle.Migrating {
		return 0, nil, d.Position().Gone
	}
	defer d.End(lifecycle.Leave, errRetraced)
	if err := d.Making().Remake(encoded); err != nil {
		return 0, nil, err
	}
	if err := d.Making().StandBack(ctx, use); err != nil {
		return 0, nil, err
	}
	done, err := stop(d)
	if err == nil && !done {
		err = r.env.Store.ReadHistory(id, d.Position().Next, ^uint64(0), func(_ uint64, b []byte) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := d.Making().RetraceRecord(ctx, b); err != nil {
				return err
			}
			if done, err = stop(d); done {
				return store.ErrStop
			}
			return err
		})
	}
	if err != nil {
		return d.Position().Next, nil, err
	}
	p, err := pointOf(d)
	if err == nil {
		err = p.finish(d.Limits().StateBytes)
	}
	return d.Position().Next, p, err
}

var errRetraced = errors.New("the daemon was made for a fork")

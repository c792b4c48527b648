package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/history"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/shown"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// ActiveMemory is the memory of the daemons that are not passive.
type ActiveMemory struct {
	Limit int64         // 0: none
	Kick  chan struct{} // it has grown over the limit
	Bytes atomic.Int64  // as of the daemons' last growth
}

// add counts how much a daemon's memory has grown.
func (m *ActiveMemory) add(bytes int64) {
	if total := m.Bytes.Add(bytes); m.Limit > 0 && total > m.Limit {
		select {
		case m.Kick <- struct{}{}:
		default:
		}
	}
}

// keptPassive is how many log lines of a passive daemon stay in memory.
const keptPassive = 16

// LoadPassive makes an entry that is fresh from the store passive.
func (x Memory) LoadPassive(rec *stored.Passive) {
	d := x.d
	d.life.Signal(lifecycle.Rest)
	d.resumed, d.marked = nil, true
	d.epoch, d.applied = rec.Epoch, rec.Applied
	d.stats = shown.Stats{Processed: rec.Applied, Emitted: rec.Emitted, Errors: rec.Errors}
	d.chain = chain.At(chain.Link{Origin: d.id, Epoch: rec.Epoch, Sequence: rec.Sequence, Horizon: rec.Applied}, rec.HeadHash)
	d.Show()
}

// evict lets go of the daemon's code and of what can be read again. It needs
// d.mu.
func (d *Daemon) evict() {
	if c, ok := d.daemon.(io.Closer); ok {
		if err := c.Close(); err != nil {
			d.env.Logger.Warn("closing a daemon", "daemon", d.id.Origin(), "error", err)
		}
	}
	d.node.Memory.Bytes.Add(-d.counted)
	d.daemon, d.counted = nil, 0
	d.key.Wipe()
	d.key = identity.PublicOnly(d.id)
	d.effects = d.effects.Resting()
	d.config, d.payload, d.horizon, d.repeated, d.saved = nil, nil, snapshot.DedupTable{}, history.Repeats{}, stored.State{}
	d.log.Trim(keptPassive)
	d.life.Signal(lifecycle.Rest)
	d.Show()
}

// Passivate stores the daemon and drops it. It reports whether it did: a
// daemon stays that is busy, moves, or cannot be captured.
func (x Memory) Passivate() bool {
	d := x.d
	if !d.mu.TryLock() {
		return false
	}
	defer d.mu.Unlock()
	if d.life.State() != lifecycle.Running || d.kind == "" || d.Moves().IsMoving() || d.waiting.Load() > 0 || d.Image().Portable() != nil || d.busyWithEffects() || x.Stale() != nil || d.env.Store.Err() != nil {
		return false
	}
	b := &store.Batch{}
	if d.index > d.snapshotIndex {
		if err := d.putState(b); err != nil {
			d.noteUnstored(err)
			return false
		}
	}
	rec, err := canon.Marshal(&stored.Passive{Epoch: d.epoch, Sequence: d.chain.Head().Sequence, HeadHash: d.chain.HeadHash(),
		Applied: d.applied, Emitted: d.stats.Emitted, Errors: d.stats.Errors})
	if err != nil {
		d.env.Logger.Warn("making a daemon passive", "daemon", d.id.Origin(), "error", err)
		return false
	}
	if err := errors.Join(d.putLedger(b), d.putEffects(b)); err != nil {
		d.env.Logger.Warn("making a daemon passive", "daemon", d.id.Origin(), "error", err)
		return false
	}
	d.marked = false // commit would take the mark away
	b.Put(store.Passive, d.id[:], rec)
	d.commit(b)
	d.evict()
	d.marked = true
	d.meter.Passivated.Add(1)
	return true
}

// PutAway stores the daemon's state and lets go of it.
func (x Memory) PutAway(ctx context.Context) error {
	d := x.d
	err := d.LockContext(ctx)
	if err != nil {
		return fmt.Errorf("storing daemon %s: %w", d.id.Origin(), err)
	}
	defer d.mu.Unlock()

	if d.env.Store != nil && d.env.Store.Err() == nil && d.life.State() == lifecycle.Running && x.Stale() == nil && d.kind != "" && d.index > d.snapshotIndex && !d.dearForStandbys() {
		if err = d.store(); errors.Is(err, daemon.ErrNotPortable) {
			err = nil // its history will be replayed
		}
		if err == nil {
			err = d.last.WaitStored(context.Background())
		}
	}

	d.End(lifecycle.Leave, daemon.ErrShuttingDown)
	if err != nil {
		return fmt.Errorf("storing daemon %s: %w", d.id.Origin(), err)
	}
	return nil
}

// AccountMemory counts the memory of a daemon that came into it. It needs d.mu.
func (x Memory) AccountMemory() {
	d := x.d
	s, ok := d.daemon.(daemon.Sizer)
	if !ok {
		return
	}
	now := s.MemoryBytes()
	d.node.Memory.add(now - d.counted)
	d.counted = now
}

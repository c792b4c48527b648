package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A daemon that is passive is an entry of the table: its code, state, key and
// horizon are on disk alone. Its next event brings it back, under its lock.

// passiveRecord is how the store keeps where a passive daemon stands.
type passiveRecord struct {
	_        struct{} `cbor:",toarray"`
	Epoch    uint64
	Sequence uint64
	HeadHash chain.Hash
	Applied  uint64
	Emitted  uint64
	Errors   uint64
}

// idle makes daemons passive.
type idle struct {
	after time.Duration
	*activeMemory
}

// activeMemory is the memory of the daemons that are not passive.
type activeMemory struct {
	limit int64         // 0: none
	kick  chan struct{} // it has grown over the limit
	bytes atomic.Int64  // as of the daemons' last growth
}

// add counts how much a daemon's memory has grown.
func (m *activeMemory) add(bytes int64) {
	if total := m.bytes.Add(bytes); m.limit > 0 && total > m.limit {
		select {
		case m.kick <- struct{}{}:
		default:
		}
	}
}

// keptPassive is how many log lines of a passive daemon stay in memory.
const keptPassive = 16

// lieDown makes an entry that is fresh from the store passive.
func (d *hosted) lieDown(rec *passiveRecord) {
	d.life.Signal(lifecycle.Rest)
	d.resumed, d.marked = nil, true
	d.epoch, d.applied = rec.Epoch, rec.Applied
	d.stats = stats{processed: rec.Applied, emitted: rec.Emitted, errors: rec.Errors}
	d.chain = chain.At(chain.Link{Origin: d.id, Epoch: rec.Epoch, Sequence: rec.Sequence, Horizon: rec.Applied}, rec.HeadHash)
	d.show()
}

// drop lets go of the daemon's code and of what can be read again. It needs
// d.mu.
func (d *hosted) drop() {
	if c, ok := d.daemon.(io.Closer); ok {
		if err := c.Close(); err != nil {
			d.env.Logger.Warn("closing a daemon", "daemon", d.id.Origin(), "error", err)
		}
	}
	d.node.Memory.bytes.Add(-d.counted)
	d.daemon, d.counted = nil, 0
	d.key.Wipe()
	d.key = identity.PublicOnly(d.id)
	d.effects = d.effects.Resting()
	d.config, d.payload, d.horizon, d.repeated, d.saved = nil, nil, snapshot.DedupTable{}, repeated{}, saved{}
	d.log.trim(keptPassive)
	d.life.Signal(lifecycle.Rest)
	d.show()
}

// passivate stores the daemon and drops it. It reports whether it did: a
// daemon stays that is busy, moves, or cannot be captured.
func (d *hosted) passivate() bool {
	if !d.mu.TryLock() {
		return false
	}
	defer d.mu.Unlock()
	if d.life.State() != lifecycle.Running || d.kind == "" || d.IsMoving() || d.waiting.Load() > 0 || d.portable() != nil || d.busyWithEffects() || d.stale() != nil || d.env.Store.Err() != nil {
		return false
	}
	b := &store.Batch{}
	if d.index > d.kept {
		if err := d.putState(b); err != nil {
			d.noteUnstored(err)
			return false
		}
	}
	rec, err := canon.Marshal(&passiveRecord{Epoch: d.epoch, Sequence: d.chain.Head().Sequence, HeadHash: d.chain.HeadHash(),
		Applied: d.applied, Emitted: d.stats.emitted, Errors: d.stats.errors})
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
	d.drop()
	d.marked = true
	d.meter.passivated.Add(1)
	return true
}

// putAway stores the daemon's state and lets go of it.
func (d *hosted) putAway(ctx context.Context) error {
	err := d.lock(ctx)
	if err != nil {
		return fmt.Errorf("storing daemon %s: %w", d.id.Origin(), err)
	}
	defer d.mu.Unlock()

	if d.env.Store != nil && d.env.Store.Err() == nil && d.life.State() == lifecycle.Running && d.stale() == nil && d.kind != "" && d.index > d.kept && !d.dearForStandbys() {
		if err = d.store(); errors.Is(err, daemon.ErrNotPortable) {
			err = nil // its history will be replayed
		}
		if err == nil {
			err = d.last.waitStored(context.Background())
		}
	}

	d.end(lifecycle.Leave, daemon.ErrShuttingDown)
	if err != nil {
		return fmt.Errorf("storing daemon %s: %w", d.id.Origin(), err)
	}
	return nil
}

// accountMemory counts the memory of a daemon that came into it. It needs d.mu.
func (d *hosted) accountMemory() {
	s, ok := d.daemon.(daemon.Sizer)
	if !ok {
		return
	}
	now := s.MemoryBytes()
	d.node.Memory.add(now - d.counted)
	d.counted = now
}

// startIdling makes daemons passive that are idle, or too many, and stores the
// state of those that had events, and then none until it was due.
func (r *Runtime) startIdling() {
	if r.env.Store == nil || !r.env.Work.Begin() {
		return
	}
	every := 30 * time.Second
	if r.idle.after > 0 {
		every = max(r.idle.after/4, 10*time.Millisecond)
	}
	go func() {
		defer r.env.Work.Done()
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-r.env.Context.Done():
				return
			case <-ticker.C:
			case <-r.idle.kick:
			}
			r.putIdleAway()
		}
	}()
}

// putIdleAway makes passive what was idle for long, and while there is too much
// in memory, what was idle longest.
func (r *Runtime) putIdleAway() {
	type candidate struct {
		d    *hosted
		used int64
	}
	all := r.table.Daemons()
	candidates := make([]candidate, 0, len(all))
	now, well := r.env.Clock().UnixNano(), r.env.Store.Err() == nil
	for _, d := range all {
		if d.TryLock() { // else it is busy
			if d.State() == lifecycle.Running {
				candidates = append(candidates, candidate{d, d.LastUsed()})
				d.accountMemory()
				d.noteNear()
				if well && d.stale() == nil {
					d.storeIfDue(now)
				}
			}
			d.Unlock()
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return int(min(max(a.used-b.used, -1), 1)) })
	before := r.env.Clock().Add(-r.idle.after).UnixNano()
	least := r.idle.limit // to leave room for some that come, if it is over the limit
	if r.idle.bytes.Load() > least {
		least -= least / 8
	}
	for _, c := range candidates {
		long := r.idle.after > 0 && c.used <= before
		over := r.idle.limit > 0 && r.idle.bytes.Load() > least
		if !long && !over || r.env.Context.Err() != nil {
			return
		}
		c.d.passivate()
	}
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/store"
)

// RelimitStill is relimit of a daemon that does not move meanwhile: what moves has told its
// limits already. It returns when the limits are durable.
func (x Upkeep) RelimitStill(ctx context.Context, change map[string]int64) error {
	d := x.d
	if !d.Moves().BeginMove() {
		return fmt.Errorf("%w: set its limits where it arrives", daemon.ErrAlreadyMigrating)
	}
	defer d.Moves().EndMove()
	if err := d.Look(ctx); err != nil {
		return err
	}
	last, err := d.relimit(change)
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return last.Wait(ctx)
}

// replayed are the limits that decide what becomes of an event.
var replayed = []string{"memory", "output-bytes", "output-count", "log-bytes"}

// relimit needs d.mu, and d to run.
func (d *Daemon) relimit(change map[string]int64) (*pending.Ticket, error) {
	before := d.OwnLimits()
	own, err := before.With(change)
	if err != nil {
		return nil, err
	}
	if err := daemon.Concerning(own.FitOn(d.env.Limits), change); err != nil {
		return nil, err
	}
	if own == before {
		return d.last, nil
	}
	all := own.Over(d.env.Limits).Storable()
	if sizer, ok := d.daemon.(daemon.Sizer); ok && sizer.MemoryBytes() > all.MemoryBytes {
		return nil, &daemon.UnfitError{Pairs: []daemon.Unfit{{Limit: "memory", Value: all.MemoryBytes, Against: "the daemon's memory now", Allows: sizer.MemoryBytes(), Why: "a memory does not shrink",
			Set: "memory to at least " + daemon.LimitText("memory", sizer.MemoryBytes())}}}
	}

	d.Making().LimitTo(own)
	t, err := d.storeLimits(before, change)
	if err != nil {
		d.Making().LimitTo(before)
		return nil, err
	}
	if code, ok := d.daemon.(limited); ok {
		if err := code.Limit(all); err != nil {
			d.failLocked(err)
			return nil, err
		}
	}
	return t, nil
}

// storeLimits submits the daemon's record. Where the change could make a replay of what the
// daemon did before differ, its state goes along, so that none is made.
func (d *Daemon) storeLimits(before daemon.Limits, change map[string]int64) (*pending.Ticket, error) {
	if d.env.Store == nil || d.kind == "" {
		return d.last, nil
	}
	rec, err := d.Making().EncodeRecord()
	if err != nil {
		return nil, err
	}
	b := &store.Batch{}
	anew := slices.ContainsFunc(replayed, func(name string) bool {
		own := d.OwnLimits()
		_, named := change[name]
		return named && before.Value(name) != own.Value(name)
	})
	if anew && d.index > d.snapshotIndex {
		if err := d.putWhole(b); err != nil && !errors.Is(err, daemon.ErrNotPortable) {
			return nil, err
		}
	}
	b.Put(store.Daemons, d.id[:], rec)
	t := d.commit(b)
	if d.leader != nil {
		t = d.renew()
	}
	return t, nil
}

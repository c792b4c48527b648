package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/shown"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// FromRecord makes the table's entry of a daemon from its record: what it is, and
// not yet where it stands. A record that cannot be read makes a failed daemon.
func FromRecord(node *Config, id identity.EntityID, encoded []byte) *Daemon {
	rec, err := stored.DecodeRecord(encoded)
	if err != nil {
		d := New(node, id, "", nil)
		d.name, d.key = id.Origin().String(), identity.PublicOnly(id)
		d.fail(err)
		return d
	}
	d := New(node, id, rec.Kind, bytes.Clone(canon.OrNil(rec.Module)))
	d.name, d.spawned, d.key = rec.Name, time.Unix(0, rec.Spawned), identity.PublicOnly(id)
	d.previous = bytes.Clone(canon.OrNil(rec.Previous))
	if err := d.Making().SetLimits(rec.Limits); err != nil {
		d.fail(fmt.Errorf("%w: the daemon's record: %w", store.ErrCorrupt, err))
	} else {
		d.Show()
	}
	return d
}

// Revive brings a daemon that the node had before its start to where the store says it stands,
// and has it serve. One that cannot be brought back fails. It needs d.mu.
func (x Making) Revive(ctx context.Context) {
	d := x.d
	if err := d.rebuild(ctx); err != nil {
		d.failLocked(err)
		d.meter.CameBack("start", d.life.State())
		return
	}
	d.meter.CameBack("start", lifecycle.Running)
	d.Resume()
	d.Memory().AccountMemory()
}

// RecoverLedger reads what a passive daemon is subscribed to. Where that cannot
// be read, its next event finds out what it is.
func (x Making) RecoverLedger() {
	d := x.d
	enc, err := d.env.Store.Get(store.Bound, d.id[:])
	if errors.Is(err, store.ErrNotFound) {
		return
	}
	if err == nil {
		d.ledger, err = channel.DecodeLedger(enc)
	}
	if err != nil {
		d.env.Logger.Error("the subscriptions of a passive daemon cannot be read", "daemon", d.id.Origin(), "error", err)
	}
}

// rebuild brings the daemon to where the store says it stands. It needs d.mu.
func (d *Daemon) rebuild(ctx context.Context) error {
	encoded, err := d.env.Store.Get(store.Daemons, d.id[:])
	if err != nil {
		return err
	}
	rec, err := stored.DecodeRecord(encoded)
	if err != nil {
		return err
	}
	d.stats, d.applied, d.payload, d.horizon, d.last = shown.Stats{Errors: d.stats.Errors}, 0, nil, snapshot.DedupTable{}, nil
	d.ledger, d.effects = channel.Ledger{}, nil
	return d.Making().RebuildWith(ctx, rec.Key)
}

// Stale returns nil when all that the daemon made is durable or on its way.
func (x Memory) Stale() error {
	d := x.d
	if d.env.Store == nil || d.kind == "" || d.generation == d.env.Store.Generation() {
		return nil
	}
	return d.last.WaitStored(context.Background()) // a reopened store has answered it
}

// asleep reports whether what is in memory of a daemon that serves is not what is stored.
// It needs d.mu.
func (d *Daemon) asleep() bool {
	if d.life.State() == lifecycle.Running {
		return d.env.Store != nil && d.kind != "" && d.generation != d.env.Store.Generation()
	}
	return d.life.State() == lifecycle.Passive
}

// Wake brings a passive daemon into memory, and one whose last records were
// lost with a full disk back to what is stored. It needs d.mu. What cannot be
// read now may be readable later: only a daemon whose history does not hold
// fails for good.
func (x Memory) Wake(ctx context.Context) error {
	d := x.d
	if !d.asleep() {
		return nil
	}
	if d.life.State() == lifecycle.Running {
		if x.Stale() == nil {
			d.generation = d.env.Store.Generation()
			return nil
		}
		d.env.Logger.Info("a daemon goes back to what is stored: the disk was full", "daemon", d.id.Origin())
		d.evict()
	}
	if err := d.last.WaitStored(ctx); err != nil && d.generation == d.env.Store.Generation() {
		return err
	}
	marked := d.marked
	if err := d.rebuild(ctx); err != nil {
		if errors.Is(err, store.ErrPoisoned) || ctx.Err() != nil {
			d.evict()
			return err
		}
		d.failLocked(err)
		d.meter.CameBack("event", d.life.State())
		return d.gone
	}
	d.meter.CameBack("event", lifecycle.Running)
	d.life.Signal(lifecycle.Wake)
	d.marked = marked
	d.Effects().StartEffects()
	d.Show()
	x.AccountMemory()
	return nil
}

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// progress is how far the recovery of daemons is.
type progress struct{ done, total atomic.Int64 }

// Recovery returns how many of the daemons that were active are recovered, of
// how many. Passive ones are recovered by their next event. A node with many daemons
// is ready before all are recovered.
func (r Node) Recovery() (done, total int) {
	return int(r.rt.progress.done.Load()), int(r.rt.progress.total.Load())
}

// recoverDaemons finds all daemons, and brings those back, side by side, that
// were not passive.
func (r *Runtime) recoverDaemons(ctx context.Context) error {
	passive := make(map[identity.EntityID]passiveRecord)
	err := r.env.Store.Scan(store.Passive, func(k, v []byte) error {
		var rec passiveRecord
		var id identity.EntityID
		if errors.Join(id.UnmarshalBinary(k), canon.Unmarshal(v, &rec)) == nil {
			passive[id] = rec // else the daemon is recovered as any other
		}
		return nil
	})
	if err != nil {
		return err
	}
	var active []*hosted
	err = r.env.Store.Scan(store.Daemons, func(k, v []byte) error {
		var id identity.EntityID
		if err := id.UnmarshalBinary(k); err != nil {
			return fmt.Errorf("%w: daemon %x: %w", store.ErrCorrupt, k, err)
		}
		d := knownDaemon(r.daemons, id, v)
		if daemon.LooksLikeID(d.Name()) && d.Name() != id.Origin().String() {
			r.env.Logger.Warn("a daemon's name looks like an id: write name: before it", "daemon", id.Origin(), "name", d.Name())
		}
		rec, ok := passive[id]
		if ok && d.State() == lifecycle.Migrating {
			d.lieDown(&rec)
			d.recoverLedger()
			d.recoverEffects()
		} else if d.State() == lifecycle.Migrating {
			active = append(active, d)
		}
		r.table.Put(d)
		return nil
	})
	if err != nil {
		return err
	}
	r.progress.total.Store(int64(len(active)))
	now, err := r.putOff(active)
	if err != nil {
		return err
	}
	r.reviveAll(ctx, now)
	return nil
}

func (r *Runtime) reviveAll(ctx context.Context, daemons []*hosted) {
	next := make(chan *hosted)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for d := range next {
				r.revive(ctx, d)
				if r.idle.limit > 0 && r.idle.bytes.Load() > r.idle.limit {
					d.passivate()
				}
				r.progress.done.Add(1)
			}
		})
	}
	said := time.Now()
	for i, d := range daemons {
		next <- d
		if time.Since(said) > 5*time.Second {
			said = time.Now()
			r.env.Logger.Info("recovering", "daemons", i+1, "of", len(daemons))
		}
	}
	close(next)
	workers.Wait()
}

// knownDaemon makes the table's entry of a daemon from its record: what it is, and
// not yet where it stands. A record that cannot be read makes a failed daemon.
func knownDaemon(node *engineConfig, id identity.EntityID, encoded []byte) *hosted {
	var rec daemonRecord
	if err := canon.Unmarshal(encoded, &rec); err != nil {
		d := newHosted(node, id, "", nil)
		d.name, d.key = id.Origin().String(), identity.PublicOnly(id)
		d.fail(fmt.Errorf("%w: the daemon's record: %w", store.ErrCorrupt, err))
		return d
	}
	d := newHosted(node, id, rec.Kind, bytes.Clone(canon.OrNil(rec.Module)))
	d.name, d.spawned, d.key = rec.Name, time.Unix(0, rec.Spawned), identity.PublicOnly(id)
	d.previous = bytes.Clone(canon.OrNil(rec.Previous))
	if err := d.setLimits(rec.Limits); err != nil {
		d.fail(fmt.Errorf("%w: the daemon's record: %w", store.ErrCorrupt, err))
	} else {
		d.show()
	}
	return d
}

// revive brings back one daemon; where it cannot, the daemon is there but
// takes no events, and its reason says why.
func (r *Runtime) revive(ctx context.Context, d *hosted) {
	d.Lock()
	defer d.Unlock()
	d.revive(ctx)
}

// revive is Runtime.revive. It needs d.mu.
func (d *hosted) revive(ctx context.Context) {
	if err := d.rebuild(ctx); err != nil {
		d.failLocked(err)
		d.meter.cameBack("start", d.life.State())
		return
	}
	d.meter.cameBack("start", lifecycle.Running)
	d.resume()
	d.accountMemory()
}

// recoverLedger reads what a passive daemon is subscribed to. Where that cannot
// be read, its next event finds out what it is.
func (d *hosted) recoverLedger() {
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
func (d *hosted) rebuild(ctx context.Context) error {
	encoded, err := d.env.Store.Get(store.Daemons, d.id[:])
	if err != nil {
		return err
	}
	var rec daemonRecord
	if err := canon.Unmarshal(encoded, &rec); err != nil {
		return fmt.Errorf("%w: the daemon's record: %w", store.ErrCorrupt, err)
	}
	d.stats, d.applied, d.payload, d.horizon, d.last = stats{errors: d.stats.errors}, 0, nil, snapshot.DedupTable{}, nil
	d.ledger, d.effects = channel.Ledger{}, nil
	return d.rebuildWith(ctx, rec.Key)
}

// stale returns nil when all that the daemon made is durable or on its way.
func (d *hosted) stale() error {
	if d.env.Store == nil || d.kind == "" || d.under == d.env.Store.Generation() {
		return nil
	}
	return d.last.waitStored(context.Background()) // a reopened store has answered it
}

// asleep reports whether what is in memory of a daemon that serves is not what is stored.
// It needs d.mu.
func (d *hosted) asleep() bool {
	if d.life.State() == lifecycle.Running {
		return d.env.Store != nil && d.kind != "" && d.under != d.env.Store.Generation()
	}
	return d.life.State() == lifecycle.Passive
}

// wake brings a passive daemon into memory, and one whose last records were
// lost with a full disk back to what is stored. It needs d.mu. What cannot be
// read now may be readable later: only a daemon whose history does not hold
// fails for good.
func (d *hosted) wake(ctx context.Context) error {
	if !d.asleep() {
		return nil
	}
	if d.life.State() == lifecycle.Running {
		if d.stale() == nil {
			d.under = d.env.Store.Generation()
			return nil
		}
		d.env.Logger.Info("a daemon goes back to what is stored: the disk was full", "daemon", d.id.Origin())
		d.drop()
	}
	if err := d.last.waitStored(ctx); err != nil && d.under == d.env.Store.Generation() {
		return err
	}
	marked := d.marked
	if err := d.rebuild(ctx); err != nil {
		if errors.Is(err, store.ErrPoisoned) || ctx.Err() != nil {
			d.drop()
			return err
		}
		d.failLocked(err)
		d.meter.cameBack("event", d.life.State())
		return d.gone
	}
	d.meter.cameBack("event", lifecycle.Running)
	d.life.Signal(lifecycle.Wake)
	d.marked = marked
	d.startEffects()
	d.show()
	d.accountMemory()
	return nil
}

package host

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/stored"
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
	passive := make(map[identity.EntityID]stored.Passive)
	err := r.env.Store.Scan(store.Passive, func(k, v []byte) error {
		var rec stored.Passive
		var id identity.EntityID
		if errors.Join(id.UnmarshalBinary(k), canon.Unmarshal(v, &rec)) == nil {
			passive[id] = rec // else the daemon is recovered as any other
		}
		return nil
	})
	if err != nil {
		return err
	}
	var active []*engine.Daemon
	err = r.env.Store.Scan(store.Daemons, func(k, v []byte) error {
		var id identity.EntityID
		if err := id.UnmarshalBinary(k); err != nil {
			return fmt.Errorf("%w: daemon %x: %w", store.ErrCorrupt, k, err)
		}
		d := engine.FromRecord(r.daemons, id, v)
		if daemon.LooksLikeID(d.Name()) && d.Name() != id.Origin().String() {
			r.env.Logger.Warn("a daemon's name looks like an id: write name: before it", "daemon", id.Origin(), "name", d.Name())
		}
		rec, ok := passive[id]
		if ok && d.Position().State == lifecycle.Migrating {
			d.Memory().LoadPassive(&rec)
			d.Making().RecoverLedger()
			d.Making().RecoverEffects()
		} else if d.Position().State == lifecycle.Migrating {
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

func (r *Runtime) reviveAll(ctx context.Context, daemons []*engine.Daemon) {
	next := make(chan *engine.Daemon)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for d := range next {
				r.revive(ctx, d)
				if r.idle.Limit > 0 && r.idle.Bytes.Load() > r.idle.Limit {
					d.Memory().Passivate()
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

// revive brings back one daemon; where it cannot, the daemon is there but
// takes no events, and its reason says why.
func (r *Runtime) revive(ctx context.Context, d *engine.Daemon) {
	d.Lock()
	defer d.Unlock()
	d.Making().Revive(ctx)
}

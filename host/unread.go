package host

import (
	"context"
	"runtime"
	"sync"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/history"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// A node with many daemons is ready before it has read them all. Those that are unread
// are in the table, and recovery holds their locks: to everybody else they are busy, and
// they are shown as their histories end. They are read one after the other, those first
// that somebody waits for. In a cluster nothing is done for an unread daemon: it is held
// against the directory, and compared with its standbys, once it is read.

// eagerMost is how many daemons are read before the node is ready. A node with more
// finds what is wrong with the others later.
const eagerMost = 1024

// putOff leaves daemons unread that can be, and returns the others.
func (r *Runtime) putOff(active []*engine.Daemon) (now []*engine.Daemon, err error) {
	if len(active) <= r.eager {
		return active, nil
	}
	released := make(map[identity.EntityID]bool)
	err = r.env.Store.Scan(store.Outgoing, func(k, _ []byte) error {
		var id identity.EntityID
		copy(id[:], k)
		released[id] = true
		return nil
	})
	if err != nil {
		return nil, err
	}
	stands := make([]*stored.Passive, len(active))
	var work sync.WaitGroup
	parts := runtime.GOMAXPROCS(0)
	for part := range parts {
		work.Go(func() {
			for i := r.eager + part; i < len(active); i += parts {
				if !released[active[i].Entity()] {
					stands[i] = history.End(r.env.Store, active[i].Entity())
				}
			}
		})
	}
	work.Wait()
	for i, d := range active {
		if stands[i] == nil {
			now = append(now, d)
			continue
		}
		d.Making().LeaveUnread(stands[i])
		r.reading.Add(d)
	}
	return now, nil
}

// readRest reads the unread daemons, until there are none or the runtime ends. It returns
// at once.
func (r *Runtime) readRest() {
	for range max(1, runtime.GOMAXPROCS(0)/2) { // the rest of the machine serves
		r.env.Work.Go(func() {
			for d := r.reading.Next(); d != nil; d = r.reading.Next() {
				r.read(r.env.Context, d)
			}
		})
	}
}

// read reads an unread daemon, whose lock it gives back.
func (r *Runtime) read(ctx context.Context, d *engine.Daemon) {
	if ctx.Err() != nil {
		d.End(lifecycle.Leave, daemon.ErrShuttingDown)
		d.Unlock()
		return
	}
	d.Making().Revive(ctx)
	r.progress.done.Add(1)
	serves := d.Position().State == lifecycle.Running
	if serves {
		d.Effects().StartEffects()
	}
	list := d.Position().Ledger.All()
	d.Unlock()
	r.cluster.WasRead(d)
	if serves {
		r.subscriber.Start(d.Entity(), list)
	}
	if r.idle.Limit > 0 && r.idle.Bytes.Load() > r.idle.Limit {
		d.Memory().Passivate()
	}
}

// dropUnread gives up what a runtime that did not start has not read.
func (r *Runtime) dropUnread() {
	for d := r.reading.Next(); d != nil; d = r.reading.Next() {
		d.End(lifecycle.Leave, daemon.ErrShuttingDown)
		d.Unlock()
	}
}

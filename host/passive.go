package host

import (
	"slices"
	"time"

	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/lifecycle"
)

// A daemon that is passive is an entry of the table: its code, state, key and
// horizon are on disk alone. Its next event brings it back, under its lock.

// idle makes daemons passive.
type idle struct {
	after time.Duration
	*engine.ActiveMemory
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
			case <-r.idle.Kick:
			}
			r.putIdleAway()
		}
	}()
}

// putIdleAway makes passive what was idle for long, and while there is too much
// in memory, what was idle longest.
func (r *Runtime) putIdleAway() {
	type candidate struct {
		d    *engine.Daemon
		used int64
	}
	all := r.table.Daemons()
	candidates := make([]candidate, 0, len(all))
	now, well := r.env.Clock().UnixNano(), r.env.Store.Err() == nil
	for _, d := range all {
		if d.TryLock() { // else it is busy
			if d.Position().State == lifecycle.Running {
				candidates = append(candidates, candidate{d, d.Position().Used})
				d.Memory().AccountMemory()
				d.Upkeep().NoteNear()
				if well && d.Memory().Stale() == nil {
					d.Upkeep().StoreIfDue(now)
				}
			}
			d.Unlock()
		}
	}
	slices.SortFunc(candidates, func(a, b candidate) int { return int(min(max(a.used-b.used, -1), 1)) })
	before := r.env.Clock().Add(-r.idle.after).UnixNano()
	least := r.idle.Limit // to leave room for some that come, if it is over the limit
	if r.idle.Bytes.Load() > least {
		least -= least / 8
	}
	for _, c := range candidates {
		long := r.idle.after > 0 && c.used <= before
		over := r.idle.Limit > 0 && r.idle.Bytes.Load() > least
		if !long && !over || r.env.Context.Err() != nil {
			return
		}
		c.d.Memory().Passivate()
	}
}

package rollout

import (
	"context"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/problem"
)

// Bounds of a rollout.
// rolloutPatience bounds what is done with one daemon.
const rolloutPatience = 2 * time.Minute

// walk gives many daemons a module, several at a time. Its fields are set before run.
type walk struct {
	daemons     []api.Rolled
	to          string // digest
	parallel    int
	maxFailures int
	noRollback  bool

	upgrade func(ctx context.Context, d api.Rolled, to string) error // of one daemon, to a module
	module  func(ctx context.Context, d api.Rolled) (string, error)  // that a daemon has now
	tell    func(api.Rolled, api.RolloutProgress)                    // what became of a daemon; one call at a time

	mu       sync.Mutex
	progress api.RolloutProgress
}

// run upgrades the daemons, in order. After more than maxFailures it begins with no other
// and, unless noRollback is set, rolls back those that it upgraded; ErrRollout then, and
// where some failed. When ctx ends it begins with no other, and rolls nothing back: it may
// be run again, and passes over what is done.
func (r *walk) run(ctx context.Context) (api.RolloutProgress, error) {
	r.progress = api.RolloutProgress{Total: len(r.daemons), Untouched: len(r.daemons)}
	var tried []api.Rolled
	r.each(ctx, r.daemons, r.goesOn, func(d api.Rolled) {
		if d.From == r.to {
			r.note(d, "already", nil)
			return
		}
		err := r.one(ctx, d, r.to)
		if d.State = "upgraded"; err != nil {
			d.State = "failed"
		}
		r.mu.Lock()
		tried = append(tried, d)
		r.mu.Unlock()
		r.note(d, d.State, err)
	})
	if ctx.Err() != nil {
		return r.progress, context.Cause(ctx)
	}
	if r.progress.Failed > r.maxFailures && !r.noRollback {
		r.each(ctx, tried, func() bool { return true }, func(d api.Rolled) { r.back(ctx, d) })
	}
	if r.progress.Failed > 0 {
		return r.progress, api.ErrRollout
	}
	return r.progress, nil
}

// goesOn reports whether another daemon may be begun with.
func (r *walk) goesOn() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress.Failed <= r.maxFailures
}

// each calls do for the daemons, several at a time, in order, while goesOn and ctx let it,
// and returns when all that were begun with are done.
func (r *walk) each(ctx context.Context, list []api.Rolled, goesOn func() bool, do func(api.Rolled)) {
	places := make(chan struct{}, max(r.parallel, 1))
	var work sync.WaitGroup
	defer work.Wait()
	for _, d := range list {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if ctx.Err() != nil || !goesOn() {
			return
		}
		work.Go(func() {
			defer func() { <-places }()
			do(d)
		})
	}
}

// one upgrades a daemon within rolloutPatience.
func (r *walk) one(ctx context.Context, d api.Rolled, to string) error {
	ctx, cancel := context.WithTimeout(ctx, rolloutPatience)
	defer cancel()
	return r.upgrade(ctx, d, to)
}

// back rolls back a daemon that was tried. What became of one that failed is not always
// known, so it is looked at.
func (r *walk) back(ctx context.Context, d api.Rolled) {
	now, err := r.module(ctx, d)
	if err == nil && now != r.to {
		return // it was not upgraded, or another hand gave it a third module
	}
	if err == nil {
		err = r.one(ctx, d, d.From)
	}
	if err != nil {
		r.note(d, "left", err)
		return
	}
	r.note(d, "rolled-back", nil)
}

// note counts what became of a daemon, and tells it.
func (r *walk) note(d api.Rolled, state string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := d.State
	d.State = state
	if err != nil {
		p := problem.Of(err)
		d.Reason, d.Code = err.Error(), p.Code
	}
	p := &r.progress
	switch state {
	case "already":
		p.Already++
		p.Untouched--
	case "upgraded":
		p.Upgraded++
		p.Untouched--
	case "failed":
		p.Failed++
		p.Untouched--
	case "rolled-back":
		p.RolledBack++
		if was == "upgraded" {
			p.Upgraded--
		}
	case "left":
		p.Left++
	}
	r.tell(d, *p)
}

// Package drain empties a node: it moves every daemon to other nodes, several at
// a time, and says of each what became of it.
package drain

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// Options say how to drain. Only Targets must be set.
type Options struct {
	// Targets returns the nodes that may take daemons and what they announce. It
	// is asked again now and then. Of those that may not be taken it says why.
	Targets func(context.Context) ([]placement.Node, error)

	Parallel      int  // daemons that move at a time; 0: DefaultParallel
	SmallestFirst bool // the order by memory; else the largest go first
	Logger        *slog.Logger
}

// DefaultParallel is how many daemons move at a time unless told.
const DefaultParallel = 4

// MaxParallel bounds that.
const MaxParallel = 64 // daemons that a drain moves at a time

// How long is waited for what.
const (
	patience   = 5 * time.Second  // for a target to confirm a release, before others go on
	settling   = 30 * time.Second // for it at the end
	notReady   = 5 * time.Second  // for a target that is not ready
	passPause  = 2 * time.Second  // between one pass and the next
	maxPasses  = 3                // without one daemon moved
	refreshing = 2 * time.Second  // after which targets are asked again
	avoiding   = 5 * time.Second  // for which a target that failed is left alone
)

// Drain is one emptying of a node. It is safe for concurrent use.
type Drain struct {
	rt      *host.Runtime
	options Options
	targets *targets
	began   time.Time
	cancel  context.CancelCauseFunc
	done    chan struct{}
	ended   time.Time // once done is closed

	mu      sync.Mutex
	grew    chan struct{} // closed and replaced when results grows
	total   int
	results []Result                       // final ones, in the order in which they came
	left    map[identity.EntityID]Result   // of daemons that may be tried again
	again   bool                           // the last pass left some for which that may help
	weights map[identity.EntityID]int64    // of daemons that are not final
	weight  struct{ done, all int64 }      // what the time left is estimated from
	open    map[identity.EntityID]released // released, and not confirmed
}

type released struct {
	m    *host.Migration
	name string
}

// Start begins to move the daemons of rt away and returns at once. rt should be
// draining (SetDraining), or daemons may come while others go. The drain ends by
// itself; ctx, or Cancel, ends it sooner: what is on its way then and not
// released stays.
func Start(ctx context.Context, rt *host.Runtime, o Options) *Drain {
	if o.Parallel == 0 {
		o.Parallel = DefaultParallel
	}

	o.Parallel = min(max(o.Parallel, 1), MaxParallel)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}

	d := &Drain{rt: rt, options: o, targets: &targets{ask: o.Targets}, began: time.Now(), done: make(chan struct{}), grew: make(chan struct{}),
		left: make(map[identity.EntityID]Result), weights: make(map[identity.EntityID]int64), open: make(map[identity.EntityID]released)}
	ctx, d.cancel = context.WithCancelCause(ctx)
	go func() {
		defer d.cancel(nil)
		d.run(ctx)
	}()

	return d
}

// Why a daemon was not moved when the drain ended before.
var (
	ErrEnded    = errors.New("the drain was ended")
	ErrDeadline = errors.New("the deadline came first")
)

// Cancel ends the drain before it is done.
func (d *Drain) Cancel() { d.cancel(ErrEnded) }

// Done is closed when the drain has ended.
func (d *Drain) Done() <-chan struct{} { return d.done }

// run makes passes over the daemons until none is left, or those that are left
// do not go.
func (d *Drain) run(ctx context.Context) {
	defer d.finish(ctx)
	for idle := 0; idle < maxPasses; idle++ {
		if idle > 0 && !d.sleep(ctx, passPause) || errors.Is(d.rt.Ready(), daemon.ErrShuttingDown) {
			return
		}

		queue, arriving := d.queue(), len(d.rt.Migrations().Arriving()) > 0
		if len(queue) == 0 && !arriving {
			return
		}

		d.mu.Lock()
		d.again = false
		d.mu.Unlock()
		if d.pass(ctx, queue) > 0 {
			idle = -1
			continue
		}

		d.mu.Lock()
		again := d.again
		d.mu.Unlock()
		if !again && !arriving || ctx.Err() != nil {
			return
		}
	}
}

// sleep waits, unless ctx ends first.
func (d *Drain) sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// queue returns the daemons that are to move, in order. Those that never can it
// ends.
func (d *Drain) queue() []daemon.Info {
	final := make(map[identity.EntityID]bool)
	d.mu.Lock()
	for _, r := range d.results {
		final[r.Entity] = true
	}

	for id := range d.open {
		final[id] = true
	}
	d.mu.Unlock()
	var out []daemon.Info

	for _, i := range d.rt.Daemons().List() {
		switch {
		case final[i.Entity] || i.Node != d.rt.Self():
		case i.State == "failed" || i.State == "diverged":
			d.expect(i)
			d.final(Result{Entity: i.Entity, Name: i.Name, Err: &StuckError{State: i.State, Reason: i.Reason}})
		default:
			d.expect(i)
			out = append(out, i)
		}
	}

	slices.SortStableFunc(out, func(a, b daemon.Info) int {
		if d.options.SmallestFirst {
			a, b = b, a
		}
		return cmp.Compare(b.MemoryBytes, a.MemoryBytes)
	})

	return out
}

// pass moves the daemons, several at a time, and returns how many are gone.
func (d *Drain) pass(ctx context.Context, queue []daemon.Info) int {
	next := make(chan daemon.Info)
	gone := make(chan int, d.options.Parallel)
	for range d.options.Parallel {
		go func() {
			n := 0
			for i := range next {
				if d.move(ctx, i) {
					n++
				}
			}
			gone <- n
		}()
	}

	for _, i := range queue {
		if ctx.Err() != nil {
			d.keep(Result{Entity: i.Entity, Name: i.Name, Err: why(ctx)}, false)
			continue
		}
		next <- i
	}

	close(next)
	sum := 0
	for range d.options.Parallel {
		sum += <-gone
	}
	return sum
}

// finish waits for what is released, and ends the drain.
func (d *Drain) finish(ctx context.Context) {
	wait, stop := context.WithTimeout(ctx, settling)
	defer stop()
	d.mu.Lock()
	open := d.open
	d.open = make(map[identity.EntityID]released)
	d.mu.Unlock()

	for id, o := range open {
		rep, err := o.m.Wait(wait)
		if err != nil {
			err = &UnconfirmedError{Node: o.m.Target()}
		}
		d.final(Result{Entity: id, Name: o.name, To: o.m.Target(), Report: rep, Attempts: 1, Err: err})
	}

	for _, r := range d.leftovers() {
		d.final(r)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = time.Now()
	close(d.done)
}

// leftovers says why those are still here that are.
func (d *Drain) leftovers() []Result {
	d.mu.Lock()
	out := make([]Result, 0, len(d.left))
	for _, r := range d.left {
		out = append(out, r)
	}
	d.mu.Unlock()

	for k := range out {
		var moved *daemon.MovedError
		if _, err := d.rt.Daemons().Inspect(out[k].Entity); errors.As(err, &moved) || errors.Is(err, daemon.ErrNotFound) {
			out[k].Left, out[k].Err = true, nil // by another hand
		}
	}

	for _, id := range d.rt.Migrations().Arriving() {
		d.expect(daemon.Info{Entity: id})
		out = append(out, Result{Entity: id, Name: id.Origin().String(), Err: ErrArriving})
	}

	slices.SortFunc(out, func(a, b Result) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

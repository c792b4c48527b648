package outbox

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"wasmhost.example/host/internal/env"
	"wasmhost.example/identity"
)

// Firer fires daemons' timers.
type Firer interface {
	// Fire has the daemon process its timers that are due. next is when to look at it
	// again, in Unix nanoseconds; 0: it has none. ErrGone; another error passes.
	Fire(ctx context.Context, id identity.EntityID) (next int64, err error)
}

// Timers fires the timers of this node's daemons. Timers are part of daemon state; this
// queue holds only each daemon's next due time. It is safe for concurrent use.
type Timers struct {
	env    *env.Env
	firer  Firer
	firstC chan struct{} // the first of them is another

	mu    sync.Mutex // after the daemons' locks
	due   map[identity.EntityID]*dueTimer
	queue timerQueue                 // of due
	busy  map[identity.EntityID]bool // whose timers are being fired; true: another is due meanwhile
}

// dueTimer is when to look at a daemon.
type dueTimer struct {
	at    int64 // Unix nanoseconds
	id    identity.EntityID
	index int // in the queue
}

// timerQueue is a heap.
type timerQueue []*dueTimer

func (q timerQueue) Len() int           { return len(q) }
func (q timerQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q timerQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *timerQueue) Push(x any) {
	t := x.(*dueTimer)
	t.index = len(*q)
	*q = append(*q, t)
}

func (q *timerQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}

// NewTimers returns timers of which none is due.
func NewTimers(e *env.Env, f Firer) *Timers {
	return &Timers{env: e, firer: f, firstC: make(chan struct{}, 1), due: make(map[identity.EntityID]*dueTimer), busy: make(map[identity.EntityID]bool)}
}

// Set has the daemon looked at then, in Unix nanoseconds, or earlier where that was asked
// for. A daemon has one place in the queue, however often it is set. The caller may have
// the daemon's lock.
func (t *Timers) Set(id identity.EntityID, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.due[id]

	switch {
	case one == nil:
		one = &dueTimer{at: at, id: id}
		t.due[id] = one
		heap.Push(&t.queue, one)

	case one.at <= at:
		return
	default:
		one.at = at
		heap.Fix(&t.queue, one.index)
	}

	if t.queue[0] != one {
		return
	}

	select {
	case t.firstC <- struct{}{}:
	default:
	}
}

// Pauses of Timers: how long to sleep at most, for the clock may be set, and
// when to try again what could not be done.
const (
	longestSleep = time.Minute
	fireRetry    = time.Second
)

// Start fires timers until the runtime ends.
func (t *Timers) Start() {
	t.env.Background(func(ctx context.Context) {
		timer := time.NewTimer(longestSleep)
		defer timer.Stop()
		for {
			timer.Reset(t.fire())
			select {
			case <-timer.C:
			case <-t.firstC:
			case <-ctx.Done():
				return
			}
		}
	})
}

// fire begins to fire what is due, and returns how long to sleep.
func (t *Timers) fire() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.env.Clock().UnixNano()

	for len(t.queue) > 0 {
		first := t.queue[0]
		if first.at > now {
			return min(time.Duration(first.at-now), longestSleep)
		}

		heap.Pop(&t.queue)
		delete(t.due, first.id)
		if _, ok := t.busy[first.id]; ok {
			t.busy[first.id] = true
			continue
		}

		if t.env.Background(func(ctx context.Context) { t.fireOf(ctx, first.id) }) {
			t.busy[first.id] = false
		}
	}

	return longestSleep
}

// fireOf fires one daemon's timers, and sets it for the next.
func (t *Timers) fireOf(ctx context.Context, id identity.EntityID) {
	next, err := t.firer.Fire(ctx, id)
	t.mu.Lock()
	again := t.busy[id]
	delete(t.busy, id)
	t.mu.Unlock()

	switch {
	case err == nil && again:
		t.Set(id, t.env.Clock().UnixNano())
	case err == nil && next == 0, errors.Is(err, ErrGone), ctx.Err() != nil:
	case err == nil:
		t.Set(id, next)
	default:
		t.env.Logger.Debug("firing a daemon's timers", "daemon", id.Origin(), "error", err)
		t.Set(id, t.env.Clock().Add(fireRetry).UnixNano())
	}
}

package host

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"wasmhost/host/internal/env"
	"wasmhost/identity"
)

// alarms fires the timers of this node's daemons. A timer is part of its daemon's
// state; here is only when to look at which daemon.
type alarms struct {
	rt   *Runtime
	env  *env.Env
	kick chan struct{} // the first of them is another

	mu    sync.Mutex
	due   map[identity.EntityID]*alarm
	queue alarmQueue                 // of due
	busy  map[identity.EntityID]bool // whose timers are being fired; true: another is due meanwhile
}

type alarm struct {
	at    int64 // Unix nanoseconds
	id    identity.EntityID
	index int // in the queue
}

// alarmQueue is a heap.
type alarmQueue []*alarm

func (q alarmQueue) Len() int           { return len(q) }
func (q alarmQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q alarmQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *alarmQueue) Push(x any) {
	a := x.(*alarm)
	a.index = len(*q)
	*q = append(*q, a)
}

func (q *alarmQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return last
}

func newAlarms(r *Runtime) *alarms {
	return &alarms{rt: r, env: r.env, kick: make(chan struct{}, 1), due: make(map[identity.EntityID]*alarm), busy: make(map[identity.EntityID]bool)}
}

// see looks at the daemon's first timer. It needs d.mu.
func (a *alarms) see(d *hosted) {
	if at := d.nextRound(); at > 0 {
		a.set(d.id, at)
	}
}

// set has the daemon looked at then, or earlier where that was asked for. A daemon has
// one place in the queue, however often it is set.
func (a *alarms) set(id identity.EntityID, at int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.due[id]
	switch {
	case one == nil:
		one = &alarm{at: at, id: id}
		a.due[id] = one
		heap.Push(&a.queue, one)
	case one.at <= at:
		return
	default:
		one.at = at
		heap.Fix(&a.queue, one.index)
	}
	if a.queue[0] != one {
		return
	}
	select {
	case a.kick <- struct{}{}:
	default:
	}
}

// Pauses of alarms: how long to sleep at most, for the clock may be set, and
// when to try again what could not be done.
const (
	longestSleep = time.Minute
	alarmRetry   = time.Second
)

// start fires timers until the runtime ends.
func (a *alarms) start() {
	if !a.env.Work.Begin() {
		return
	}
	go func() {
		defer a.env.Work.Done()
		timer := time.NewTimer(longestSleep)
		defer timer.Stop()
		for {
			timer.Reset(a.fire())
			select {
			case <-timer.C:
			case <-a.kick:
			case <-a.env.Context.Done():
				return
			}
		}
	}()
}

// fire begins to fire what is due, and returns how long to sleep.
func (a *alarms) fire() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.env.Clock().UnixNano()
	for len(a.queue) > 0 {
		first := a.queue[0]
		if first.at > now {
			return min(time.Duration(first.at-now), longestSleep)
		}
		heap.Pop(&a.queue)
		delete(a.due, first.id)
		if _, ok := a.busy[first.id]; ok {
			a.busy[first.id] = true
			continue
		}
		if !a.env.Work.Begin() {
			continue
		}
		a.busy[first.id] = false
		go func() {
			defer a.env.Work.Done()
			a.fireOf(a.env.Context, first.id)
		}()
	}
	return longestSleep
}

func (a *alarms) fireOf(ctx context.Context, id identity.EntityID) {
	next, err := a.rt.fireDue(ctx, id)
	a.mu.Lock()
	again := a.busy[id]
	delete(a.busy, id)
	a.mu.Unlock()
	var moved *MovedError
	switch {
	case err == nil && again:
		a.set(id, a.env.Clock().UnixNano())
	case err == nil && next == 0, errors.As(err, &moved), errors.Is(err, ErrNotFound), errors.Is(err, ErrStopped), errors.Is(err, ErrHalted), errors.Is(err, ErrHeld), ctx.Err() != nil:
	case err == nil:
		a.set(id, next)
	default:
		a.env.Logger.Debug("firing a daemon's timers", "daemon", id.Origin(), "error", err)
		a.set(id, a.env.Clock().Add(alarmRetry).UnixNano())
	}
}

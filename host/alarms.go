package host

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"wasmhost/identity"
)

// alarms fires the timers of this node's daemons. A timer is part of its daemon's
// state; here is only when to look at which daemon.
type alarms struct {
	rt   *Runtime
	kick chan struct{} // the first of them is another

	mu    sync.Mutex
	due   map[identity.EntityID]int64
	queue alarmQueue                 // holds what due has, and what it had before
	busy  map[identity.EntityID]bool // whose timers are being fired; true: another is due meanwhile
}

type alarmAt struct {
	at int64 // Unix nanoseconds
	id identity.EntityID
}

// alarmQueue is a heap.
type alarmQueue []alarmAt

func (q alarmQueue) Len() int           { return len(q) }
func (q alarmQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q alarmQueue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *alarmQueue) Push(x any)        { *q = append(*q, x.(alarmAt)) }
func (q *alarmQueue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

func newAlarms(r *Runtime) *alarms {
	return &alarms{rt: r, kick: make(chan struct{}, 1), due: make(map[identity.EntityID]int64), busy: make(map[identity.EntityID]bool)}
}

// see looks at the daemon's first timer. It needs d.mu.
func (a *alarms) see(d *hosted) {
	if first, ok := d.effects.Next(); ok {
		a.set(d.id, first.At)
	}
}

func (a *alarms) set(id identity.EntityID, at int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.due[id] == at {
		return
	}
	a.due[id] = at
	heap.Push(&a.queue, alarmAt{at, id})
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
	if !a.rt.startWork() {
		return
	}
	go func() {
		defer a.rt.work.Done()
		timer := time.NewTimer(longestSleep)
		defer timer.Stop()
		for {
			timer.Reset(a.fire())
			select {
			case <-timer.C:
			case <-a.kick:
			case <-a.rt.ctx.Done():
				return
			}
		}
	}()
}

// fire begins to fire what is due, and returns how long to sleep.
func (a *alarms) fire() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.rt.clock().UnixNano()
	for len(a.queue) > 0 {
		first := a.queue[0]
		if a.due[first.id] == first.at && first.at > now {
			return min(time.Duration(first.at-now), longestSleep)
		}
		heap.Pop(&a.queue)
		if a.due[first.id] != first.at {
			continue // it was set anew
		}
		delete(a.due, first.id)
		if _, ok := a.busy[first.id]; ok {
			a.busy[first.id] = true
			continue
		}
		if !a.rt.startWork() {
			continue
		}
		a.busy[first.id] = false
		go func() {
			defer a.rt.work.Done()
			a.fireOf(a.rt.ctx, first.id)
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
		a.set(id, a.rt.clock().UnixNano())
	case err == nil && next == 0, errors.As(err, &moved), errors.Is(err, ErrNotFound), errors.Is(err, ErrStopped), ctx.Err() != nil:
	case err == nil:
		a.set(id, next)
	default:
		a.rt.logger.Debug("firing a daemon's timers", "daemon", id.Origin(), "error", err)
		a.set(id, a.rt.clock().Add(alarmRetry).UnixNano())
	}
}

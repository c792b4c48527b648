// Package fair shares a node among the daemons for which the node itself begins
// work: timers that fire, events that daemons send and publish, feeds of channels.
// External senders do not pass through it. It knows nothing of daemons: each has a
// Flow, and takes a turn for every piece of work.
package fair

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Bounds of a Scheduler. What is in flight is submitted to the store and not yet
// durable.
const (
	MaxFlight      = 4 << 20 // bytes in flight of all flows; the one turn that passes it is let through
	MaxFlowFlight  = 1 << 20 // bytes in flight of one flow
	MaxFlowRecords = 64      // batches in flight of one flow

	// A turn is charged its running time, this much at least, and this much for
	// each byte that it hands to the store.
	leastCost   = 10 * time.Microsecond
	costPerByte = 10 * time.Nanosecond
)

// Scheduler decides whose turn it is: of the flows that wait, the one that has had
// the least so far. It is safe for concurrent use.
type Scheduler struct {
	mu      sync.Mutex
	slots   int
	running int
	flight  int64
	clock   time.Duration // virtual: what the flow whose turn began last had had
	ready   flows
}

// New returns a scheduler that lets so many turns run at once, at least one.
func New(slots int) *Scheduler { return &Scheduler{slots: max(slots, 1)} }

// Flow is one daemon's share. It is safe for concurrent use: those who wait for
// turns of one flow get them one at a time, first come first served.
type Flow struct {
	s *Scheduler

	// Guarded by s.mu.
	had     time.Duration // virtual time
	waiting []*waiter
	busy    bool // a turn has begun and not ended
	flight  int64
	records int
	index   int // in s.ready, from 1; 0: it is not there

	pace pace
	used usage
}

type waiter struct{ turn chan struct{} } // closed when the turn begins

// Flow returns a flow that has waited for nothing yet. Its rate is not bounded.
func (s *Scheduler) Flow() *Flow { return &Flow{s: s} }

// Turn is leave to work. It ends with End.
type Turn struct {
	f      *Flow
	began  time.Time
	ran    time.Duration // before it was parked
	parked bool
}

// Begin waits for the flow's turn. It returns the context's error where ctx ends
// first.
func (f *Flow) Begin(ctx context.Context) (*Turn, error) {
	if ctx.Err() != nil {
		return nil, fmt.Errorf("waiting for a turn: %w", context.Cause(ctx))
	}

	w := &waiter{make(chan struct{})}
	s := f.s
	s.mu.Lock()
	f.waiting = append(f.waiting, w)
	s.consider(f)
	s.dispatch()
	s.mu.Unlock()

	select {
	case <-w.turn:
	case <-ctx.Done():
		if f.withdraw(w) {
			return nil, fmt.Errorf("waiting for a turn: %w", context.Cause(ctx))
		}
	}

	return &Turn{f: f, began: time.Now()}, nil
}

// withdraw reports whether w was still waiting.
func (f *Flow) withdraw(w *waiter) bool {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	for i, other := range f.waiting {
		if other == w {
			f.waiting = append(f.waiting[:i], f.waiting[i+1:]...)
			return true
		}
	}

	return false
}

// Park gives the slot to another while the caller waits for something that is not
// the processor. The flow has no other turn meanwhile.
func (t *Turn) Park() {
	t.ran += time.Since(t.began)
	t.parked = true
	s := t.f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	s.dispatch()
}

// Resume goes on after Park. It does not wait, since the caller may hold a lock:
// more turns than there are slots may run until one ends.
func (t *Turn) Resume() {
	t.began, t.parked = time.Now(), false
	t.f.s.mu.Lock()
	defer t.f.s.mu.Unlock()
	t.f.s.running++
}

// Took returns for how long the turn has run.
func (t *Turn) Took() time.Duration { return t.ran + time.Since(t.began) }

// End charges the flow for the turn, and returns how long it ran.
func (t *Turn) End() time.Duration {
	if t.parked {
		t.Resume()
	}

	took := t.Took()
	f, s := t.f, t.f.s
	f.used.time.Add(int64(took))
	s.mu.Lock()
	defer s.mu.Unlock()
	f.had += max(took, leastCost)
	f.busy = false
	s.running--
	s.consider(f)
	s.dispatch()
	return took
}

// Fly says that a batch of so many bytes was handed to the store. Stored and Land must
// follow, each once.
func (f *Flow) Fly(bytes int) {
	f.used.bytes.Add(int64(bytes))
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	f.had += time.Duration(bytes) * costPerByte
	f.flight += int64(bytes)
	f.records++
	f.s.flight += int64(bytes)
}

// Stored says that this node's disk has answered for a batch: it is in no other
// flow's way.
func (f *Flow) Stored(bytes int) {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flight -= int64(bytes)
	s.dispatch()
}

// Land says that a batch is durable wherever it has to be, or refused.
func (f *Flow) Land(bytes int) {
	s := f.s
	s.mu.Lock()
	defer s.mu.Unlock()
	f.flight -= int64(bytes)
	f.records--
	s.consider(f)
	s.dispatch()
}

// consider makes the flow ready where it may have a turn. It needs s.mu.
func (s *Scheduler) consider(f *Flow) {
	if f.index > 0 || !f.mayBegin() {
		return
	}
	f.had = max(f.had, s.clock) // what it did not use before is not saved up
	heap.Push(&s.ready, f)
}

func (f *Flow) mayBegin() bool {
	return len(f.waiting) > 0 && !f.busy && f.flight < MaxFlowFlight && f.records < MaxFlowRecords
}

// dispatch begins turns. It needs s.mu.
func (s *Scheduler) dispatch() {
	for s.running < s.slots && s.flight < MaxFlight && len(s.ready) > 0 {
		f := heap.Pop(&s.ready).(*Flow)
		if !f.mayBegin() {
			continue // it withdrew; consider puts it back
		}

		w := f.waiting[0]
		f.waiting[0] = nil
		if f.waiting = f.waiting[1:]; len(f.waiting) == 0 {
			f.waiting = nil
		}

		s.clock = max(s.clock, f.had)
		f.busy = true
		s.running++
		close(w.turn)
	}
}

// Waiting returns how many wait for a turn of the flow.
func (f *Flow) Waiting() int {
	f.s.mu.Lock()
	defer f.s.mu.Unlock()
	return len(f.waiting)
}

// flows is a heap, by what they have had.
type flows []*Flow

func (q flows) Len() int           { return len(q) }
func (q flows) Less(i, j int) bool { return q[i].had < q[j].had }
func (q flows) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i+1, j+1
}

func (q *flows) Push(x any) {
	f := x.(*Flow)
	*q = append(*q, f)
	f.index = len(*q)
}

func (q *flows) Pop() any {
	old := *q
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	f.index = 0
	return f
}

// usage is what a flow has used.
type usage struct{ time, bytes, events atomic.Int64 }

// Usage is what a flow has used since it was made.
type Usage struct {
	Time   time.Duration // of the processor, in turns
	Bytes  int64         // handed to the store in turns
	Events int64         // that were paid for
}

// Used returns what the flow has used.
func (f *Flow) Used() Usage {
	return Usage{time.Duration(f.used.time.Load()), f.used.bytes.Load(), f.used.events.Load()}
}

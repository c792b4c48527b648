// Package budget bounds the bytes that queues, windows and waiting callers hold.
//
// Budgets form a tree: a stream's is a child of its peer's or token's, which is a
// child of the node's. Bytes that are acquired count in a budget and in all above
// it, and only while they fit in each of them.
package budget

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"sync"
)

// ErrFull says that a budget has no room. The error is a *FullError.
var ErrFull = errors.New("a budget of bytes is used up")

// FullError says which budget refused how many bytes.
type FullError struct {
	Name  string
	Level string // stream, peer, node, ...: whose limit it is
	Want  int64
	Limit int64
	Never bool // Want is over Limit: waiting does not help
}

func (e *FullError) Error() string {
	if e.Never {
		return fmt.Sprintf("%s: %d bytes; the %s's limit is %d", e.Name, e.Want, e.Level, e.Limit)
	}
	return fmt.Sprintf("%s: no room for %d bytes; the %s's limit of %d is used up", e.Name, e.Want, e.Level, e.Limit)
}

// Unwrap makes every FullError an ErrFull.
func (e *FullError) Unwrap() error { return ErrFull }

// Budget is a number of bytes that may be held at a time. It is safe for
// concurrent use. A nil Budget has no limit and counts nothing.
//
// Callers that wait are served in order at the budget that lacks the room. A
// caller that waits for room in its own stream's budget does not hold up those of
// other streams.
type Budget struct {
	name   string
	level  string
	limit  int64
	lone   bool // what is over the limit fits where nothing else is held
	parent *Budget
	root   *root

	// Under root.mu:
	used    int64
	queue   list.List // of *waiter, in order: those for which this budget lacks the room
	peak    int64
	refused uint64
}

// root is what the budgets of a tree share.
type root struct {
	mu      sync.Mutex
	waiting int
	refused uint64
	asked   uint64 // numbers the waiters
}

// waiter is a caller in the queue of the budget that lacks the room for it.
type waiter struct {
	at    *Budget // what it asks of
	n     int64
	order uint64
	in    *Budget // whose queue it is in; nil: granted
	place *list.Element
	ready chan struct{} // closed when granted
}

// New makes the budget at the top of a tree. The level says whose it is in errors.
func New(name, level string, limit int64) *Budget {
	return &Budget{name: name, level: level, limit: limit, root: &root{}}
}

// Child makes a budget below b. It needs no closing: it is gone with its last
// user. Of a nil b it is nil.
func (b *Budget) Child(level string, limit int64) *Budget {
	if b == nil {
		return nil
	}
	return &Budget{name: b.name, level: level, limit: limit, parent: b, root: b.root}
}

// Lone is Child in which one acquisition over the limit fits while nothing else is
// held: for streams whose single items may be larger than what they may queue.
func (b *Budget) Lone(level string, limit int64) *Budget {
	c := b.Child(level, limit)
	if c != nil {
		c.lone = true
	}
	return c
}

// fits needs root.mu.
func (b *Budget) fits(n int64) bool { return n <= b.limit-b.used || b.lone && b.used == 0 }

// never reports whether n bytes do not even fit while nothing is held.
func (b *Budget) never(n int64) bool { return n > b.limit && !b.lone }

// Limit returns the most that can be acquired at a time: the smallest limit of b
// and those above it.
func (b *Budget) Limit() int64 {
	if b == nil {
		return 1<<63 - 1
	}

	least := int64(1<<63 - 1)
	for up := b; up != nil; up = up.parent {
		if !up.lone {
			least = min(least, up.limit)
		}
	}

	return least
}

// TryAcquire takes n bytes, or returns a *FullError where they do not fit or others
// wait for room.
func (b *Budget) TryAcquire(n int64) error {
	if b == nil || n <= 0 {
		return nil
	}

	b.root.mu.Lock()
	defer b.root.mu.Unlock()
	if full := b.lacks(n, nil); full != nil {
		full.refused++
		b.root.refused++
		return &FullError{Name: b.name, Level: full.level, Want: n, Limit: full.limit, Never: full.never(n)}
	}

	b.take(n)
	return nil
}

// Take is TryAcquire for a caller that waits where there is no room: what does not fit
// is no refusal.
func (b *Budget) Take(n int64) bool {
	if b == nil || n <= 0 {
		return true
	}

	b.root.mu.Lock()
	defer b.root.mu.Unlock()
	if b.lacks(n, nil) != nil {
		return false
	}

	b.take(n)
	return true
}

// Acquire takes n bytes as soon as they fit. It returns a *FullError at once where
// they never do, and the context's cause where ctx ends first: then nothing is
// taken.
func (b *Budget) Acquire(ctx context.Context, n int64) error {
	if b == nil || n <= 0 {
		return nil
	}

	b.root.mu.Lock()
	for up := b; up != nil; up = up.parent {
		if up.never(n) {
			up.refused++
			b.root.refused++
			b.root.mu.Unlock()
			return &FullError{Name: b.name, Level: up.level, Want: n, Limit: up.limit, Never: true}
		}
	}

	full := b.lacks(n, nil)
	if full == nil {
		b.take(n)
		b.root.mu.Unlock()
		return nil
	}

	b.root.asked++
	b.root.waiting++
	w := &waiter{at: b, n: n, order: b.root.asked, ready: make(chan struct{})}
	w.join(full)
	b.root.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}

	b.root.mu.Lock()
	defer b.root.mu.Unlock()
	if w.in == nil {
		return nil // it was granted meanwhile
	}

	left := w.in
	w.leave()
	b.root.waiting--
	left.grant() // those behind it may fit
	return fmt.Errorf("waiting for room for %d bytes (%s): %w", n, b.name, context.Cause(ctx))
}

// Add counts n bytes that exist already, whatever the limit: what was reserved was
// too little. Nothing else is granted until they fit.
func (b *Budget) Add(n int64) {
	if b == nil || n <= 0 {
		return
	}
	b.root.mu.Lock()
	defer b.root.mu.Unlock()
	b.take(n)
}

// Release gives n bytes back that were acquired or added.
func (b *Budget) Release(n int64) {
	if b == nil || n <= 0 {
		return
	}

	b.root.mu.Lock()
	defer b.root.mu.Unlock()
	for up := b; up != nil; up = up.parent {
		if up.used -= n; up.used < 0 {
			panic(fmt.Sprintf("budget: %s of the %s was released more than acquired", up.name, up.level))
		}
	}

	if b.root.waiting == 0 {
		return
	}

	for up := b; up != nil; up = up.parent {
		up.grant()
	}
}

// Use is what a budget holds.
type Use struct {
	Name    string
	Level   string
	Used    int64 // bytes
	Peak    int64 // the most that Used has been
	Limit   int64
	Waiting int    // callers that wait for room in this budget
	Refused uint64 // requests that found no room and did not wait, or never fit
}

// Use returns what b holds. Waiting and Refused are those that b itself lacked the
// room for.
func (b *Budget) Use() Use {
	if b == nil {
		return Use{}
	}
	b.root.mu.Lock()
	defer b.root.mu.Unlock()
	return Use{Name: b.name, Level: b.level, Used: b.used, Peak: b.peak, Limit: b.limit, Waiting: b.queue.Len(), Refused: b.refused}
}

// Contended reports whether others wait for room that b's parents lack: what b holds
// keeps them waiting.
func (b *Budget) Contended() bool {
	if b == nil {
		return false
	}

	b.root.mu.Lock()
	defer b.root.mu.Unlock()
	for up := b.parent; up != nil; up = up.parent {
		if up.queue.Len() > 0 {
			return true
		}
	}

	return false
}

// lacks returns the lowest budget that has no room for n, or in whose queue others
// than w come first; nil: there is room in all. It needs root.mu.
func (b *Budget) lacks(n int64, w *waiter) *Budget {
	for up := b; up != nil; up = up.parent {
		first := up.queue.Front()
		if !up.fits(n) || first != nil && (w == nil || first.Value.(*waiter).order < w.order) {
			return up
		}
	}
	return nil
}

// take needs root.mu.
func (b *Budget) take(n int64) {
	for up := b; up != nil; up = up.parent {
		up.used += n
		up.peak = max(up.peak, up.used)
	}
}

// grant serves the queue of b, in order, as far as there is room. A caller for whom
// another budget lacks the room goes on to the queue there. It needs root.mu.
func (b *Budget) grant() {
	for e := b.queue.Front(); e != nil; e = b.queue.Front() {
		w := e.Value.(*waiter)
		switch full := w.at.lacks(w.n, w); full {
		case nil:
			w.leave()
			w.at.take(w.n)
			b.root.waiting--
			close(w.ready)

		case b:
			return
		default:
			w.leave()
			w.join(full)
		}
	}
}

// join puts w in the queue of b behind those that asked before. It needs root.mu.
func (w *waiter) join(b *Budget) {
	w.in = b
	for e := b.queue.Back(); e != nil; e = e.Prev() {
		if e.Value.(*waiter).order < w.order {
			w.place = b.queue.InsertAfter(w, e)
			return
		}
	}
	w.place = b.queue.PushFront(w)
}

// leave takes w out of its queue. It needs root.mu.
func (w *waiter) leave() {
	w.in.queue.Remove(w.place)
	w.in, w.place = nil, nil
}

package feed

import (
	"context"
	"sync"

	"wasmhost.example/host/budget"
)

// Queue is what waits for one follower of a feed. It grows as values wait and has no
// memory of its own while none do. Its fields are guarded by the feed's lock.
type Queue[T any] struct {
	of    *Feed[T]
	most  int            // values that may wait
	room  *budget.Budget // for the bytes of those that wait
	size  func(*T) int64 // bytes of a value
	leave func()         // gives the caller's budget back

	waiting []T
	first   int // index in waiting of the next value
	bytes   int64
	ended   bool          // nothing more comes
	more    chan struct{} // there may be a value, or the end
}

// Budget says what a follower may hold: the pool of the node, and the bytes of
// one follower.
type Budget struct {
	Pool *budget.Pool
	One  int64
}

// followerCost is what a waiting value takes besides its payload.
const followerCost = 256

// Follow returns a queue of the values published from now on. It ends when the feed
// closes, or when its reader lags by more than most values or more bytes than its
// budget has. The reader calls stop when it is done.
func (f *Feed[T]) Follow(ctx context.Context, most int, of Budget, size func(*T) int64) *Queue[T] {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.follow(ctx, most, of, size)
}

// follow needs f.mu.
func (f *Feed[T]) follow(ctx context.Context, most int, of Budget, size func(*T) int64) *Queue[T] {
	caller, leave := of.Pool.Of(ctx)
	q := &Queue[T]{of: f, most: most, room: caller.Lone("follower", of.One), size: size, leave: sync.OnceFunc(leave), more: make(chan struct{}, 1)}
	if f.closed {
		q.ended = true
		return q
	}
	if f.queues == nil {
		f.queues = make(map[*Queue[T]]struct{})
	}
	f.queues[q] = struct{}{}
	return q
}

// Stream is Follow with a channel, which is closed when the queue ends or ctx does.
func (f *Feed[T]) Stream(ctx context.Context, most int, of Budget, size func(*T) int64) <-chan T {
	return f.Follow(ctx, most, of, size).stream(ctx, nil)
}

// stream returns a channel of first, and of what the queue has. It stops the queue.
func (q *Queue[T]) stream(ctx context.Context, first []T) <-chan T {
	out := make(chan T)
	go func() {
		defer close(out)
		defer q.Stop()
		for {
			var v T
			if len(first) > 0 {
				v, first = first[0], first[1:]
			} else if next, ok := q.Next(ctx); ok {
				v = next
			} else {
				return
			}
			select {
			case out <- v:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}

// Next waits for a value; false at the end, or when ctx ends.
func (q *Queue[T]) Next(ctx context.Context) (v T, ok bool) {
	if !q.Await(ctx) {
		return v, false
	}
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	return q.take(), true
}

// Await waits until Next has a value; false at the end, or when ctx ends. It has no value
// on its stack: thousands may wait here.
func (q *Queue[T]) Await(ctx context.Context) bool {
	for {
		q.of.mu.Lock()
		waits, ended := q.first < len(q.waiting), q.ended
		q.of.mu.Unlock()
		if waits || ended {
			return waits
		}
		select {
		case <-q.more:
		case <-ctx.Done():
			return false
		}
	}
}

// take needs the feed's lock, and a value that waits.
func (q *Queue[T]) take() T {
	var none T
	v := q.waiting[q.first]
	q.waiting[q.first] = none
	q.first++
	n := q.size(&v) + followerCost
	q.bytes -= n
	q.room.Release(n)
	if q.first == len(q.waiting) {
		q.waiting, q.first = nil, 0
	}
	return v
}

// add puts a value in the queue, or ends the queue where there is no room. It needs
// the feed's lock.
func (q *Queue[T]) add(v T) {
	n := q.size(&v) + followerCost
	if len(q.waiting)-q.first >= q.most || q.room.TryAcquire(n) != nil {
		q.end()
		return
	}
	q.bytes += n
	if q.first > 0 && len(q.waiting) == cap(q.waiting) { // the places of those taken
		n := copy(q.waiting, q.waiting[q.first:])
		clear(q.waiting[n:])
		q.waiting, q.first = q.waiting[:n], 0
	}
	q.waiting = append(q.waiting, v)
	q.wake()
}

// end says that nothing more comes; what waits can still be read. It needs the
// feed's lock.
func (q *Queue[T]) end() {
	q.ended = true
	delete(q.of.queues, q)
	q.wake()
}

func (q *Queue[T]) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// Stop ends the queue and gives back what it holds.
func (q *Queue[T]) Stop() {
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	q.end()
	q.room.Release(q.bytes)
	q.waiting, q.first, q.bytes = nil, 0, 0
	q.leave()
}

package host

import (
	"context"
	"sync"

	"wasmhost.example/host/budget"
)

// queue is what waits for one follower of a feed. It grows as values wait and has no
// memory of its own while none do. Its fields are guarded by the feed's lock.
type queue[T any] struct {
	of    *feed[T]
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

// followBudget says what a follower may hold: the pool of the node, and the bytes of
// one follower.
type followBudget struct {
	pool *budget.Pool
	one  int64
}

// followerCost is what a waiting value takes besides its payload.
const followerCost = 256

// follow returns a queue of the values published from now on. It ends when the feed
// closes, or when its reader lags by more than most values or more bytes than its
// budget has. The reader calls stop when it is done.
func (f *feed[T]) follow(ctx context.Context, most int, of followBudget, size func(*T) int64) *queue[T] {
	caller, leave := of.pool.Of(ctx)
	q := &queue[T]{of: f, most: most, room: caller.Lone("follower", of.one), size: size, leave: sync.OnceFunc(leave), more: make(chan struct{}, 1)}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		q.ended = true
		return q
	}
	if f.queues == nil {
		f.queues = make(map[*queue[T]]struct{})
	}
	f.queues[q] = struct{}{}
	return q
}

// stream is follow with a channel, which is closed when the queue ends or ctx does.
func (f *feed[T]) stream(ctx context.Context, most int, of followBudget, size func(*T) int64) <-chan T {
	q := f.follow(ctx, most, of, size)
	out := make(chan T)
	go func() {
		defer close(out)
		defer q.stop()
		for {
			v, ok := q.next(ctx)
			if !ok {
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

// next waits for a value; false at the end, or when ctx ends.
func (q *queue[T]) next(ctx context.Context) (v T, ok bool) {
	if !q.await(ctx) {
		return v, false
	}
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	return q.take(), true
}

// await waits until next has a value; false at the end, or when ctx ends. It has no value
// on its stack: thousands may wait here.
func (q *queue[T]) await(ctx context.Context) bool {
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
func (q *queue[T]) take() T {
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
func (q *queue[T]) add(v T) {
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
func (q *queue[T]) end() {
	q.ended = true
	delete(q.of.queues, q)
	q.wake()
}

func (q *queue[T]) wake() {
	select {
	case q.more <- struct{}{}:
	default:
	}
}

// stop ends the queue and gives back what it holds.
func (q *queue[T]) stop() {
	q.of.mu.Lock()
	defer q.of.mu.Unlock()
	q.end()
	q.room.Release(q.bytes)
	q.waiting, q.first, q.bytes = nil, 0, 0
	q.leave()
}

// Package feed hands values to whoever follows them, and waits for none of these.
package feed

import (
	"context"

	"wasmhost.example/host/internal/lock"
)

// Feed hands values to whoever subscribed, without ever waiting for one. The
// zero Feed is ready for use; it is safe for concurrent use.
type Feed[T any] struct {
	mu     lock.Mutex[lock.Leaf]
	subs   map[chan T]struct{}
	queues map[*Queue[T]]struct{}
	closed bool
}

// Subscribe is for values that are few and small: its buffer is made at once. Others
// use Follow. It returns a channel of first, and of the values published from now
// on. It is closed when ctx ends, when the feed closes, or when its reader lags
// by more than buffer values.
func (f *Feed[T]) Subscribe(ctx context.Context, buffer int, first ...T) <-chan T {
	c := make(chan T, buffer+len(first))
	for _, v := range first {
		c <- v
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		close(c)
		return c
	}
	if f.subs == nil {
		f.subs = make(map[chan T]struct{})
	}
	f.subs[c] = struct{}{}
	context.AfterFunc(ctx, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.drop(c)
	})
	return c
}

// drop needs f.mu.
func (f *Feed[T]) drop(c chan T) {
	if _, ok := f.subs[c]; ok {
		delete(f.subs, c)
		close(c)
	}
}

// Publish hands v to all who subscribed or follow. It waits for none of them.
func (f *Feed[T]) Publish(v T) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.publish(v)
}

// publish needs f.mu.
func (f *Feed[T]) publish(v T) {
	for c := range f.subs {
		select {
		case c <- v:
		default:
			f.drop(c)
		}
	}
	for q := range f.queues {
		q.add(v)
	}
}

// Idle reports whether nobody is subscribed.
func (f *Feed[T]) Idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.subs)+len(f.queues) == 0
}

// Close ends all subscriptions and queues; what waits in a queue can still be read.
func (f *Feed[T]) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for c := range f.subs {
		f.drop(c)
	}
	for q := range f.queues {
		q.end()
	}
}

package feed

import (
	"context"
	"testing"

	"wasmhost.example/host/budget"
)

func TestAQueueIsCutByItsBytes(t *testing.T) {
	set := budget.NewSet(budget.Sizes{})
	of := Budget{set.Followers, 4 * (1000 + followerCost)}
	var f Feed[[]byte]
	size := func(b *[]byte) int64 { return int64(len(*b)) }
	slow, quick := f.Follow(t.Context(), 100, of, size), f.Follow(t.Context(), 100, of, size)
	for i := range 10 {
		f.Publish(make([]byte, 1000))
		if v, ok := quick.Next(t.Context()); !ok || len(v) != 1000 {
			t.Fatalf("value %d: %d bytes, %v", i, len(v), ok)
		}
		if got := set.Followers.Use().Used; got > of.One {
			t.Fatalf("%d bytes are held, at most %d", got, of.One)
		}
	}
	n := 0
	for {
		if _, ok := slow.Next(t.Context()); !ok {
			break
		}
		n++
	}
	if n != 4 {
		t.Errorf("the slow one has %d values before it is cut, want 4", n)
	}
	slow.Stop()
	quick.Stop()
	quick.Stop()
	if got := set.Followers.Use().Used; got != 0 {
		t.Errorf("%d bytes are held at the end", got)
	}
	if !f.Idle() {
		t.Error("somebody still follows")
	}
}

func TestAQueueGivesWhatWaitsWhenItsFeedCloses(t *testing.T) {
	var f Feed[int]
	q := f.Follow(t.Context(), 10, Budget{}, func(*int) int64 { return 0 })
	for i := range 5 {
		f.Publish(i)
	}
	f.Close()
	for i := range 5 {
		if v, ok := q.Next(t.Context()); !ok || v != i {
			t.Fatalf("got %d, %v, want %d", v, ok, i)
		}
	}
	if _, ok := q.Next(t.Context()); ok {
		t.Error("a value after the end")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := f.Follow(t.Context(), 1, Budget{}, func(*int) int64 { return 0 }).Next(ctx); ok {
		t.Error("a value of a feed that is closed")
	}
}

// TestAQueueKeepsNothingThatWasTaken looks at all places of a queue that has moved its
// values to the front: what was taken no longer counts, so nothing may hold it.
func TestAQueueKeepsNothingThatWasTaken(t *testing.T) {
	var f Feed[[]byte]
	q := f.Follow(t.Context(), 100, Budget{}, func(*[]byte) int64 { return 0 })
	for i := range 1000 {
		f.Publish([]byte{byte(i)})
		if i%4 == 0 {
			continue // it falls behind, so that places are used again
		}
		if _, ok := q.Next(t.Context()); !ok {
			t.Fatal("it ended")
		}
		if len(q.waiting)-q.first > 50 {
			for range 40 {
				q.Next(t.Context())
			}
		}
		held := 0
		for _, v := range q.waiting[:cap(q.waiting)] {
			if v != nil {
				held++
			}
		}
		if held != len(q.waiting)-q.first {
			t.Fatalf("after %d values it holds %d, of which %d wait", i+1, held, len(q.waiting)-q.first)
		}
	}
	q.Stop()
}

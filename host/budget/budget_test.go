package budget_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"

	"wasmhost.example/host/budget"
)

func TestBytesCountInEveryBudgetAbove(t *testing.T) {
	node := budget.New("answers", "node", 100)
	peer := node.Child("peer", 50)
	stream := peer.Child("stream", 30)
	if err := stream.TryAcquire(20); err != nil {
		t.Fatal(err)
	}
	for _, b := range []*budget.Budget{node, peer, stream} {
		if got := b.Use().Used; got != 20 {
			t.Errorf("the %s's budget holds %d, want 20", b.Use().Level, got)
		}
	}
	for _, c := range []struct {
		of    *budget.Budget
		n     int64
		level string
		never bool
	}{
		{stream, 11, "stream", false},
		{stream, 31, "stream", true},
		{peer, 31, "peer", false},
		{node, 81, "node", false},
	} {
		err := c.of.TryAcquire(c.n)
		var full *budget.FullError
		if !errors.Is(err, budget.ErrFull) || !errors.As(err, &full) {
			t.Fatalf("taking %d: got %v, want a FullError", c.n, err)
		}
		if full.Level != c.level || full.Never != c.never {
			t.Errorf("taking %d: got %+v, want one of the %s, never %v", c.n, full, c.level, c.never)
		}
	}
	if got := node.Use().Used; got != 20 {
		t.Errorf("after refusals the node holds %d, want 20", got)
	}
	stream.Release(20)
	if got := node.Use(); got.Used != 0 || got.Peak != 20 || got.Refused != 1 {
		t.Errorf("got %+v, want nothing used, a peak of 20 and 1 refusal", got)
	}
}

func TestWhatNeverFitsIsRefusedAtOnce(t *testing.T) {
	b := budget.New("answers", "node", 10)
	if err := b.Acquire(t.Context(), 11); !errors.Is(err, budget.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
}

func TestNoBudgetHasNoLimit(t *testing.T) {
	var b *budget.Budget
	if err := b.Child("peer", 1).Acquire(t.Context(), 1<<40); err != nil {
		t.Fatal(err)
	}
	b.Release(1 << 40)
}

func TestWaitersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New("answers", "node", 10)
		if err := b.TryAcquire(10); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var got []int64
		for _, n := range []int64{8, 1, 1} { // the small ones would fit first
			go func() {
				if err := b.Acquire(t.Context(), n); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				got = append(got, n)
			}()
			synctest.Wait()
		}
		b.Release(5)
		synctest.Wait()
		if len(got) != 0 {
			t.Fatalf("with 5 free, %v were served before the first, of 8", got)
		}
		if err := b.TryAcquire(1); err == nil {
			t.Fatal("a newcomer was served before those that wait")
		}
		b.Release(5)
		synctest.Wait()
		if len(got) != 3 {
			t.Fatalf("with 10 free, %v were served, want all three", got)
		}
	})
}

func TestAStreamThatWaitsHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := budget.New("answers", "node", 100)
		slow, quick := node.Child("stream", 10), node.Child("stream", 10)
		if err := slow.TryAcquire(10); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- slow.Acquire(ctx, 10) }()
		synctest.Wait()
		if err := quick.TryAcquire(10); err != nil {
			t.Fatalf("another stream: %v", err)
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Fatalf("the waiting one ended with %v", err)
		}
		if got := node.Use(); got.Used != 20 {
			t.Fatalf("got %+v, want 20 used", got)
		}
	})
}

func TestWhoGivesUpMakesWayForThoseBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := budget.New("answers", "node", 10)
		if err := b.TryAcquire(5); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = b.Acquire(ctx, 10) }()
		synctest.Wait()
		served := false
		go func() { served = b.Acquire(t.Context(), 5) == nil }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if !served {
			t.Fatal("5 bytes are free, and the caller behind still waits")
		}
	})
}

func TestAHoldIsGivenBackOnce(t *testing.T) {
	b := budget.New("answers", "node", 10)
	h, err := b.Reserve(t.Context(), 8)
	if err != nil {
		t.Fatal(err)
	}
	h.Set(3)
	if got := b.Use().Used; got != 3 {
		t.Fatalf("%d bytes are used, want 3", got)
	}
	h.Set(12)
	if got := b.Use().Used; got != 12 {
		t.Fatalf("%d bytes are used, want 12", got)
	}
	h.Done()
	h.Done()
	h.Set(5)
	if got := b.Use().Used; got != 0 {
		t.Fatalf("%d bytes are used, want none", got)
	}
}

func TestSharesAreThoseInUse(t *testing.T) {
	s := budget.NewShares[string](budget.New("answers", "node", 100), "peer", 10)
	a, leave := s.Of("a")
	again, leaveToo := s.Of("a")
	if a != again {
		t.Fatal("one caller has two budgets")
	}
	leave()
	leave()
	if got := s.Len(); got != 1 {
		t.Fatalf("%d callers have budgets, want 1", got)
	}
	leaveToo()
	if got := s.Len(); got != 0 {
		t.Fatalf("%d callers have budgets, want none", got)
	}
}

// TestAnyHistoryKeepsTheBounds takes, gives back and gives up at random in a tree, and
// compares with a model after every step.
func TestAnyHistoryKeepsTheBounds(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) { history(t, rand.New(rand.NewPCG(seed, 17))) })
	}
}

type asked struct {
	leaf    int
	n       int64
	cancel  context.CancelFunc
	granted bool
	over    bool
}

func history(t *testing.T, r *rand.Rand) {
	node := budget.New("answers", "node", 60)
	var peers, leaves []*budget.Budget
	for range 3 {
		p := node.Child("peer", 30)
		peers = append(peers, p)
		for range 2 {
			leaves = append(leaves, p.Child("stream", 20))
		}
	}
	var mu sync.Mutex
	var all []*asked
	held := make([]int64, len(leaves))
	check := func() {
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		var sum int64
		for p := range peers {
			of := held[2*p] + held[2*p+1]
			sum += of
			if got := peers[p].Use().Used; got != of || got > 30 {
				t.Fatalf("peer %d holds %d, the model %d", p, got, of)
			}
		}
		if got := node.Use().Used; got != sum || got > 60 {
			t.Fatalf("the node holds %d, the model %d", got, sum)
		}
		// Somebody waits only where a budget lacks the room for one that waits at it.
		for _, a := range all {
			if !a.granted && !a.over && sum == 0 {
				t.Fatalf("nothing is held, and %d bytes wait", a.n)
			}
		}
		for i, b := range append(append([]*budget.Budget{node}, peers...), leaves...) {
			if u := b.Use(); u.Waiting > 0 {
				if u.Limit-u.Used >= 20 {
					t.Fatalf("budget %d has %d bytes free, and %d callers wait for it", i, u.Limit-u.Used, u.Waiting)
				}
			}
		}
	}
	for range 120 {
		switch k := r.IntN(10); {
		case k < 5:
			ctx, cancel := context.WithCancel(t.Context())
			a := &asked{leaf: r.IntN(len(leaves)), n: 1 + r.Int64N(20), cancel: cancel}
			all = append(all, a)
			go func() {
				err := leaves[a.leaf].Acquire(ctx, a.n)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					a.over = true
					return
				}
				a.granted = true
				held[a.leaf] += a.n
			}()
		case len(all) == 0:
		default:
			mu.Lock()
			a := all[r.IntN(len(all))]
			give := a.granted && !a.over
			if give {
				a.over = true
				held[a.leaf] -= a.n
			}
			mu.Unlock()
			if give {
				leaves[a.leaf].Release(a.n)
			} else if k == 9 {
				a.cancel()
			}
		}
		check()
	}
	for {
		var give *asked
		mu.Lock()
		for _, a := range all {
			if a.granted && !a.over {
				a.over, give = true, a
				held[a.leaf] -= a.n
				break
			}
		}
		mu.Unlock()
		if give == nil {
			break
		}
		leaves[give.leaf].Release(give.n)
		synctest.Wait()
	}
	for _, a := range all {
		if !a.over {
			t.Fatalf("%d bytes still wait when everything was given back", a.n)
		}
		a.cancel()
	}
}

func TestManyAtATime(t *testing.T) {
	node := budget.New("answers", "node", 100)
	shares := budget.NewShares[int](node, "peer", 40)
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			for range 500 {
				b, leave := shares.Of(i % 4)
				n := int64(1 + i)
				ctx, cancel := context.WithCancel(t.Context())
				if i%5 == 0 {
					go cancel()
				}
				if err := b.Acquire(ctx, n); err == nil {
					if u := node.Use(); u.Used > u.Limit {
						t.Errorf("%d of %d are used", u.Used, u.Limit)
					}
					b.Release(n)
				}
				cancel()
				leave()
			}
		})
	}
	all.Wait()
	if u := node.Use(); u.Used != 0 || u.Waiting != 0 {
		t.Errorf("at the end: %+v", u)
	}
}

func BenchmarkAcquire(b *testing.B) {
	stream := budget.New("answers", "node", 1<<30).Child("peer", 1<<28).Child("stream", 1<<24)
	for b.Loop() {
		if err := stream.Acquire(b.Context(), 100); err != nil {
			b.Fatal(err)
		}
		stream.Release(100)
	}
}

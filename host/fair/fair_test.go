package fair_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/fair"
)

var ctx = context.Background()

// work has the flow take turns of that length until the context ends, and counts
// them.
func work(ctx context.Context, f *fair.Flow, took time.Duration, turns *atomic.Int64) {
	for {
		t, err := f.Begin(ctx)
		if err != nil {
			return
		}
		time.Sleep(took)
		turns.Add(1)
		t.End()
	}
}

func TestFlowsShareByWhatTheyTake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(1)
		ctx, cancel := context.WithCancel(ctx)
		var n [3]atomic.Int64
		go work(ctx, s.Flow(), 9*time.Millisecond, &n[0])
		go work(ctx, s.Flow(), time.Millisecond, &n[1])
		many := s.Flow() // a flow has no more for having many that wait
		for range 50 {
			go work(ctx, many, time.Millisecond, &n[2])
		}
		time.Sleep(27 * time.Second)
		cancel()
		time.Sleep(time.Second) // turns that have begun end
		long, short, crowd := n[0].Load(), n[1].Load(), n[2].Load()
		if long < 990 || long > 1010 || short < 8900 || short > 9100 || crowd < 8900 || crowd > 9100 {
			t.Errorf("of 27 s, turns of 9 ms: %d, of 1 ms: %d, of 1 ms by many: %d; want 1000, 9000, 9000", long, short, crowd)
		}
	})
}

func TestABusyNodeKeepsNoFlowThatWasIdleWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(1)
		ctx, cancel := context.WithCancel(ctx)
		var turns atomic.Int64
		for range 1000 {
			go work(ctx, s.Flow(), time.Millisecond, &turns)
		}
		time.Sleep(time.Minute)
		began := time.Now()
		idle := s.Flow()
		turn, err := idle.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(began); waited > 2*time.Millisecond {
			t.Errorf("a flow that had nothing waited %v", waited)
		}
		turn.End()
		cancel()
		time.Sleep(time.Second)
	})
}

func TestWhatIsNotDurableIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(4)
		one, other := s.Flow(), s.Flow()
		turn := begin(t, one)
		one.Fly(fair.MaxFlowFlight)
		turn.End()
		blocked(t, one, "with as much in flight as a flow may have")
		begin(t, other).End()
		one.Stored(fair.MaxFlowFlight)
		blocked(t, one, "whose records only this node's disk has")
		one.Land(fair.MaxFlowFlight)
		turn = begin(t, one)
		one.Fly(fair.MaxFlight)
		turn.End()
		blocked(t, other, "where others have as much in flight as all may")
		one.Stored(fair.MaxFlight)
		begin(t, other).End()
		one.Land(fair.MaxFlight)
		turn = begin(t, other)
		for range fair.MaxFlowRecords {
			other.Fly(1)
		}
		turn.End()
		blocked(t, other, "with as many batches in flight as a flow may have")
		other.Stored(1)
		other.Land(1)
		begin(t, other).End()
	})
}

func begin(t *testing.T, f *fair.Flow) *fair.Turn {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	turn, err := f.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return turn
}

func blocked(t *testing.T, f *fair.Flow, why string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := f.Begin(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a turn began of a flow %s: %v", why, err)
	}
	if n := f.Waiting(); n != 0 {
		t.Errorf("%d still wait for a turn of a flow %s", n, why)
	}
}

func TestAParkedTurnLeavesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(1)
		one, other := s.Flow(), s.Flow()
		turn := begin(t, one)
		blocked(t, other, "while another has the only slot")
		turn.Park()
		begin(t, other).End()
		blocked(t, one, "that has a turn already")
		turn.Resume()
		blocked(t, other, "while another is back")
		turn.End()
		begin(t, other).End()
		turn = begin(t, one)
		turn.Park()
		turn.End()
		begin(t, other).End()
	})
}

func TestRatesBoundWhatIsMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fair.New(1).Flow()
		if f.Made(1<<40, 1<<40); f.Owes() != 0 {
			t.Errorf("a flow without a rate owes %v", f.Owes())
		}
		f.Limit(fair.Rate{Events: 100, EventBurst: 50, Bytes: 1000, ByteBurst: 1000})
		f.Made(50, 0)
		if got := f.Owes(); got != 0 {
			t.Errorf("after a burst it owes %v", got)
		}
		f.Made(200, 0)
		if got := f.Owes(); got != 2*time.Second {
			t.Errorf("after 200 events at 100 a second it owes %v", got)
		}
		if got := f.OwesBytes(); got != 0 {
			t.Errorf("after events without bytes it owes %v for bytes", got)
		}
		time.Sleep(2 * time.Second)
		if got := f.Owes(); got != 0 {
			t.Errorf("two seconds later it owes %v", got)
		}
		time.Sleep(time.Hour) // no more than the burst is saved up
		f.Made(50, 2000)
		if got, bytes := f.Owes(), f.OwesBytes(); got != time.Second || bytes != time.Second {
			t.Errorf("after twice its bytes it owes %v and %v, want a second", got, bytes)
		}
		if u := f.Used(); u.Events != 1<<40+300 {
			t.Errorf("used %+v", u)
		}
	})
}

func TestASleeperLeavesWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := fair.Sleep(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if err := fair.Sleep(ctx, 0); err != nil {
			t.Error(err)
		}
	})
}

package backoff

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// tried returns when the tries of a policy were made.
func tried(p Policy, took time.Duration) (at []time.Duration) {
	began := time.Now()
	tries := p.Start()
	for {
		at = append(at, time.Since(began))
		time.Sleep(took)
		if err := tries.Wait(context.Background(), nil); err != nil {
			return at
		}
	}
}

func TestBudgetIsUsedToItsEnd(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		policy Policy
		took   time.Duration
		want   []time.Duration
	}{
		{Policy{s, 16 * s, 30 * s}, 0, []time.Duration{0, 1 * s, 3 * s, 7 * s, 15 * s, 30 * s}},
		{Policy{s, 4 * s, 12 * s}, 0, []time.Duration{0, 1 * s, 3 * s, 7 * s, 11 * s, 12 * s}},
		{Policy{s, 4 * s, 6 * s}, 2 * s, []time.Duration{0, 3 * s, 6 * s}},
		{Policy{s, 4 * s, 1 * s}, 2 * s, []time.Duration{0}},
		{Policy{10 * s, 10 * s, 3 * s}, 0, []time.Duration{0, 3 * s}},
	} {
		synctest.Test(t, func(t *testing.T) {
			if got := tried(c.policy, c.took); !slices.Equal(got, c.want) {
				t.Errorf("%+v, %v a try: tries at %v, want %v", c.policy, c.took, got, c.want)
			}
		})
	}
}

func TestTriesWithoutBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := Policy{First: time.Second, Most: 4 * time.Second}.Start()
		var got []time.Duration
		for range 5 {
			began := time.Now()
			if err := tries.Wait(t.Context(), nil); err != nil {
				t.Fatalf("waiting: %v", err)
			}
			got = append(got, time.Since(began)/time.Second)
		}
		if want := []time.Duration{1, 2, 4, 4, 4}; !slices.Equal(got, want) {
			t.Errorf("pauses of %v s, want %v", got, want)
		}
		tries.Reset()
		if pause, ok := tries.Next(); pause != time.Second || !ok {
			t.Errorf("after Reset the next pause is %v, %v; want 1s, true", pause, ok)
		}
	})
}

func TestPauseEndsEarly(t *testing.T) {
	tries := Policy{First: time.Hour, Most: time.Hour}.Start()
	kick := make(chan struct{}, 1)
	kick <- struct{}{}
	if err := tries.Wait(t.Context(), kick); !errors.Is(err, ErrStopped) {
		t.Errorf("with a kick Wait returned %v, want ErrStopped", err)
	}
	why := errors.New("why")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := tries.Wait(ctx, nil); !errors.Is(err, why) {
		t.Errorf("with an ended context Wait returned %v, want its cause", err)
	}
}

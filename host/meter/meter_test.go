package meter

import (
	"math"
	"sync"
	"testing"
	"time"

	"wasmhost.example/internal/draw"
)

// What a histogram says of how many took at most so long is what counting by
// hand says, for every bound, and parts add up to the whole.
func TestHistogramsCountAsByHand(t *testing.T) {
	draw.Check(t, func(t *draw.T) {
		var whole Histogram
		var parts [2]Histogram
		var all []time.Duration
		sum := 0.0
		for i := range draw.Int(t, "durations", 0, 40) {
			n := draw.Int(t, "duration", 0, int64(5*time.Minute))
			if i%3 == 0 { // near a bound
				n = int64(time.Microsecond)<<(n%28) + n%3 - 1
			}
			d := time.Duration(n)
			all = append(all, d)
			sum += d.Seconds()
			whole.Observe(d)
			parts[i%2].Observe(d)
		}
		for _, got := range []Distribution{whole.Read(), parts[0].Read().Add(parts[1].Read())} {
			if got.Count != uint64(len(all)) || math.Abs(got.Sum-sum) > 1e-6 {
				t.Fatalf("%d that took %g s, want %d that took %g s", got.Count, got.Sum, len(all), sum)
			}
			if len(got.Within) != buckets-1 {
				t.Fatalf("%d bounds, want %d", len(got.Within), buckets-1)
			}
			for bound, n := range got.Within {
				want := uint64(0)
				for _, d := range all {
					if d <= time.Duration(math.Round(bound*1e9)) {
						want++
					}
				}
				if n != want {
					t.Fatalf("%d took at most %g s, want %d", n, bound, want)
				}
			}
		}
	})
}

func TestCountingBySeveralLosesNothing(t *testing.T) {
	var c Counter
	var h Histogram
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 1000 {
				c.Add(2)
				h.Observe(time.Millisecond)
			}
		})
	}
	wg.Wait()
	if c.Load() != 8000 || h.Read().Count != 4000 {
		t.Errorf("%d, %d", c.Load(), h.Read().Count)
	}
	h.Observe(-time.Second)
	if got := h.Read(); got.Within[1e-6] != 1 {
		t.Errorf("a negative duration: %+v", got)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	for b.Loop() {
		h.Observe(300 * time.Nanosecond)
	}
}

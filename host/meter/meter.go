// Package meter counts what a host does, for whoever watches it. Counting takes
// no lock and allocates nothing; reading gives a copy.
package meter

import (
	"math"
	"sync/atomic"
	"time"
)

// Counter only grows. The zero Counter is ready; it is safe for concurrent use.
type Counter struct{ n atomic.Uint64 }

// Add counts n more.
func (c *Counter) Add(n uint64) { c.n.Add(n) }

// Load returns the count.
func (c *Counter) Load() uint64 { return c.n.Load() }

// buckets are those of a Histogram: the first holds up to 1 µs, each further one
// up to twice that of the one before, the last all that is longer.
const buckets = 28

// Histogram counts durations by powers of two of a microsecond, up to 67 s. The
// zero Histogram is ready; it is safe for concurrent use.
type Histogram struct {
	counts [buckets]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// Observe counts one duration. A negative one counts as zero.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.counts[bucketOf(d)].Add(1)
	h.sum.Add(int64(d))
}

func bucketOf(d time.Duration) int {
	i := 0
	for bound := time.Microsecond; d > bound && i < buckets-1; bound *= 2 {
		i++
	}
	return i
}

// Distribution is what a Histogram held.
type Distribution struct {
	Count  uint64
	Sum    float64            // seconds
	Within map[float64]uint64 // how many took at most so many seconds; cumulative
}

// Read returns what the histogram holds. While others count, the sum may be
// ahead of the counts.
func (h *Histogram) Read() Distribution {
	out := Distribution{Within: make(map[float64]uint64, buckets-1)}
	for i := range h.counts {
		out.Count += h.counts[i].Load()
		if i < buckets-1 {
			out.Within[math.Ldexp(1e-6, i)] = out.Count
		}
	}

	out.Sum = time.Duration(h.sum.Load()).Seconds()
	return out
}

// Add returns both together. Neither is changed.
func (d Distribution) Add(o Distribution) Distribution {
	out := Distribution{Count: d.Count + o.Count, Sum: d.Sum + o.Sum, Within: make(map[float64]uint64, buckets-1)}
	for _, from := range []Distribution{d, o} {
		for bound, n := range from.Within {
			out.Within[bound] += n
		}
	}
	return out
}

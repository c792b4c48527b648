package sandbox

import (
	"bytes"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkStretch is how long the most that guests can do takes from one yield to the
// next: what is dear to move, to compute and to touch, and what was paid for long before.
// It reports the longest in milliseconds of the thread's processor time.
func BenchmarkStretch(b *testing.B) {
	const pages = 1 << 12 // 256 MiB
	type body func(m *assembly) []byte
	loop := func(step int, do []byte) body { // of the whole memory
		return func(*assembly) []byte {
			return cat(0x03, 0x40, do, get(0), i32(step), 0x6a, 0x22, 0, i32(pages<<16-1<<12), 0x49, 0x0d, 0, 0x0b)
		}
	}
	divide := cat(get(1), get(1), 0x80, 0x1a) // i64.div_u; drop
	for _, of := range []struct {
		name string
		body body
	}{
		{"fill", func(*assembly) []byte { return cat(i32(0), i32(1), i32(pages<<16), 0xfc, 11, 0) }},
		{"copy", func(*assembly) []byte { return cat(i32(4096), i32(0), i32(pages<<16-4096), 0xfc, 10, 0, 0) }},
		{"fills", func(*assembly) []byte {
			return bytes.Repeat(cat(i32(0), i32(1), i32(1<<20), 0xfc, 11, 0), 2000)
		}},
		{"table-fill", func(*assembly) []byte {
			return bytes.Repeat(cat(i32(0), 0xd0, 0x70, i32(1<<20), 0xfc, 17, 0), 100)
		}},
		{"divisions", func(*assembly) []byte { return bytes.Repeat(divide, 50_000) }},
		{"touching", loop(4096, cat(get(0), i32(1), mem(0x36, 0)))},
		{"touching-far", loop(4096*61, cat(get(0), i32(1), mem(0x36, 0)))},
		{"returns", func(m *assembly) []byte {
			m.fn(2, leb(0), get(0), 0x04, 0x40, get(0), i32(1), 0x6b, invoke(0), 0x0b, bytes.Repeat(cat(i32(9), 0x1a), 90))
			return cat(i32(60_000), invoke(0))
		}},
	} {
		b.Run(of.name, func(b *testing.B) {
			m := &assembly{}
			typ := m.typ("", "")
			m.typ("", "I")
			m.typ("i", "")
			m.add(4, cat(0x70, 0, leb(1<<20))...)
			m.add(5, cat(0, leb(pages))...)
			do := of.body(m)
			m.export("f", 0, m.fn(typ, cat(2, 1, 0x7f, 1, 0x7e), i64(7), put(1), do))
			x := newMetered(b, m.bytes())
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var longest time.Duration
			for b.Loop() {
				x.fresh(b)
				last := threadTime(b)
				x.each = func() {
					now := threadTime(b)
					longest = max(longest, now-last)
					last = now
				}
				if _, within := x.call(b, 1<<40, "f"); !within {
					b.Fatal("it does not come to an end")
				}
				x.each()
			}
			b.ReportMetric(float64(longest.Microseconds())/1000, "longest-ms")
		})
	}
}

// threadTime is the processor time that the thread has taken.
func threadTime(b *testing.B) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts); err != nil {
		b.Skip(err)
	}
	return time.Duration(ts.Nano())
}

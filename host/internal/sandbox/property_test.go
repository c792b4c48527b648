package sandbox

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

var eventsFlag = flag.Int("events", 0, "how many events to give to guests that move; 0: few")

// eventCount is few under -short, and as many as scripts/proof asks for.
func eventCount(few int) int {
	switch {
	case *eventsFlag > 0:
		return *eventsFlag
	case testing.Short():
		return max(few/10, 300)
	}
	return few
}

// A guest that is saved, loaded elsewhere and packed at any time answers as one
// that is left alone, and is like it, whatever fails.
func TestGuestsThatMoveAreAsThoseLeftAlone(t *testing.T) {
	events := eventCount(6000)
	tr := &trial{name: "everything", wasm: everything(), limits: everythingLimits, event: everythingEvent}
	tr.run(t, 1, events, 25)
	tr.interpreted = true
	tr.event = func(r *rand.Rand) []byte {
		b := everythingEvent(r)
		if b[0] == opRecurse { // the interpreter goes 2000 calls deep, however deep a guest may go
			b[0] = opTrap
		}
		return b
	}
	tr.run(t, 2, events/2, 25)
}

// The same of guests as toolchains make them.
func TestStockGuestsThatMoveAreAsThoseLeftAlone(t *testing.T) {
	counter := func(r *rand.Rand) []byte {
		if r.IntN(50) == 0 {
			return []byte("fail")
		}
		return []byte(strings.Repeat("x", r.IntN(100)))
	}
	words := func(r *rand.Rand) []byte {
		n := 8
		switch k := r.IntN(1000); {
		case k < 3:
			n = 20_000 // takes more fuel than there is
		case k < 6:
			return []byte("?totals")
		case k < 20:
			return []byte("?lines")
		}
		var b strings.Builder
		for range n {
			fmt.Fprintf(&b, "word%c ", 'a'+r.IntN(26))
		}
		return []byte(b.String())
	}
	for _, tc := range []struct {
		file  string
		event func(*rand.Rand) []byte
		fuel  uint64
		few   int // events
	}{
		{"c/counter.wasm", counter, 1 << 20, 10_000},
		{"rust/counter.wasm", counter, 1 << 20, 10_000},
		{"assemblyscript/counter.wasm", counter, 1 << 20, 10_000},
		{"c/wordcount.wasm", words, 1 << 19, 2000},
		{"rust/wordcount.wasm", words, 1 << 19, 2000},
		{"assemblyscript/wordcount.wasm", words, 1 << 19, 2000},
		{"go/wordcount.wasm", words, 2 << 20, 1500},
	} {
		t.Run(tc.file, func(t *testing.T) {
			if testing.Short() && strings.HasPrefix(tc.file, "go/") {
				t.Skip("compiling Go takes the race detector long")
			}
			limits := DefaultLimits()
			limits.Fuel = tc.fuel
			events := eventCount(tc.few)
			tr := &trial{name: tc.file, wasm: wasmOf(t, tc.file), limits: limits, event: tc.event, interpreted: !strings.HasPrefix(tc.file, "go/")}
			tr.run(t, 1, events, max(50, events/200))
		})
	}
}

package channel

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"wasmhost.example/identity"
)

func payloads(n, size int) [][]byte {
	out := make([][]byte, n)
	for i := range out {
		out[i] = bytes.Repeat([]byte{byte(i)}, size)
	}
	return out
}

func TestChunksComeBackAsTheyWere(t *testing.T) {
	from := key(t, 1).ID()
	b := AppendEvent(nil, 5, from, []byte("one"))
	b = AppendEvent(b, 1<<40, identity.EntityID{}, nil)
	b = AppendEvent(b, 7, from, make([]byte, 70_000))
	var got []Event
	if err := Each(11, b, func(ev Event) error { got = append(got, ev); return nil }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 3 || got[0].Sequence != 11 || got[0].From != from || string(got[0].Payload) != "one" || got[1].Time != 1<<40 ||
		!got[1].From.IsZero() || len(got[2].Payload) != 70_000 || got[2].Sequence != 13 {
		t.Errorf("got %d: %.200v", len(got), got)
	}
	if n, last, err := Count(b); n != 3 || last != 7 || err != nil {
		t.Errorf("%d events, the last at %d: %v", n, last, err)
	}
	stop := errors.New("stop")
	if err := Each(1, b, func(Event) error { return stop }); err != stop {
		t.Errorf("stopped: %v", err)
	}
	for _, i := range []int{1, 2, 3, 20, 39, len(b) - 1} {
		if _, _, err := Count(b[:i]); !errors.Is(err, ErrBadChunk) {
			t.Errorf("cut to %d: %v", i, err)
		}
	}
}

// TestLogAgainstAModel appends and trims at random beside a plain list.
func TestLogAgainstAModel(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 2))
		limits := Limits{Events: uint64(1 + r.IntN(300)), Bytes: int64(200 + r.IntN(20_000)), Age: time.Duration(1+r.IntN(500)) * time.Second}
		l := NewLog(limits, r.IntN(2) == 0, 1)
		type ev struct {
			at   int64
			text byte
		}
		var all []ev
		at := int64(1e18)
		for range 60 {
			at += int64(r.IntN(int(20 * time.Second)))
			n := r.IntN(30)
			for _, c := range l.Append(at, identity.EntityID{}, payloads(n, r.IntN(100))) {
				if got, last, err := Count(c.Bytes); got != c.Count || last != at || err != nil || c.Size != len(c.Bytes) {
					t.Fatalf("a chunk of %d has %d: %v", c.Count, got, err)
				}
			}
			for i := range n {
				all = append(all, ev{at, byte(i)})
			}
			if r.IntN(2) == 0 {
				l.Trim(at)
			}
		}
		l.Trim(at)
		if l.Next() != uint64(len(all))+1 {
			t.Fatalf("seed %d: next is %d after %d", seed, l.Next(), len(all))
		}
		events, size := l.Size()
		if events != l.Next()-l.First() || events > limits.Events && len(l.chunks)-l.start > 1 || size > limits.Bytes && len(l.chunks)-l.start > 1 {
			t.Fatalf("seed %d: %d events from %d, %d bytes, limits %v", seed, events, l.First(), size, limits)
		}
		for seq := l.First(); seq < l.Next(); seq++ {
			c, ok := l.At(seq)
			if !ok || seq < c.First || seq > c.Last() {
				t.Fatalf("seed %d: event %d is not there", seed, seq)
			}
			if c.Bytes == nil && !l.stored {
				t.Fatalf("seed %d: chunk %d has lost its bytes", seed, c.First)
			}
			err := Each(c.First, c.Bytes, func(e Event) error {
				if want := all[e.Sequence-1]; e.Time != want.at || len(e.Payload) > 0 && e.Payload[0] != want.text {
					return fmt.Errorf("event %d", e.Sequence)
				}
				return nil
			})
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if _, ok := l.At(l.Next()); ok {
			t.Fatal("there is an event to come")
		}
		if l.First() > 1 {
			if c, ok := l.At(1); !ok || c.First != l.First() {
				t.Fatalf("seed %d: the first after what was dropped is %d, not %d", seed, c.First, l.First())
			}
		}
	}
}

func TestALogKeepsItsNewestInMemory(t *testing.T) {
	l := NewLog(Limits{}, true, 1)
	for range 8 {
		l.Append(1, identity.EntityID{}, payloads(8, 64<<10))
	}
	held := int64(0)
	for _, c := range l.chunks {
		held += int64(len(c.Bytes))
	}
	if held > cachedBytes || held != l.memory || held < cachedBytes/2 {
		t.Errorf("%d bytes are in memory, counted %d", held, l.memory)
	}
	if last, ok := l.At(l.Next() - 1); !ok || last.Bytes == nil {
		t.Error("the newest is not in memory")
	}
	l.Trim(1)
}

func TestC34_Throttle(t *testing.T) {
	var th Throttle
	now := time.Unix(1e9, 0)
	for range throttleAfter - 1 {
		th.Note(1, true, now)
	}
	if !th.Allow(1, now) {
		t.Error("throttled too early")
	}
	th.Note(1, false, now)
	for range throttleAfter {
		th.Note(1, true, now)
	}
	if th.Allow(1, now) || !th.Allow(2, now) || th.Allow(1, now.Add(throttleFor-1)) || !th.Allow(1, now.Add(throttleFor)) {
		t.Error("it does not throttle that node for its time")
	}
	for i := range 2 * throttleAfter {
		th.Note(3, true, now.Add(time.Duration(i)*throttleWithin/throttleAfter*2))
	}
	if !th.Allow(3, now.Add(time.Hour)) {
		t.Error("few at a time are throttled")
	}
}

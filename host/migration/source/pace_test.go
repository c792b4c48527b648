package source

import (
	"testing"
	"time"

	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/migration"
)

func TestWhatComesAfterARound(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name string
		at   position
		want step
	}{
		{"the first round, of much", position{round: 1, most: 30, before: forever, left: time.Second, fits: 50 * ms}, anotherRound},
		{"the first round, where the pause would do", position{round: 1, most: 30, before: forever, left: 40 * ms, fits: 50 * ms}, anotherRound},
		{"hardly anything is left", position{round: 1, most: 30, before: forever, left: ms, fits: 50 * ms}, pauseNow},
		{"the pause is half as long as before", position{round: 2, most: 30, before: 40 * ms, left: 20 * ms, fits: 50 * ms}, anotherRound},
		{"the pause fits, and gets no shorter", position{round: 3, most: 30, before: 40 * ms, left: 35 * ms, fits: 50 * ms}, pauseNow},
		{"it does not fit, and gets shorter", position{round: 3, most: 30, before: 400 * ms, left: 200 * ms, fits: 50 * ms}, anotherRound},
		{"it does not fit, and gets no shorter", position{round: 3, most: 30, before: 200 * ms, left: 190 * ms, fits: 50 * ms}, slowDown},
		{"it grows", position{round: 3, most: 30, before: 200 * ms, left: 500 * ms, fits: 50 * ms}, slowDown},
		{"the rounds have run out", position{round: 31, most: 30, before: 200 * ms, left: 500 * ms, fits: 50 * ms}, pauseNow},
		{"the last round may be made", position{round: 30, most: 30, before: 200 * ms, left: 100 * ms, fits: 50 * ms}, anotherRound},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.at.next(); got != c.want {
				t.Errorf("next is %d, want %d", got, c.want)
			}
		})
	}
}

func TestHowMuchADaemonIsSlowed(t *testing.T) {
	for _, c := range []struct {
		name string
		now  time.Duration
		r    migration.Round
		want time.Duration
	}{
		{"at first, half of what it did", 0, migration.Round{Took: 100 * time.Millisecond, Records: 100}, 2 * time.Millisecond},
		{"then half of that", 2 * time.Millisecond, migration.Round{Took: time.Hour, Records: 1}, 4 * time.Millisecond},
		{"no less than this", 0, migration.Round{Took: time.Second}, mostPace},
		{"nor more", 0, migration.Round{Took: time.Millisecond, Records: 1 << 20}, leastPace},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := slower(c.now, c.r); got != c.want {
				t.Errorf("%v from one event to the next, want %v", got, c.want)
			}
		})
	}
}

func TestHowLongThePauseWouldBe(t *testing.T) {
	did := moving.Held{Bytes: 1 << 20, Records: 100, Busy: time.Second}
	var p pace
	p.sent(1<<20, 100*time.Millisecond)
	if got, want := p.pause(did, true), 1100*time.Millisecond; got != want {
		t.Errorf("before any round: %v, want %v", got, want)
	}

	p.round(migration.Round{Records: 100, Blocks: 64, Bytes: 1 << 20, Took: 100 * time.Millisecond})
	for memory, want := range map[bool]time.Duration{
		true:  225 * time.Millisecond, // the way, a MiB, and a quarter of one of memory
		false: 1200 * time.Millisecond,
	} {
		if got := p.pause(did, memory); got != want {
			t.Errorf("memory %v: %v, want %v", memory, got, want)
		}
	}
}

package sandbox

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"wasmhost.example/abi"
)

// trial is a module, and a stream of events for it.
type trial struct {
	name   string
	wasm   []byte
	limits Limits
	event  func(r *rand.Rand) []byte

	interpreted bool // one of the places is an interpreter
}

// answer is all that the outside sees of one event.
type answer struct {
	Outputs []byte // each with its length in front
	Fuel    uint64
	Fault   string
}

// ask sends event n, which is the same for every guest.
func ask(g *Guest, n int, payload []byte) answer {
	ev := Event{Sequence: uint64(n), Time: at.Time + int64(n)*1_000_000}
	out, err := g.Process(&ev, payload)
	a := answer{Fuel: g.Fuel()}
	for _, o := range out {
		a.Outputs = append(binary.LittleEndian.AppendUint32(a.Outputs, uint32(len(o))), o...)
	}
	var f *abi.Fault
	if errors.As(err, &f) {
		a.Fault = f.Error() + "\n" + f.Stack
	} else if err != nil {
		a.Fault = err.Error()
	}
	return a
}

func (a *answer) equal(b *answer) bool {
	return a.Fuel == b.Fuel && a.Fault == b.Fault && bytes.Equal(a.Outputs, b.Outputs)
}

// run sends events to a guest that is left alone and to one that is moved once
// in so many events: they must answer alike, and be alike. It returns the fuel
// of all events together.
func (tr *trial) run(t *testing.T, seed uint64, events, each int) (fuel uint64) {
	t.Helper()
	w := &walk{t: t, trial: tr, r: rand.New(rand.NewPCG(seed, 0)), abroad: startChild(t), moves: make(map[string]int)}
	for _, c := range []Config{{}, {MaxMapped: 1}, {Heap: true}, {interpret: true}} {
		if c.CacheDir = compiled; c.interpret && !tr.interpreted {
			continue
		}
		m, err := engineOf(t, c).Compile(ctx, tr.wasm, 1024)
		if err != nil {
			t.Fatal(err)
		}
		w.places = append(w.places, m)
	}
	w.alone, w.moved = w.guest(0), w.guest(0)
	for w.n = 1; w.n <= events; w.n++ {
		if w.r.IntN(each) == 0 {
			w.move()
		}
		w.event(tr.event(w.r), nil)
	}
	w.same()
	if err := errors.Join(w.alone.Close(), w.moved.Close()); err != nil {
		t.Error(err)
	}
	t.Logf("%s: %d events, %d of them failed, %d units of fuel; moves: %v", tr.name, events, w.failed, w.fuel, w.moves)
	return w.fuel
}

// walk is a run in progress.
type walk struct {
	*trial
	t            *testing.T
	r            *rand.Rand
	places       []*Module // the first is where both guests begin
	abroad       *child
	alone, moved *Guest
	n            int // of the event
	fuel         uint64
	failed       int
	moves        map[string]int
}

func (w *walk) guest(place int) *Guest {
	g, err := w.places[place].NewGuest(Options{Limits: w.limits})
	if err != nil {
		w.t.Fatal(err)
	}
	return g
}

// event gives an event to both guests; to the one alone where the other has
// answered already.
func (w *walk) event(payload []byte, answered *answer) {
	a := ask(w.alone, w.n, payload)
	if answered == nil {
		b := ask(w.moved, w.n, payload)
		answered = &b
	}
	if !a.equal(answered) {
		w.t.Fatalf("%s, event %d, %q after moves %v:\n%+v\n%+v", w.name, w.n, payload, w.moves, a, *answered)
	}
	if w.fuel += a.Fuel; a.Fault != "" {
		w.failed++
	}
}

// same checks that the guests are.
func (w *walk) same() {
	a, err := w.alone.Root()
	b, err2 := w.moved.Root()
	if err = errors.Join(err, err2); a != b || err != nil {
		w.t.Fatalf("%s, before event %d, moves %v: roots %x and %x, %v", w.name, w.n, w.moves, a, b, err)
	}
}

// move packs a guest, moves it to a fresh one, or has it answer some events in
// another process.
func (w *walk) move() {
	w.same()
	k := w.r.IntN(len(w.places) + 2)
	switch {
	case k == len(w.places):
		w.moved.Pack()
		w.moves["packed"]++
	case k > len(w.places):
		var payloads [][]byte
		for range w.r.IntN(20) {
			payloads = append(payloads, w.trial.event(w.r))
		}
		back := w.abroad.travel(w.t, w.trial, saved(w.t, w.moved), w.n, payloads)
		for i := range back.Answers {
			w.event(payloads[i], &back.Answers[i])
			w.n++
		}
		k = w.r.IntN(len(w.places))
		w.settle(k, back.State)
		w.moves["abroad"]++
	default:
		w.settle(k, saved(w.t, w.moved))
		w.moves[[]string{"loaded", "loaded in another engine", "loaded on the heap", "loaded in an interpreter"}[k]]++
	}
	w.same()
}

// settle loads the state into a fresh guest.
func (w *walk) settle(place int, s *State) {
	if err := w.moved.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.moved = w.guest(place)
	if err := w.moved.Load(s); err != nil {
		w.t.Fatal(err)
	}
}

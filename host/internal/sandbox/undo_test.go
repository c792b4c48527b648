package sandbox

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"wasmhost.example/abi"
)

func rootOf(t testing.TB, g *Guest) [32]byte {
	t.Helper()
	r, err := g.Root()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func everythingGuest(t testing.TB, c Config) *Guest {
	t.Helper()
	m, err := engineOf(t, c).Compile(ctx, everything(), 1024)
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.NewGuest(Options{Limits: everythingLimits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// Every way of failing leaves the guest as it was: right after a mark, just
// before one, at rest, loaded, grown, and after any number of failures.
func TestFailuresAreUndoneExactly(t *testing.T) {
	ways := map[int]string{opTrap: "unreachable", opFail: "code 7", opLoop: abi.LimitFuel, opRecurse: abi.LimitStack,
		opBadPointer: "outside its memory", opNoMemory: abi.LimitMemory}
	for _, heap := range []bool{false, true} {
		g := everythingGuest(t, Config{CacheDir: compiled, Heap: heap})
		r := rand.New(rand.NewPCG(8, 9))
		n := 0
		good := func(count int) {
			for range count {
				n++
				payload := everythingEvent(r)
				payload[0] %= opTrap
				ask(g, n, payload)
			}
		}
		grow := func() {
			for range 3 {
				n++
				ask(g, n, []byte{opGrow, 1, 0, 0, 0, 1, 2, 3, 4})
			}
		}
		situations := []struct {
			name string
			to   func()
		}{
			{"new", func() {}}, {"used", func() { good(50) }}, {"just marked", func() {
				for ok := false; !ok; ok = g.undo.calls == 0 {
					good(1)
				}
			}}, {"about to be marked", func() {
				for g.undo.calls < markCalls-1 {
					n++
					ask(g, n, []byte{opGlobalI64, 1, 0, 0, 0, 0, 0, 0, 0})
				}
			}}, {"grown since the mark", grow}, {"packed", g.Pack}, {"loaded", func() {
				if err := g.Load(saved(t, g)); err != nil {
					t.Fatal(err)
				}
			}}, {"loaded and used", func() {
				if err := g.Load(saved(t, g)); err != nil {
					t.Fatal(err)
				}
				good(30)
			}}, {"packed and used", func() { g.Pack(); good(30) }},
		}
		for _, s := range situations {
			s.to()
			for round := range 2 {
				for op, want := range ways {
					before, size := rootOf(t, g), g.MemoryBytes()
					n++
					a := ask(g, n, []byte{byte(op), 1, 0, 0, 0, 0, 0, 0, 0})
					if a.Fault == "" {
						t.Fatalf("%s: it did not fail for %s", s.name, want)
					}
					if rootOf(t, g) != before || g.MemoryBytes() != size {
						t.Fatalf("heap %v, %s, round %d, failing for %s: it is not as it was", heap, s.name, round, want)
					}
					if again := ask(g, n, []byte{byte(op), 1, 0, 0, 0, 0, 0, 0, 0}); !a.equal(&again) {
						t.Fatalf("%s, failing for %s: %+v, and the next time %+v", s.name, want, a, again)
					}
				}
			}
		}
	}
}

// Calls are made again however long they take then: the wall limit is of the
// machine, not of what the guest did.
func TestReplayHasNoWallLimit(t *testing.T) {
	g := newGuest(t, "assemblyscript/wordcount.wasm", Options{})
	text := strings.Repeat("the quick brown fox ", 45)
	if one(t, g, text); g.Fuel() <= 2*fuelSlice || g.undo.calls != 1 {
		t.Fatalf("the event takes %d units of fuel, %d calls since the mark: it says nothing", g.Fuel(), g.undo.calls)
	}
	before := rootOf(t, g)
	g.options.Limits.Wall = -1
	_, err := g.Process(&at, []byte(text))
	wantFault(t, err, abi.FaultLimit, abi.LimitWall, "")
	if rootOf(t, g) != before {
		t.Error("it is not as it was")
	}
}

// What is closed says so, and a guest that could not be put back is of use
// again when a state is loaded.
func TestGuestsThatAreOfNoUse(t *testing.T) {
	g := everythingGuest(t, Config{CacheDir: compiled})
	good := []byte{opNothing, 0, 0, 0, 0, 0, 0, 0, 0}
	ask(g, 1, good)
	state := saved(t, g)
	i, err := g.take()
	if err != nil {
		t.Fatal(err)
	}
	g.spoil(i)
	i.mu.Unlock()
	_, err = g.Save()
	_, err2 := g.Process(&at, good)
	if !errors.Is(err, ErrBroken) || !errors.Is(err2, ErrBroken) {
		t.Errorf("a broken guest: %v, %v", err, err2)
	}
	if g.Pack(); g.space == nil {
		t.Error("a broken guest was packed")
	}
	if err := g.Load(state); err != nil {
		t.Fatal(err)
	}
	if a := ask(g, 2, good); a.Fault != "" {
		t.Errorf("after a state was loaded: %s", a.Fault)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = g.Root()
	_, err2 = g.Process(&at, good)
	for _, err := range []error{err, err2, g.Load(state)} {
		if !errors.Is(err, ErrBroken) {
			t.Errorf("a closed guest: %v", err)
		}
	}
}

// A state is said piece by piece, in order, with little memory; an error of
// whoever is told ends it, and the guest goes on.
func TestSavingPieceByPiece(t *testing.T) {
	m, err := engineOf(t, Config{CacheDir: compiled}).Compile(ctx, dirtier(1024, 4000, 0), 1024)
	if err != nil {
		t.Fatal(err)
	}
	g, err := m.NewGuest(Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	one(t, g, "x")
	whole := saved(t, g)
	if len(whole.Index) < 4000 {
		t.Fatalf("%d blocks differ: it says nothing", len(whole.Index))
	}
	begun, next := false, 0
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err = g.SaveTo(func(s *State) error {
		begun = true
		if !slices.Equal(s.Index, whole.Index) || s.Blocks != nil || s.Size != whole.Size || s.Image != whole.Image || !slices.Equal(s.Globals, whole.Globals) {
			t.Errorf("it begins with %+v", s)
		}
		return nil
	}, 16, func(index []uint32, blocks []byte) error {
		if len(index) == 0 || len(index) > 16 || !slices.Equal(index, whole.Index[next:next+len(index)]) ||
			!bytes.Equal(blocks, whole.Blocks[next*blockBytes:(next+len(index))*blockBytes]) {
			t.Errorf("%d blocks from the %d-th on differ", len(index), next)
		}
		next += len(index)
		return nil
	})
	runtime.ReadMemStats(&after)
	if err != nil || !begun || next != len(whole.Index) {
		t.Fatalf("%v, %d blocks of %d", err, next, len(whole.Index))
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
		t.Errorf("saving %d blocks took %d bytes", next, n)
	}
	enough := errors.New("enough")
	no := func(*State) error { return enough }
	if err := g.SaveTo(no, 16, func([]uint32, []byte) error { t.Error("it went on"); return nil }); !errors.Is(err, enough) {
		t.Errorf("refused at the beginning: %v", err)
	}
	if err := g.SaveTo(func(*State) error { return nil }, 16, func([]uint32, []byte) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("refused at the first blocks: %v", err)
	}
	one(t, g, "x")
}

// A call that returns leaves the count of nested calls as it was, for it is not
// set again before the next.
func TestCallsThatReturnLeaveTheDepth(t *testing.T) {
	g := everythingGuest(t, Config{CacheDir: compiled})
	r := rand.New(rand.NewPCG(12, 13))
	for n := range 2000 {
		a := ask(g, n, everythingEvent(r))
		i, err := g.take()
		if err != nil {
			t.Fatal(err)
		}
		if depth := int32(i.meter.depth.Get()); a.Fault == "" && depth != abi.MaxDepth {
			t.Errorf("event %d: calls can nest %d deep, not %d", n, depth, abi.MaxDepth)
		}
		i.mu.Unlock()
	}
}

// The same events take the same fuel: on every run, on the heap, interpreted,
// after load and after undo. TestGuestsThatMoveAreAsThoseLeftAlone says so of
// long lives; this pins the figure.
func TestFuelOfEverythingIsPinned(t *testing.T) {
	for name, c := range map[string]Config{"mapped": {}, "heap": {Heap: true}, "interpreted": {interpret: true}, "again": {CacheDir: compiled}} {
		g := everythingGuest(t, c)
		for n, want := range []uint64{1334, 1323, 1323} { // the first makes an input buffer
			a := ask(g, n, []byte{opFill, 0, 0, 0, 0, 0xff, 0x3f, 0, 0})
			ask(g, n, []byte{opTrap, 0, 0, 0, 0, 0, 0, 0, 0})
			if a.Fuel != want {
				t.Errorf("%s, event %d: %d units, want %d", name, n, a.Fuel, want)
			}
			if err := g.Load(saved(t, g)); err != nil {
				t.Fatal(err)
			}
		}
	}
}

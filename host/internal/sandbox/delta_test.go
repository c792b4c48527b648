package sandbox

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// What two trackers tell, each at times of its own, makes the states that the
// guest has, whatever it does meanwhile: grow, fail, be packed.
func TestChangesMakeTheStateAgain(t *testing.T) {
	for _, c := range []Config{{}, {MaxMapped: 1}, {Heap: true}} {
		c.CacheDir = compiled
		g := everythingGuest(t, c)
		r := rand.New(rand.NewPCG(3, 4))
		type reader struct {
			tracker *Tracker
			now     *State
		}
		readers := make([]reader, 2)
		n := 0
		events := func(count int) {
			for range count {
				n++
				ask(g, n, everythingEvent(r))
			}
		}
		whole, told := 0, 0
		for round := range eventCount(600) / 4 {
			events(r.IntN(8))
			if r.IntN(8) == 0 {
				g.Pack()
			}
			k := &readers[r.IntN(len(readers))]
			if k.tracker == nil || r.IntN(40) == 0 {
				if k.tracker != nil {
					k.tracker.Stop()
				}
				var err error
				if k.tracker, err = g.Track(); err != nil {
					t.Fatal(err)
				}
				k.now = saved(t, g)
				continue
			}
			changes, err := k.tracker.Save()
			if err != nil {
				t.Fatal(err)
			}
			if k.now, err = Merge(k.now, changes); err != nil {
				t.Fatal(err)
			}
			want := rootOf(t, g)
			if got, err := g.module.StateRoot(k.now); err != nil || got != want {
				t.Fatalf("%+v, round %d: root %x of the changes, %x of the guest, %v", c, round, got, want, err)
			}
			whole += len(saved(t, g).Index)
			told += len(changes.Index)
		}
		if told == 0 || told >= whole {
			t.Errorf("%+v: %d blocks told, %d blocks differ from the image", c, told, whole)
		}
	}
}

// A guest that did nothing has nothing told of it, also where it was packed
// meanwhile; one that was loaded is told so.
func TestNoChanges(t *testing.T) {
	for _, heap := range []bool{false, true} {
		m, err := engineOf(t, Config{CacheDir: compiled, Heap: heap}).Compile(ctx, dirtier(64, 512, 1), 1024)
		if err != nil {
			t.Fatal(err)
		}
		g, err := m.NewGuest(Options{})
		if err != nil {
			t.Fatal(err)
		}
		if a := ask(g, 1, []byte("x")); a.Fault != "" {
			t.Fatal(a.Fault)
		}
		all := len(saved(t, g).Index)
		tr, err := g.Track()
		if err != nil {
			t.Fatal(err)
		}
		g.Pack()
		if s, err := tr.Save(); err != nil || len(s.Index) != 0 {
			t.Errorf("%d blocks of a guest that did nothing, %v", len(s.Index), err)
		}
		if all < 100 {
			t.Errorf("only %d blocks", all)
		}
		if err := g.Load(saved(t, g)); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Save(); !errors.Is(err, ErrUntracked) {
			t.Errorf("a guest that was loaded: %v", err)
		}
		tr.Stop()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestChangesOfAnotherImageAreRefused(t *testing.T) {
	g := everythingGuest(t, Config{CacheDir: compiled})
	a, b := saved(t, g), saved(t, g)
	b.Image[0]++
	if _, err := Merge(a, b); !errors.Is(err, ErrState) {
		t.Error(err)
	}
	b = saved(t, g)
	b.Index, b.Blocks = []uint32{1}, make([]byte, 5)
	if _, err := Merge(a, b); !errors.Is(err, ErrState) {
		t.Error(err)
	}
}

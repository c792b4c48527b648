package sandbox

import (
	"errors"
	"math/rand/v2"
	"testing"
)

// fill brings to up to what the view is of.
func fill(t testing.TB, to *Guest, f *Frozen) {
	t.Helper()
	blocks := make([]byte, 0, f.Len()*blockBytes)
	for k := range f.Len() {
		blocks = append(blocks, f.Block(k)...)
	}
	if err := to.Fill(f.Index, blocks); err != nil {
		t.Fatal(err)
	}
	s := f.State
	s.Index = nil
	if err := to.Become(&s); err != nil {
		t.Fatal(err)
	}
}

func freeze(t testing.TB, g *Guest, since *Frozen) *Frozen {
	t.Helper()
	f, err := g.Freeze(since)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// A view is what the guest was, whatever it does afterwards; what was written
// since a view is enough to go from it to the next; and the hash that follows
// the blocks is that of the whole.
func TestViewsOfAGuestThatGoesOn(t *testing.T) {
	for _, heap := range []bool{false, true} {
		c := Config{CacheDir: compiled, Heap: heap}
		for seed := range uint64(6) {
			g, to := everythingGuest(t, c), everythingGuest(t, c)
			r := rand.New(rand.NewPCG(seed, 77))
			n := 0
			run := func(count int) {
				for range count {
					n++
					ask(g, n, everythingEvent(r))
				}
			}
			run(r.IntN(3000))
			if seed%2 == 1 {
				g.Pack()
			}
			hash, theirs := g.Follow(), to.Follow()
			var last *Frozen
			sizes := []int{}
			for round := range 8 {
				if round == 5 {
					g.Thaw()
					last = nil
				}
				want := rootOf(t, g)
				f := freeze(t, g, last)
				sizes = append(sizes, f.Len())
				run(r.IntN(1500)) // the view must not see it
				for k, b := range f.Index {
					hash.Put(b, f.Block(k))
				}
				if got := hash.Root(&f.State); got != want {
					t.Fatalf("heap %v, seed %d, round %d: the hash that follows is %x, the guest's was %x", heap, seed, round, got, want)
				}
				fill(t, to, f)
				for k, b := range f.Index {
					theirs.Put(b, f.Block(k))
				}
				if got := rootOf(t, to); got != want || theirs.Root(&f.State) != want {
					t.Fatalf("heap %v, seed %d, round %d: filled it has %x, the guest had %x", heap, seed, round, got, want)
				}
				if g.Pack(); g.space == nil && g.packed != nil {
					t.Fatal("a guest of which views are taken was packed")
				}
				last = f
			}
			last = freeze(t, g, last)
			run(1)
			if f := freeze(t, g, last); f.Len() > 16 {
				t.Errorf("heap %v, seed %d: one event wrote %d blocks; the rounds before had %v", heap, seed, f.Len(), sizes)
			}
			g.Thaw()
		}
	}
}

// A view stays what it is after Thaw too, whatever the guest writes.
func TestViewsOutliveThaw(t *testing.T) {
	g := everythingGuest(t, Config{CacheDir: compiled})
	r := rand.New(rand.NewPCG(8, 9))
	n := 0
	run := func(count int) {
		for range count {
			n++
			ask(g, n, everythingEvent(r))
		}
	}
	run(2000)
	first := freeze(t, g, nil)
	run(100)
	f := freeze(t, g, first)
	want := make([]block, f.Len())
	for k := range want {
		want[k] = *(*block)(f.Block(k))
	}
	g.Thaw()
	before := rootOf(t, g)
	for range 4 {
		run(2000)
		freeze(t, g, nil)
		g.Thaw()
	}
	for k := range want {
		if want[k] != *(*block)(f.Block(k)) {
			t.Fatalf("block %d of the view changed after Thaw", f.Index[k])
		}
	}
	if len(want) == 0 || before == rootOf(t, g) {
		t.Error("nothing happened")
	}
}

// The filled guest goes on as the first would have, failures and their undoing
// included.
func TestAFilledGuestGoesOn(t *testing.T) {
	for _, heap := range []bool{false, true} {
		c := Config{CacheDir: compiled, Heap: heap}
		g, to := everythingGuest(t, c), everythingGuest(t, c)
		r := rand.New(rand.NewPCG(5, 6))
		for n := 1; n <= 4000; n++ {
			payload := everythingEvent(r)
			a := ask(g, n, payload)
			if n > 2000 {
				if b := ask(to, n, payload); string(a.Outputs) != string(b.Outputs) || a.Fault != b.Fault || a.Fuel != b.Fuel {
					t.Fatalf("heap %v: event %d gave %+v here and %+v there", heap, n, a, b)
				}
			}
			if n == 2000 {
				fill(t, to, freeze(t, g, nil))
				g.Thaw()
			}
		}
		if rootOf(t, g) != rootOf(t, to) {
			t.Error("they end differently")
		}
	}
}

func TestFillRefusesWhatIsNoState(t *testing.T) {
	g := everythingGuest(t, Config{CacheDir: compiled})
	beyond := uint32(g.limit() / blockBytes)
	for name, err := range map[string]error{
		"too few bytes": g.Fill([]uint32{1, 2}, make([]byte, blockBytes)),
		"outside":       g.Fill([]uint32{beyond}, make([]byte, blockBytes)),
		"the end":       g.Fill([]uint32{1<<32 - 1}, make([]byte, blockBytes)),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	s := saved(t, g)
	s.Index, s.Blocks = nil, nil
	s.Size = 3
	if err := g.Become(s); err == nil {
		t.Error("a memory of 3 bytes: no error")
	}
}

// Guests that are made of one view have its memory together, and what one does
// none of the others sees.
func TestSharedView(t *testing.T) {
	for _, heap := range []bool{false, true} {
		c := Config{CacheDir: compiled, Heap: heap}
		g := everythingGuest(t, c)
		r := rand.New(rand.NewPCG(5, 6))
		for n := range 1500 {
			ask(g, n+1, everythingEvent(r))
		}
		want := rootOf(t, g)
		shared := freeze(t, g, nil).Share()
		g.Thaw()
		var made []*Guest
		for range 3 {
			to := everythingGuest(t, c)
			if err := to.LoadShared(shared); err != nil {
				t.Fatal(err)
			}
			made = append(made, to)
		}
		if made[0].packed != made[2].packed {
			t.Error("each has a copy")
		}
		for n := range 300 {
			e := everythingEvent(r)
			ask(g, 1501+n, e)
			ask(made[0], 1501+n, e)
		}
		if rootOf(t, made[0]) == want {
			t.Error("the first went nowhere")
		}
		for k, to := range made[1:] {
			if got := rootOf(t, to); got != want {
				t.Errorf("heap %v, guest %d: %x, want %x", heap, k+1, got, want)
			}
		}
		if err := everythingGuest(t, c).LoadShared(&Shared{packed: shared.packed}); !errors.Is(err, ErrState) {
			t.Errorf("of no module: %v", err)
		}
	}
}

// TestAFollowerHoldsWhatDiffersOnce is told the same blocks again and again, as a peer can:
// it holds no more for that, and stands where it stood.
func TestAFollowerHoldsWhatDiffersOnce(t *testing.T) {
	g := everythingGuest(t, Config{CacheDir: compiled})
	f, once := g.Follow(), g.Follow()
	b := make([]byte, BlockBytes)
	b[0] = 1
	once.Put(3, b)
	once.Put(900, b)
	for range 1000 {
		f.Put(900, b)
		f.Put(3, b)
	}
	if len(f.fresh) != 2 {
		t.Errorf("it notes %d blocks, not 2", len(f.fresh))
	}
	s := &State{Size: 64 << 20}
	for range 2 { // asked again, it has nothing to make anew
		if f.Root(s) != once.Root(s) {
			t.Error("the hashes differ")
		}
	}
	f.Put(3, make([]byte, BlockBytes))
	if f.Root(s) == once.Root(s) {
		t.Error("a block that changed after the hash was asked for does not count")
	}
}

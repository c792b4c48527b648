package sandbox

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// mappings counts the mappings of image files that this process has.
func mappings(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip(err)
	}
	return strings.Count(string(b), "wasmhost-image")
}

// Many more guests than can be mapped, on several goroutines: they are packed
// all the time, take turns on instances, and none loses or gains an event. In
// the end nothing is left of them.
func TestManyGuestsOfFewMappings(t *testing.T) {
	began := mappings(t)
	e, err := NewEngine(ctx, Config{CacheDir: compiled, MaxMapped: 8})
	if err != nil {
		t.Fatal(err)
	}
	m, err := e.Compile(ctx, wasmOf(t, "c/counter.wasm"), 1024)
	if err != nil {
		t.Fatal(err)
	}
	all, err := e.Compile(ctx, everything(), 1024)
	if err != nil {
		t.Fatal(err)
	}
	const workers, each = 6, 20
	var packed atomic.Int64
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 77))
			if err := crowd(m, all, r, each, &packed); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if e.Heap() == nil && packed.Load() < workers*each {
		t.Errorf("guests were found packed %d times: it says nothing", packed.Load())
	}
	if n := len(e.mapped.list); n != 0 || len(e.mapped.index) != 0 {
		t.Errorf("%d guests are still counted as mapped", n)
	}
	for _, m := range []*Module{m, all} {
		if n := len(m.instances); n > workers {
			t.Errorf("%d instances for %d goroutines", n, workers)
		}
		if err := m.Close(ctx); err != nil {
			t.Error(err)
		}
	}
	if err := e.Close(ctx); err != nil {
		t.Error(err)
	}
	if n := mappings(t); n != began {
		t.Errorf("%d mappings of images, %d at the beginning", n, began)
	}
}

// crowd runs one goroutine's guests: counters, which know how often they were
// asked, and pairs of guests of everything, of which one is packed.
func crowd(counter, all *Module, r *rand.Rand, each int, packed *atomic.Int64) (err error) {
	var counters, twins []*Guest
	for k := range 3 * each {
		m, list := counter, &counters
		if k >= each {
			m, list = all, &twins
		}
		g, err := m.NewGuest(Options{Limits: everythingLimits})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, g.Close()) }()
		*list = append(*list, g)
	}
	counts := make([]int, each)
	for n := range 40 * each {
		k := r.IntN(each)
		counters[k].mu.Lock()
		if counters[k].packed != nil && counts[k] > 0 {
			packed.Add(1)
		}
		counters[k].mu.Unlock()
		if r.IntN(10) == 0 {
			if a := ask(counters[k], n, []byte("fail")); a.Fault == "" {
				return errors.New("it did not fail")
			}
			continue
		}
		counts[k]++
		out, err := counters[k].Process(&at, []byte("x"))
		if err != nil || len(out) != 1 || string(out[0]) != fmt.Sprint(counts[k]) {
			return fmt.Errorf("%q, %w; want %d", out, err, counts[k])
		}
		if n%4 == 0 {
			if err := both(twins[k], twins[each+k], n, everythingEvent(r)); err != nil {
				return err
			}
		}
		if n%100 == 0 { // a guest goes, another comes, while others run
			if err := counters[k].Close(); err != nil {
				return err
			}
			if counters[k], err = counter.NewGuest(Options{}); err != nil {
				return err
			}
			defer counters[k].Close()
			counts[k] = 0
		}
	}
	return nil
}

func both(a, b *Guest, n int, payload []byte) error {
	x, y := ask(a, n, payload), ask(b, n, payload)
	if !x.equal(&y) {
		return fmt.Errorf("event %d: %+v and %+v", n, x, y)
	}
	b.Pack()
	p, err := a.Root()
	q, err2 := b.Root()
	if err = errors.Join(err, err2); err != nil || p != q {
		return fmt.Errorf("event %d: roots %x and %x, %w", n, p, q, err)
	}
	return nil
}

// Where there are as many instances as there can be, calls wait for one
// another, also while instances are thrown away because tables differ.
func TestMoreCallsAtATimeThanInstances(t *testing.T) {
	e := engineOf(t, Config{CacheDir: compiled, MaxMapped: 100})
	m, err := e.Compile(ctx, everything(), 1024)
	if err != nil {
		t.Fatal(err)
	}
	var guests []*Guest
	guest := func() *Guest {
		g, err := m.NewGuest(Options{Limits: everythingLimits})
		if err != nil {
			t.Fatal(err)
		}
		guests = append(guests, g)
		return g
	}
	var held []*instance
	for range maxInstances {
		i, err := guest().take()
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, i)
	}
	if n := len(m.instances); n != maxInstances {
		t.Errorf("%d instances for %d guests", n, maxInstances)
	}
	var wg sync.WaitGroup
	for w := range 12 {
		a, b := guest(), guest()
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(w), 5))
			for n := range 20 {
				if err := both(a, b, n, everythingEvent(r)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for _, i := range held {
		i.unlock()
	}
	wg.Wait()
	if n := len(m.instances); n > maxInstances {
		t.Errorf("%d instances, at most %d", n, maxInstances)
	}
	for _, g := range guests {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := len(e.mapped.list); n != 0 {
		t.Errorf("%d guests are still counted as mapped", n)
	}
}

// Who waits for an instance gets whichever is free first, and gets one though
// the guests that have them are called without a pause.
func TestWaitingForAnyInstance(t *testing.T) {
	m, err := engineOf(t, Config{CacheDir: compiled}).Compile(ctx, everything(), 1024)
	if err != nil {
		t.Fatal(err)
	}
	m.most = 2
	var guests []*Guest
	for range 6 {
		g, err := m.NewGuest(Options{Limits: everythingLimits})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		guests = append(guests, g)
	}
	good := []byte{opNothing, 0, 0, 0, 0, 0, 0, 0, 0}
	for first := range 2 { // which of the two is let go of
		held := []*instance{nil, nil}
		for k := range held {
			if held[k], err = guests[k].take(); err != nil {
				t.Fatal(err)
			}
		}
		var wg sync.WaitGroup
		for _, g := range guests[2:] {
			wg.Go(func() { ask(g, 1, good) })
		}
		for m.waiting.Load() < 4 {
			runtime.Gosched()
		}
		held[first].unlock()
		wg.Wait() // the four, on that one
		held[1-first].unlock()
	}

	var stop atomic.Bool
	var busy sync.WaitGroup
	for _, g := range guests[:2] {
		busy.Go(func() {
			for n := 0; !stop.Load(); n++ {
				ask(g, n, good)
			}
		})
	}
	var wg sync.WaitGroup
	for _, g := range guests[2:] {
		wg.Go(func() {
			for n := range 50 {
				if a := ask(g, n, good); a.Fault != "" {
					t.Error(a.Fault)
				}
			}
		})
	}
	wg.Wait()
	stop.Store(true)
	busy.Wait()
	if n := len(m.instances); n > 2 {
		t.Errorf("%d instances", n)
	}
}

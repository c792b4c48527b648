package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

func wasmOf(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "wasm", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var compiled string // where the tests share compiled guests

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := beChild(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	dir, err := os.MkdirTemp("", "wasmhost")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	compiled = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func engine(t testing.TB) *Engine {
	t.Helper()
	return engineOf(t, Config{CacheDir: compiled})
}

func engineOf(t testing.TB, c Config) *Engine {
	t.Helper()
	e, err := NewEngine(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return e
}

func newGuest(t testing.TB, name string, o Options) *Guest {
	t.Helper()
	m, err := engine(t).Compile(context.Background(), wasmOf(t, name), 1024)
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.NewGuest(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

var at = Event{Sequence: 1, Time: 1_800_000_000_000_000_000}

func saved(t testing.TB, g *Guest) *State {
	t.Helper()
	s, err := g.Save()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// one sends an event and returns its only output, or "" where there is none.
func one(t testing.TB, i *Guest, payload string) string {
	t.Helper()
	out, err := i.Process(&at, []byte(payload))
	if err != nil {
		t.Fatalf("event %q: %v", payload, err)
	}
	if len(out) == 0 {
		return ""
	}
	return string(out[0])
}

func wantFault(t testing.TB, err error, kind abi.FaultKind, limit, text string) *abi.Fault {
	t.Helper()
	var f *abi.Fault
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a fault", err)
	}
	if f.Kind != kind || f.Limit != limit || !strings.Contains(f.Text, text) {
		t.Fatalf("got fault %+v, want kind %s, limit %q, text with %q", f, kind, limit, text)
	}
	return f
}

func TestCounterCountsAndFails(t *testing.T) {
	i := newGuest(t, "c/counter.wasm", Options{})
	if err := i.Init(&at, []byte(`{"start": 40}`)); err != nil {
		t.Fatal(err)
	}
	for n := 41; n <= 43; n++ {
		if got := one(t, i, "x"); got != fmt.Sprint(n) {
			t.Fatalf("got %q, want %d", got, n)
		}
	}
	_, err := i.Process(&at, []byte("fail"))
	if f := wantFault(t, err, abi.FaultError, "", "asked to fail"); f.Code != 1 {
		t.Errorf("code %d, want 1", f.Code)
	}
	if got := one(t, i, "x"); got != "44" {
		t.Errorf("after the failure: %q, want 44", got)
	}
}

func TestHooksCarryStateToAFreshInstance(t *testing.T) {
	a := newGuest(t, "c/wordcount.wasm", Options{})
	for range 300 {
		one(t, a, "the quick brown fox; THE lazy dog 42")
	}
	state, err := a.Snapshot(&at)
	if err != nil {
		t.Fatal(err)
	}
	b := newGuest(t, "c/wordcount.wasm", Options{})
	if err := b.Restore(&at, state); err != nil {
		t.Fatal(err)
	}
	if x, y := one(t, a, "?totals"), one(t, b, "?totals"); x != y || !strings.Contains(x, "the 600") {
		t.Errorf("totals differ or are wrong:\n%s\n%s", x, y)
	}
	if got := one(t, b, "?lines"); got != "300" {
		t.Errorf("lines %s, want 300", got)
	}
	wantFault(t, b.Restore(&at, []byte("12\nword")), abi.FaultError, "", "malformed state")
}

// Every way to misbehave ends with a fault that says which, on the first call
// and on the hundredth, and leaves nothing behind.
func TestUnrulyIsUndone(t *testing.T) {
	limits := DefaultLimits()
	limits.Fuel, limits.MemoryPages = 16<<20, 64
	i := newGuest(t, "c/unruly.wasm", Options{Limits: limits})
	good := 0
	for round := range 4 {
		for _, tc := range []struct {
			event, limit, text string
			kind               abi.FaultKind
		}{
			{"trap", "", "unreachable", abi.FaultTrap},
			{"panic", "", "asked to panic", abi.FaultTrap},
			{"fail", "", "asked to fail", abi.FaultError},
			{"loop", abi.LimitFuel, "16777216 units", abi.FaultLimit},
			{"recurse", abi.LimitStack, "nested", abi.FaultLimit},
			{"overflow", "", "out of bounds", abi.FaultTrap}, // C's own stack ends first
			{"log", abi.LimitLogBytes, "16 times", abi.FaultLimit},
			{"grow", abi.LimitMemory, "no more memory", abi.FaultLimit},
			{"flood", abi.LimitOutputCount, "4096", abi.FaultLimit},
			{"badptr", "", "emit", abi.FaultAnswer},
		} {
			before := saved(t, i)
			_, err := i.Process(&at, []byte(tc.event))
			if tc.event == "grow" { // the guest's own words come first
				var f *abi.Fault
				if !errors.As(err, &f) || f.Limit != abi.LimitMemory {
					t.Fatalf("grow: %v", err)
				}
			} else {
				wantFault(t, err, tc.kind, tc.limit, tc.text)
			}
			if !reflect.DeepEqual(saved(t, i), before) {
				t.Fatalf("%s left a trace", tc.event)
			}
			good++
			if got := one(t, i, "count"); got != fmt.Sprint(good) {
				t.Fatalf("round %d: after %s the count is %s, want %d", round, tc.event, got, good)
			}
		}
	}
}

// A module whose process calls itself for ever, with nothing on a stack in
// memory: the depth of calls is what ends it, in no time.
func TestEndlessRecursionNamesTheCallDepth(t *testing.T) {
	wasm := []byte("\x00asm\x01\x00\x00\x00" +
		"\x01\x0f\x03\x60\x00\x00\x60\x01\x7f\x01\x7f\x60\x02\x7f\x7f\x01\x7f" + // types: (), (i32) i32, (i32 i32) i32
		"\x03\x04\x03\x00\x01\x02" + // functions: one of each
		"\x05\x03\x01\x00\x01") // a memory of one page
	var exports []byte
	for _, e := range []struct {
		name string
		kind byte
		idx  byte
	}{{abi.ExportMarker, 0, 0}, {abi.ExportAlloc, 0, 1}, {abi.ExportProcess, 0, 2}, {abi.ExportMemory, 2, 0}} {
		exports = append(append(append(exports, byte(len(e.name))), e.name...), e.kind, e.idx)
	}
	wasm = append(append(wasm, 7, byte(len(exports)+1), 4), exports...)
	wasm = append(wasm, "\x0a\x13\x03"+
		"\x02\x00\x0b"+ // {}
		"\x05\x00\x41\x80\x08\x0b"+ // { 1024 }
		"\x08\x00\x20\x00\x20\x01\x10\x02\x0b"...) // { process(a, b) }
	e := engine(t)
	m, err := e.Compile(context.Background(), wasm, 1024)
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.NewGuest(Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		_, err = i.Process(&at, []byte("x"))
		wantFault(t, err, abi.FaultLimit, abi.LimitStack, "65536 deep")
	}
	if i.Fuel() > 10*abi.MaxDepth {
		t.Errorf("it took %d units of fuel", i.Fuel())
	}
}

func TestWallLimitGuardsWhatFuelDoesNot(t *testing.T) {
	limits := DefaultLimits()
	limits.Fuel, limits.Wall = 1<<50, 20*time.Millisecond
	i := newGuest(t, "c/unruly.wasm", Options{Limits: limits})
	_, err := i.Process(&at, []byte("loop"))
	wantFault(t, err, abi.FaultLimit, abi.LimitWall, "20ms")
}

// The wall limit also ends a guest that spends its time in host functions,
// where it takes next to no fuel.
func TestWallLimitEndsAGuestThatCallsTheHost(t *testing.T) {
	m := &assembly{}
	none, oneOne, twoOne, twoNone := m.typ("", ""), m.typ("i", "i"), m.typ("ii", "i"), m.typ("ii", "")
	random := m.imported(abi.ImportRandom, twoNone)
	m.add(5, cat(0, 2)...)
	m.export(abi.ExportMemory, 2, 0)
	m.export(abi.ExportMarker, 0, m.fn(none, leb(0)))
	m.export(abi.ExportAlloc, 0, m.fn(oneOne, leb(0), i32(0x10000)))
	m.export(abi.ExportProcess, 0, m.fn(twoOne, leb(0), get(1), 0x45, 0x04, 0x40, // if the event is empty
		0x03, 0x40, i32(0x8000), i32(1024), invoke(random), 0x0c, 0, 0x0b, 0x0b, i32(0)))
	compiledModule, err := engineOf(t, Config{CacheDir: compiled}).Compile(ctx, m.bytes(), 1024)
	if err != nil {
		t.Fatal(err)
	}
	limits := DefaultLimits()
	limits.Fuel, limits.Wall = 1<<50, 1
	g, err := compiledModule.NewGuest(Options{Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, err = g.Process(&at, nil)
	wantFault(t, err, abi.FaultLimit, abi.LimitWall, "1ns")
	if _, err := g.Process(&at, []byte("x")); err != nil {
		t.Errorf("the next event: %v", err)
	}
}

// The same events take the same fuel, whatever the slices, and a limit stops
// the guest at the same place: one unit less than it needs is too little.
func TestFuelIsDeterministic(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for long, one thing after another")
	}
	for _, name := range []string{"c/wordcount.wasm", "rust/wordcount.wasm", "assemblyscript/wordcount.wasm", "go/wordcount.wasm"} {
		text := []byte(strings.Repeat("the quick brown fox ", 5000))
		measure := func(limit uint64) (uint64, error) {
			l := DefaultLimits()
			l.Fuel = limit
			i := newGuest(t, name, Options{Limits: l})
			_, err := i.Process(&at, text)
			return i.Fuel(), err
		}
		first, err := measure(1 << 40)
		if err != nil || first < uint64(len(text)) {
			t.Fatalf("%s: %d units, %v", name, first, err)
		}
		if again, err := measure(1 << 40); err != nil || again != first {
			t.Errorf("%s: %d units, then %d, %v", name, first, again, err)
		}
		if exact, err := measure(first); err != nil || exact != first {
			t.Errorf("%s: %d units with a limit of %d, %v", name, exact, first, err)
		}
		var f *abi.Fault
		if _, err := measure(first / 2); !errors.As(err, &f) || f.Limit != abi.LimitFuel {
			t.Errorf("%s: with half of the fuel: %v", name, err)
		}
	}
}

func TestLogIsBounded(t *testing.T) {
	var lines int
	var last string
	log := func(_ int, text string) { lines++; last = text }
	few := DefaultLimits() // the guest logs 3.8 MB
	few.LogBytes = 256 << 10
	i := newGuest(t, "c/unruly.wasm", Options{Log: log, Limits: few})
	one(t, i, "log")
	if lines == 0 || lines > 256<<10/30 {
		t.Errorf("%d lines got through", lines)
	}
	if !strings.Contains(last, "the rest is dropped") {
		t.Errorf("the last line does not say that some were dropped: %q", last)
	}
	flooded := newGuest(t, "c/unruly.wasm", Options{})
	_, err := flooded.Process(&at, []byte("log"))
	wantFault(t, err, abi.FaultLimit, abi.LimitLogBytes, "16 times the 65536 bytes")
	if got := one(t, flooded, "count"); got != "1" {
		t.Errorf("after a flood of logs the count is %s", got)
	}
}

func TestModuleThatNeedsTooMuchMemory(t *testing.T) {
	m, err := engine(t).Compile(context.Background(), wasmOf(t, "c/echo.wasm"), 1024)
	if err != nil {
		t.Fatal(err)
	}
	limits := DefaultLimits()
	limits.MemoryPages = 0
	_, err = m.NewGuest(Options{Limits: limits})
	wantFault(t, err, abi.FaultLimit, abi.LimitMemory, "pages")
}

func TestManyInstancesAtOnce(t *testing.T) {
	m, err := engine(t).Compile(context.Background(), wasmOf(t, "c/counter.wasm"), 1024)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			i, err := m.NewGuest(Options{})
			if err != nil {
				t.Error(err)
				return
			}
			ev := at
			for n := 1; n <= 200; n++ {
				out, err := i.Process(&ev, []byte("x"))
				if err != nil || string(out[0]) != fmt.Sprint(n) {
					t.Errorf("event %d: %q, %v", n, out, err)
					return
				}
			}
			if err := i.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestCompileRefusesWhatDoesNotValidate(t *testing.T) {
	b := bytes.Clone(wasmOf(t, "c/echo.wasm"))
	at := bytes.LastIndexByte(b, 0x0b) // the end of the last body
	b[at] = 0x00
	_, err := engine(t).Compile(context.Background(), b, 1024)
	var r *abi.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal", err)
	}
}

func TestCacheDirectoryIsReused(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		e, err := NewEngine(context.Background(), Config{CacheDir: dir})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := e.Compile(context.Background(), wasmOf(t, "c/counter.wasm"), 1024); err != nil {
			t.Fatal(err)
		}
		if err := e.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Errorf("the cache directory holds %v, %v", entries, err)
	}
}

// BenchmarkLoop is a tight loop of 10 million units of fuel.
func BenchmarkLoop(b *testing.B) {
	l := DefaultLimits()
	l.Fuel = 10_000_000
	i := newGuest(b, "c/unruly.wasm", Options{Limits: l})
	for b.Loop() {
		if _, err := i.Process(&at, []byte("loop")); err == nil {
			b.Fatal("it ended")
		}
	}
}

func BenchmarkProcess(b *testing.B) {
	i := newGuest(b, "c/counter.wasm", Options{})
	payload := bytes.Repeat([]byte{'x'}, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Process(&at, payload); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBare is the floor: the same guest called through wazero alone, with
// the host function doing nothing but reading what is emitted.
func BenchmarkBare(b *testing.B) {
	ctx := context.Background()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	hb := r.NewHostModuleBuilder(abi.ImportModule)
	for name, sig := range abi.HostFunctions {
		p, res := valueTypes(sig)
		hb = hb.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, s []uint64) {
			if name == abi.ImportEmit {
				m.Memory().Read(uint32(s[0]), uint32(s[1]))
			}
		}), p, res).Export(name)
	}
	if _, err := hb.Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	m, err := r.Instantiate(ctx, wasmOf(b, "c/counter.wasm"))
	if err != nil {
		b.Fatal(err)
	}
	alloc, process := m.ExportedFunction(abi.ExportAlloc), m.ExportedFunction(abi.ExportProcess)
	res, err := alloc.Call(ctx, 64)
	if err != nil {
		b.Fatal(err)
	}
	payload := bytes.Repeat([]byte{'x'}, 64)
	var stack [2]uint64
	b.ReportAllocs()
	for b.Loop() {
		m.Memory().Write(uint32(res[0]), payload)
		stack[0], stack[1] = res[0], 64
		if err := process.CallWithStack(ctx, stack[:]); err != nil {
			b.Fatal(err)
		}
	}
}

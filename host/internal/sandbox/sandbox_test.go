package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmhost/abi"
)

func guest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "wasm", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func engine(t testing.TB) *Engine {
	t.Helper()
	e, err := NewEngine(context.Background(), Config{})
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

func instance(t testing.TB, name string, o Options) *Instance {
	t.Helper()
	m, err := engine(t).Compile(context.Background(), guest(t, name))
	if err != nil {
		t.Fatal(err)
	}
	i, err := m.Instantiate(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return i
}

var at = Event{Self: [32]byte{1}, Sequence: 1, Time: 1_800_000_000_000_000_000, Seed: [32]byte{7}}

// one sends an event and returns its only output, or "" where there is none.
func one(t testing.TB, i *Instance, payload string) string {
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
	i := instance(t, "c/counter.wasm", Options{})
	if err := i.Init(&at, []byte(`{"start": 40}`)); err != nil {
		t.Fatal(err)
	}
	for n := 41; n <= 43; n++ {
		if got := one(t, i, "x"); got != fmt.Sprint(n) {
			t.Fatalf("got %q, want %d", got, n)
		}
	}
	var c Checkpoint
	i.Capture(&c)
	_, err := i.Process(&at, []byte("fail"))
	if f := wantFault(t, err, abi.FaultError, "", "asked to fail"); f.Code != 1 {
		t.Errorf("code %d, want 1", f.Code)
	}
	if _, err := i.Process(&at, nil); !errors.Is(err, ErrSpoiled) {
		t.Errorf("a failed instance answered %v, want ErrSpoiled", err)
	}
	if err := i.Reset(&c); err != nil {
		t.Fatal(err)
	}
	if got := one(t, i, "x"); got != "44" {
		t.Errorf("after the failure: %q, want 44", got)
	}
}

func TestHooksCarryStateToAFreshInstance(t *testing.T) {
	a := instance(t, "c/wordcount.wasm", Options{})
	for range 300 {
		one(t, a, "the quick brown fox; THE lazy dog 42")
	}
	state, err := a.Snapshot(&at)
	if err != nil {
		t.Fatal(err)
	}
	b := instance(t, "c/wordcount.wasm", Options{})
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
	limits.Wall, limits.MemoryPages = 50*time.Millisecond, 64
	i := instance(t, "c/unruly.wasm", Options{Limits: limits})
	var c Checkpoint
	good := 0
	for round := range 4 {
		for _, tc := range []struct {
			event, limit, text string
			kind               abi.FaultKind
		}{
			{"trap", "", "unreachable", abi.FaultTrap},
			{"panic", "", "asked to panic", abi.FaultTrap},
			{"fail", "", "asked to fail", abi.FaultError},
			{"loop", abi.LimitWall, "50ms", abi.FaultLimit},
			{"grow", abi.LimitMemory, "no more memory", abi.FaultLimit},
			{"flood", abi.LimitOutputCount, "4096", abi.FaultLimit},
			{"badptr", "", "emit", abi.FaultAnswer},
		} {
			i.Capture(&c)
			_, err := i.Process(&at, []byte(tc.event))
			if tc.event == "grow" { // the guest's own words come first
				var f *abi.Fault
				if !errors.As(err, &f) || f.Limit != abi.LimitMemory {
					t.Fatalf("grow: %v", err)
				}
			} else {
				wantFault(t, err, tc.kind, tc.limit, tc.text)
			}
			if err := i.Reset(&c); err != nil {
				t.Fatalf("%s: %v", tc.event, err)
			}
			if i.MemoryBytes() != len(c.memory) || !bytes.Equal(i.mem.buf, c.memory) {
				t.Fatalf("%s left a trace in memory", tc.event)
			}
			good++
			if got := one(t, i, "count"); got != fmt.Sprint(good) {
				t.Fatalf("round %d: after %s the count is %s, want %d", round, tc.event, got, good)
			}
		}
	}
}

func TestEndlessRecursionNamesTheCallDepth(t *testing.T) {
	limits := DefaultLimits()
	limits.Wall = 30 * time.Second
	i := instance(t, "c/unruly.wasm", Options{Limits: limits})
	var c Checkpoint
	i.Capture(&c)
	_, err := i.Process(&at, []byte("recurse"))
	var f *abi.Fault
	if !errors.As(err, &f) || (f.Limit != abi.LimitStack && f.Kind != abi.FaultTrap) {
		t.Fatalf("got %v", err)
	}
	if err := i.Reset(&c); err != nil {
		t.Fatal(err)
	}
	if got := one(t, i, "count"); got != "1" {
		t.Errorf("count %s, want 1", got)
	}
}

func TestLogIsBounded(t *testing.T) {
	var lines int
	var last string
	i := instance(t, "c/unruly.wasm", Options{Log: func(_ int, text string) { lines++; last = text }})
	one(t, i, "log")
	if lines == 0 || lines > 64<<10/30 {
		t.Errorf("%d lines got through", lines)
	}
	if !strings.Contains(last, "the rest is dropped") {
		t.Errorf("the last line does not say that some were dropped: %q", last)
	}
}

func TestModuleThatNeedsTooMuchMemory(t *testing.T) {
	m, err := engine(t).Compile(context.Background(), guest(t, "c/echo.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	limits := DefaultLimits()
	limits.MemoryPages = 0
	_, err = m.Instantiate(context.Background(), Options{Limits: limits})
	wantFault(t, err, abi.FaultLimit, abi.LimitMemory, "pages")
}

func TestManyInstancesAtOnce(t *testing.T) {
	m, err := engine(t).Compile(context.Background(), guest(t, "c/counter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			i, err := m.Instantiate(context.Background(), Options{})
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
			if err := i.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestCompileRefusesWhatDoesNotValidate(t *testing.T) {
	b := bytes.Clone(guest(t, "c/echo.wasm"))
	at := bytes.LastIndexByte(b, 0x0b) // the end of the last body
	b[at] = 0x00
	_, err := engine(t).Compile(context.Background(), b)
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
		if _, err := e.Compile(context.Background(), guest(t, "c/counter.wasm")); err != nil {
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

func BenchmarkProcess(b *testing.B) {
	i := instance(b, "c/counter.wasm", Options{})
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
	m, err := r.Instantiate(ctx, guest(b, "c/counter.wasm"))
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

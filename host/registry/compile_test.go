package registry_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host"
	"wasmhost.example/host/registry"
)

// heldCompiler compiles modules when the test says so.
type heldCompiler struct {
	mu    sync.Mutex
	begun chan int // gets each module's size
	free  map[int]chan error
	ended chan error // gets why a compile was ended
	jobs  []registry.CompileJob
}

func newHeldCompiler(sizes ...int) *heldCompiler {
	h := &heldCompiler{begun: make(chan int, 16), free: make(map[int]chan error), ended: make(chan error, 16)}
	for _, s := range sizes {
		h.free[s] = make(chan error, 1)
	}
	return h
}

func (h *heldCompiler) Compile(ctx context.Context, job registry.CompileJob) (registry.CompileUse, error) {
	h.mu.Lock()
	h.jobs = append(h.jobs, job)
	h.mu.Unlock()
	use := registry.CompileUse{CPU: time.Second, Memory: 1 << 20}
	h.begun <- len(job.Wasm)
	if free := h.free[len(job.Wasm)]; free != nil {
		select {
		case err := <-free:
			if err != nil {
				return use, err
			}
		case <-ctx.Done():
			h.ended <- context.Cause(ctx)
			return use, context.Cause(ctx)
		}
	}
	return use, registry.CompileInto(ctx, job.Wasm, job.Dir)
}

func compilingNode(t *testing.T, c registry.Compiler, dir string) *host.Runtime {
	t.Helper()
	r, err := host.New(t.Context(), host.Options{Compiler: c, CacheDir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestCompileIsShared has two clients push one module: one compile, and it goes
// on when one of them leaves.
func TestCompileIsShared(t *testing.T) {
	echo := guest(t, "c/echo.wasm")
	h := newHeldCompiler(len(echo))
	r := compilingNode(t, h, t.TempDir())
	ctx, leave := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() { _, err := r.Kinds().Push(ctx, "a", echo); first <- err }()
	<-h.begun
	go func() { _, err := r.Kinds().Push(t.Context(), "b", echo); second <- err }()
	for registry.CompileWaiters(r.Kinds()) != 2 {
		runtime.Gosched()
	}
	leave()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("who left got %v", err)
	}
	h.free[len(echo)] <- nil
	if err := <-second; err != nil {
		t.Errorf("who stayed got %v", err)
	}
	if len(h.jobs) != 1 {
		t.Errorf("%d compiles of one module", len(h.jobs))
	}
}

// TestCompileEndsWhenNobodyWaits ends a compile with its last client; the next
// push begins another.
func TestCompileEndsWhenNobodyWaits(t *testing.T) {
	echo := guest(t, "c/echo.wasm")
	h := newHeldCompiler(len(echo))
	dir := t.TempDir()
	r := compilingNode(t, h, dir)
	ctx, leave := context.WithCancel(t.Context())
	pushed := make(chan error, 1)
	go func() { _, err := r.Kinds().Push(ctx, "a", echo); pushed <- err }()
	<-h.begun
	leave()
	<-pushed
	<-h.ended // the compile
	h.free[len(echo)] <- nil
	if _, err := r.Kinds().Push(t.Context(), "a", echo); err != nil {
		t.Errorf("a push after that: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "child-*")); err != nil || len(left) > 0 {
		t.Errorf("left in the cache: %v, %v", left, err)
	}
	m := r.Kinds().Compiles()
	if m.Results["cancelled"] != 1 || m.Results["compiled"] != 1 || m.Running != 0 || m.CPU == 0 || len(m.Results) != 7 {
		t.Errorf("counted %+v", m)
	}
}

// TestOthersDoNotWait pushes a small module while a large one is compiled.
func TestOthersDoNotWait(t *testing.T) {
	echo, large := guest(t, "c/echo.wasm"), guest(t, "go/wordcount.wasm")
	h := newHeldCompiler(len(large))
	r := compilingNode(t, h, t.TempDir())
	pushed := make(chan error, 1)
	go func() { _, err := r.Kinds().Push(t.Context(), "large", large); pushed <- err }()
	<-h.begun
	if _, err := r.Kinds().Push(t.Context(), "echo", echo); err != nil {
		t.Errorf("a small module beside a large one: %v", err)
	}
	h.free[len(large)] <- nil
	if err := <-pushed; err != nil {
		t.Errorf("the large one: %v", err)
	}
}

// TestCompileFailureIsRemembered pushes a module twice that goes over a limit.
func TestCompileFailureIsRemembered(t *testing.T) {
	echo := guest(t, "c/echo.wasm")
	h := newHeldCompiler(len(echo))
	r := compilingNode(t, h, t.TempDir())
	h.free[len(echo)] <- &registry.CompileError{Limit: registry.CompileMemory, Text: "3 GiB, the limit is 2 GiB"}
	for range 2 {
		_, err := r.Kinds().Push(t.Context(), "a", echo)
		var over *registry.CompileError
		if !errors.As(err, &over) || over.Limit != registry.CompileMemory || !errors.Is(err, registry.ErrCompileBudget) {
			t.Fatalf("a push of a module over its budget: %v", err)
		}
	}
	if len(h.jobs) != 1 {
		t.Errorf("it was compiled %d times", len(h.jobs))
	}
	if got := r.Kinds().Compiles().Results; got["over-budget"] != 1 || got["remembered"] != 1 {
		t.Errorf("counted %v", got)
	}
}

// TestCacheIsLoaded starts a second runtime with the first one's cache, which
// compiles nothing; where the cache is damaged, it does.
func TestCacheIsLoaded(t *testing.T) {
	echo, dir := guest(t, "c/echo.wasm"), t.TempDir()
	for i, want := range []int{1, 0, 1, 0} {
		if i == 2 {
			files, err := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
			if err != nil || len(files) != 1 {
				t.Fatalf("the cache has %v, %v", files, err)
			}
			b, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)/2] ^= 1
			if err := os.WriteFile(files[0], b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Mkdir(filepath.Join(dir, "child-of-a-crash"), 0o700); err != nil {
			t.Fatal(err)
		}
		h := newHeldCompiler()
		r, err := host.New(t.Context(), host.Options{Compiler: h, CacheDir: dir, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Kinds().Push(t.Context(), "a", echo); err != nil {
			t.Errorf("start %d: %v", i, err)
		}
		if len(h.jobs) != want {
			t.Errorf("start %d compiled %d modules, not %d", i, len(h.jobs), want)
		}
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// notHere is a Compiler that can start no process.
type notHere struct{}

func (notHere) Compile(context.Context, registry.CompileJob) (registry.CompileUse, error) {
	return registry.CompileUse{}, registry.ErrNoCompiler
}

// TestWithoutProcess compiles in this process what is small, and refuses the
// rest by name.
func TestWithoutProcess(t *testing.T) {
	echo := guest(t, "c/echo.wasm")
	r := compilingNode(t, notHere{}, t.TempDir())
	if _, err := r.Kinds().Push(t.Context(), "a", echo); err != nil {
		t.Errorf("a small module: %v", err)
	}
	large := append(slices.Clone(echo), "\x00\x80\x80\x80\x05\x01x"...)
	large = append(large, make([]byte, 10<<20-2)...)
	_, err := r.Kinds().Push(t.Context(), "b", large)
	var over *registry.CompileError
	if !errors.As(err, &over) || over.Limit != registry.CompileInProcess || !strings.Contains(over.Text, "8388608") {
		t.Errorf("a module of 10 MiB: %v", err)
	}
}

// TestShapeIsRefused pushes what takes a compiler long: it is not compiled.
func TestShapeIsRefused(t *testing.T) {
	h := newHeldCompiler()
	r := compilingNode(t, h, t.TempDir())
	wasm := slices.Clone(guest(t, "c/echo.wasm"))
	wasm = append(wasm, strings.Repeat("\x00\x02\x01x", 300)...)
	_, err := r.Kinds().Push(t.Context(), "a", wasm)
	var refusal *abi.Refusal
	if !errors.As(err, &refusal) || refusal.Code != abi.RefusedCustoms || len(h.jobs) > 0 {
		t.Errorf("a module of 300 custom sections: %v, %d compiles", err, len(h.jobs))
	}
}

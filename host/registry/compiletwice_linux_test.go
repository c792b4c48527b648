package registry

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/sandbox"
)

// images counts the files of memory that images of modules are in.
func images(t *testing.T) (n int) {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range all {
		if at, err := os.Readlink(fd); err == nil && strings.HasPrefix(at, "/memfd:") {
			n++
		}
	}
	return n
}

// lone is a node that has no daemons.
type lone struct{}

func (lone) Open() error { return nil }

func (lone) Ready() error { return nil }

func (lone) CountKind(string) int { return 0 }

func (lone) Registered(string) {}

func (lone) ApplyLimits(context.Context, string, daemon.Limits, map[string]int64) (int, []KeptLimits) {
	return 0, nil
}

// TestAModuleIsKeptOnce has a module compiled under two limits at a time: both get the
// one that is kept, and nothing of the other is left.
func TestAModuleIsKeptOnce(t *testing.T) {
	ctx := t.Context()
	e := &env.Env{Logger: slog.New(slog.DiscardHandler), Clock: time.Now, Limits: daemon.DefaultLimits, Context: ctx, Work: &env.Work{},
		Notify: func(daemon.Notification) {}}
	r, err := New(ctx, e, lone{}, Config{Engine: sandbox.Config{ModuleBytes: e.Limits.ModuleBytes}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "echo.wasm"))
	if err != nil {
		t.Fatal(err)
	}

	before := images(t)
	for range cap(r.compiles.images) {
		r.compiles.images <- struct{}{} // none is made until both have their native code
	}
	added := make(chan error, 2)
	for _, memory := range []int64{32 << 20, 64 << 20} {
		go func() {
			_, err := r.Add(ctx, wasm, memory, false)
			added <- err
		}()
	}
	for r.Compiles().Results["compiled"] < 2 {
		runtime.Gosched()
	}
	for range cap(r.compiles.images) {
		<-r.compiles.images
	}
	for range 2 {
		if err := <-added; err != nil {
			t.Error(err)
		}
	}
	digest := sha256.Sum256(wasm)
	if r.loaded(digest) == nil {
		t.Error("the module is not kept")
	}
	if n := images(t) - before; n > 1 { // none: they are on the heap here
		t.Errorf("%d images of one module are open", n)
	}

	f, _, err := r.Factory(ctx, "echo", digest[:])
	if err != nil {
		t.Fatal(err)
	}
	d, err := f.New(ctx, daemon.Env{Limits: e.Limits})
	if err != nil {
		t.Fatal(err)
	}
	if out, err := d.Process(&daemon.Call{Sequence: 1}, []byte("x")); err != nil || len(out) != 1 {
		t.Errorf("%q, %v", out, err)
	}
}

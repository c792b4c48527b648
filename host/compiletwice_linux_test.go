package host

import (
	"crypto/sha256"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
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

// TestAModuleIsKeptOnce has a module compiled under two limits at a time: both get the
// one that is kept, and nothing of the other is left.
func TestAModuleIsKeptOnce(t *testing.T) {
	r := started(t, Options{Logger: slog.New(slog.DiscardHandler)})
	wasm, err := os.ReadFile(filepath.Join("..", "testdata", "wasm", "c", "echo.wasm"))
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
			_, err := r.addModule(t.Context(), wasm, memory, false)
			added <- err
		}()
	}
	for r.Kinds().Compiles().Results["compiled"] < 2 {
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
	if r.compiled(sha256.Sum256(wasm)) == nil {
		t.Error("the module is not kept")
	}
	if n := images(t) - before; n > 1 { // none: they are on the heap here
		t.Errorf("%d images of one module are open", n)
	}

	if _, err := r.Kinds().Push(t.Context(), "echo", wasm); err != nil {
		t.Fatal(err)
	}
	i, err := r.Spawn(t.Context(), daemon.SpawnRequest{Kind: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := r.Deliver(t.Context(), i.Entity, daemon.Event{Sender: identity.NamedSender("s"), Number: 1, Payload: []byte("x")}); err != nil || len(res.Outputs) != 1 {
		t.Errorf("%+v, %v", res, err)
	}
}

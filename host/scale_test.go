package host_test

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmhost/host"
	"wasmhost/identity"
)

// pss returns the memory that the process holds, what it shares with itself
// counted once.
func pss(t testing.TB) int64 {
	b, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		t.Skip("no /proc/self/smaps_rollup")
	}
	_, after, _ := strings.Cut(string(b), "\nPss:")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// Run by hand: go test ./host -run xx -scale ...
func TestScale(t *testing.T) {
	n, _ := strconv.Atoi(os.Getenv("WASMHOST_SCALE"))
	if n == 0 {
		t.Skip("set WASMHOST_SCALE to how many daemons to spawn")
	}
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile("../testdata/wasm/" + os.Getenv("WASMHOST_GUEST"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.PushKind(ctx, "k", wasm); err != nil {
		t.Fatal(err)
	}
	keys := make([]*identity.KeyPair, n)
	for i := range keys {
		if keys[i], err = identity.Generate(); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	before := pss(t)
	start := time.Now()
	for _, k := range keys {
		if _, err := r.Spawn(ctx, host.SpawnRequest{Kind: "k", Identity: k}); err != nil {
			t.Fatal(err)
		}
	}
	spawned := time.Since(start)
	t.Logf("spawn: %v each, %.0f/s, %.1f KiB each", spawned/time.Duration(n), float64(n)/spawned.Seconds(), float64(pss(t)-before)/float64(n)/1024)
	start = time.Now()
	for _, k := range keys {
		if _, err := r.Deliver(ctx, k.ID(), host.Event{Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("first event: %v each, %.1f KiB each", time.Since(start)/time.Duration(n), float64(pss(t)-before)/float64(n)/1024)
	runtime.GC()
	t.Logf("after GC %.1f KiB each, total %d MiB", float64(pss(t)-before)/float64(n)/1024, pss(t)>>20)
	if err := r.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
}

package host_test

import (
	"bytes"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// BenchmarkDeliver is one 64-byte event to the C counter, its output chained,
// nothing kept on disk.
func BenchmarkDeliver(b *testing.B) {
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := r.Start(ctx); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := r.Shutdown(ctx); err != nil {
			b.Error(err)
		}
	}()
	if _, err := r.Kinds().Push(ctx, "counter", guest(b, "c/counter.wasm")); err != nil {
		b.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
	if err != nil {
		b.Fatal(err)
	}
	ev := daemon.Event{Payload: bytes.Repeat([]byte{'x'}, 64)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Deliver(ctx, d.Entity, ev); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkQuery is a 5-byte question to a counter in C, beside an event of as many bytes.
func BenchmarkQuery(b *testing.B) {
	r, err := host.New(ctx, host.Options{})
	if err == nil {
		err = r.Start(ctx)
	}
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := r.Shutdown(ctx); err != nil {
			b.Error(err)
		}
	}()
	if _, err := r.Kinds().Push(ctx, "asked", guest(b, "c/asked.wasm")); err != nil {
		b.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "asked"})
	if err != nil {
		b.Fatal(err)
	}
	payload := []byte("count")
	b.Run("event", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: payload}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("query", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := r.Daemons().Query(ctx, d.Entity, payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkDaemons is many daemons on one node without a disk, each of which has
// handled an event: what spawning takes, and what memory they hold. One round
// is enough: -benchtime 1x.
func BenchmarkDaemons(b *testing.B) {
	for _, many := range []struct {
		guest string
		n     int
	}{{"c/counter.wasm", 100_000}, {"go/wordcount.wasm", 10_000}} {
		b.Run(many.guest, func(b *testing.B) {
			for b.Loop() {
				spawnMany(b, many.guest, many.n)
			}
		})
	}
}

func spawnMany(b *testing.B, file string, n int) {
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		b.Fatal(err)
	}
	if err := r.Start(ctx); err != nil {
		b.Fatal(err)
	}
	if _, err := r.Kinds().Push(ctx, "k", guest(b, file)); err != nil {
		b.Fatal(err)
	}
	keys := make([]*identity.KeyPair, n)
	for i := range keys {
		if keys[i], err = identity.Generate(); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	before, start := held(b), time.Now()
	for _, k := range keys {
		if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "k", Identity: k}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/time.Since(start).Seconds(), "spawns/s")
	for _, k := range keys {
		if _, err := r.Deliver(ctx, k.ID(), daemon.Event{Payload: []byte("x")}); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	after := held(b)
	b.ReportMetric(float64(after-before)/float64(n)/1024, "KiB/daemon")
	b.ReportMetric(float64(after>>20), "MiB")
	if err := r.Shutdown(ctx); err != nil {
		b.Fatal(err)
	}
}

// held returns the memory that the process holds (PSS), in which what many
// mappings share counts once.
func held(b *testing.B) int64 {
	text, err := os.ReadFile("/proc/self/smaps_rollup")
	if err != nil {
		b.Skip(err)
	}
	_, after, _ := strings.Cut(string(text), "\nPss:")
	n, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n << 10
}

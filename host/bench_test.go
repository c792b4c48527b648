package host_test

import (
	"bytes"
	"testing"

	"wasmhost/host"
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
	if _, err := r.PushKind(ctx, "counter", guest(b, "c/counter.wasm")); err != nil {
		b.Fatal(err)
	}
	d, err := r.Spawn(ctx, host.SpawnRequest{Kind: "counter"})
	if err != nil {
		b.Fatal(err)
	}
	ev := host.Event{Payload: bytes.Repeat([]byte{'x'}, 64)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Deliver(ctx, d.Entity, ev); err != nil {
			b.Fatal(err)
		}
	}
}

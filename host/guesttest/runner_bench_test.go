package guesttest_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

// BenchmarkLanguages sends events of 64 bytes to the same guest in each language.
// It takes Go's as well where scripts/build-wasm has built them.
func BenchmarkLanguages(b *testing.B) {
	for _, name := range []string{"echo", "counter"} {
		for _, lang := range []string{"c", "zig", "rust", "assemblyscript", "go"} {
			wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", lang, name+".wasm"))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				b.Fatal(err)
			}
			b.Run(name+"/"+lang, func(b *testing.B) {
				tr, err := guesttest.NewRunner(ctx, wasm, daemon.Limits{})
				if err != nil {
					b.Fatal(err)
				}
				defer tr.Close(ctx)
				d, err := tr.Spawn(ctx, nil, 1, nil)
				if err != nil {
					b.Fatal(err)
				}
				defer d.Close()
				payload := make([]byte, 64)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := d.Send(payload, 1); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(d.MemoryBytes())/(1<<10), "KiB")
				b.ReportMetric(float64(len(wasm)), "wasm-bytes")
			})
		}
	}
}

package wire

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"wasmhost.example/host/daemon"
)

// BenchmarkMove moves a daemon of 60 MiB between two nodes on the loopback. The
// figure that counts is that of the transfer.
func BenchmarkMove(b *testing.B) {
	for _, fill := range []string{"r 60", "t 60"} {
		b.Run(fill, func(b *testing.B) {
			from, to := newNode(b, "a"), newNode(b, "b")
			join(b, from.mesh, to.mesh)
			wasm, err := os.ReadFile(filepath.Join("..", "testdata", "wasm", "c", "heap.wasm"))
			if err != nil {
				b.Fatal(err)
			}
			if _, err := from.rt.Kinds().Push(ctx, "heap", wasm); err != nil {
				b.Fatal(err)
			}
			d, err := from.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "heap"})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := from.rt.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(fill)}); err != nil {
				b.Fatal(err)
			}
			spent := make(map[string]float64)
			for b.Loop() {
				m, err := from.rt.StartMigration(ctx, d.Entity, to.mesh.Self())
				if err != nil {
					b.Fatal(err)
				}
				rep, err := m.Wait(ctx)
				if err != nil {
					b.Fatal(err)
				}
				for _, p := range rep.Phases {
					spent[fmt.Sprintf("%s-ms", p.Phase)] += p.Took.Seconds() * 1000
				}
				spent["downtime-ms"] += rep.Downtime.Seconds() * 1000
				from, to = to, from
			}
			for name, ms := range spent {
				b.ReportMetric(ms/float64(b.N), name)
			}
		})
	}
}

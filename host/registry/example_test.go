package registry_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// A kind is a module under a name; its daemons keep the module that they were spawned
// with. Limits hold for daemons that are spawned from now on.
func ExampleRegistry_PushWith() {
	ctx := context.Background()
	rt, err := host.New(ctx, host.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		log.Fatal(err)
	}
	defer rt.Shutdown(ctx)
	if err := rt.Start(ctx); err != nil {
		log.Fatal(err)
	}
	wasm, err := os.ReadFile("../../testdata/wasm/c/counter.wasm")
	if err != nil {
		log.Fatal(err)
	}

	kind, err := rt.Kinds().PushWith(ctx, "shop/orders::v1", wasm, daemon.Limits{MemoryBytes: 1 << 20})
	if err != nil {
		log.Fatal(err)
	}
	d, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: kind.Name, Name: "orders"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Name, "has at most", d.Limits.MemoryBytes, "bytes of memory")
	// Output: orders has at most 1048576 bytes of memory
}

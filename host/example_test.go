package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"strconv"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// greeter is a daemon in Go: it answers every event with how many there were.
type greeter struct{ count int }

var errEmpty = errors.New("an empty event")

func (g *greeter) Name() string                      { return "greeter" }
func (g *greeter) Requirements() daemon.Requirements { return daemon.Requirements{} }

func (g *greeter) Process(_ *daemon.Call, payload []byte) ([][]byte, error) {
	if len(payload) == 0 {
		return nil, errEmpty // the event leaves no trace
	}
	g.count++
	return [][]byte{fmt.Append(nil, g.count, " ", string(payload))}, nil
}

func (g *greeter) Snapshot(*daemon.Call) ([]byte, error) {
	return []byte(strconv.Itoa(g.count)), nil
}

func (g *greeter) Restore(_ *daemon.Call, state []byte) (err error) {
	g.count, err = strconv.Atoi(string(state))
	return err
}

// greeters makes them.
var greeters = daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &greeter{}, nil })

// quietRuntime is a started runtime that knows the kind greeter. Its owner shuts it down.
func quietRuntime(o host.Options) *host.Runtime {
	o.Logger = slog.New(slog.DiscardHandler)
	rt, err := host.New(context.Background(), o)
	if err != nil {
		log.Fatal(err)
	}
	if err := rt.RegisterFactory("greeter", greeters); err != nil {
		log.Fatal(err)
	}
	if err := rt.Start(context.Background()); err != nil {
		log.Fatal(err)
	}
	return rt
}

// A runtime in memory runs a daemon that is written in Go.
func Example() {
	ctx := context.Background()
	rt := quietRuntime(host.Options{})
	defer rt.Shutdown(ctx)

	d, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: "greeter", Name: "t1"})
	if err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"hello", "again"} {
		result, err := rt.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(text)})
		if err != nil {
			log.Fatal(err)
		}
		for _, o := range result.Outputs {
			fmt.Printf("output %d: %s\n", o.Link.Sequence, o.Payload)
		}
	}
	// Output:
	// output 1: 1 hello
	// output 2: 2 again
}

// Errors say what to do next: one type is of a daemon that refuses an event
// (daemon.GuestError, where its module does), another of a daemon that is not there.
func ExampleRuntime_Deliver_errors() {
	ctx := context.Background()
	rt := quietRuntime(host.Options{})
	defer rt.Shutdown(ctx)
	d, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: "greeter"})
	if err != nil {
		log.Fatal(err)
	}

	for _, to := range []identity.EntityID{d.Entity, {1}} {
		_, err := rt.Deliver(ctx, to, daemon.Event{})
		switch {
		case errors.Is(err, errEmpty):
			fmt.Println("the daemon refused the event")
		case errors.Is(err, daemon.ErrNotFound):
			fmt.Println("no such daemon")
		}
	}
	// Output:
	// the daemon refused the event
	// no such daemon
}

// A snapshot is the whole daemon: it goes on where it was, in this runtime or in another
// one that knows its kind.
func ExampleRuntime_SpawnFromSnapshot() {
	ctx := context.Background()
	first := quietRuntime(host.Options{})
	defer first.Shutdown(ctx)
	key, err := identity.Generate()
	if err != nil {
		log.Fatal(err)
	}
	d, err := first.Spawn(ctx, daemon.SpawnRequest{Kind: "greeter", Name: "t1", Identity: key})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := first.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("one")}); err != nil {
		log.Fatal(err)
	}
	snapshot, err := first.Snapshot(ctx, d.Entity)
	if err != nil {
		log.Fatal(err)
	}
	encoded, err := snapshot.Encode()
	if err != nil {
		log.Fatal(err)
	}

	second := quietRuntime(host.Options{})
	defer second.Shutdown(ctx)
	d, err = second.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: key}, encoded)
	if err != nil {
		log.Fatal(err)
	}
	result, err := second.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("two")})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %s\n", d.Name, result.Outputs[0].Payload)
	// Output: t1: 2 two
}

// A daemon moves to another node with its key and all of its state. Runtimes meet over a
// mesh; package wire has one over QUIC, hosttest one within a process.
func ExampleRuntime_StartMigration() {
	ctx := context.Background()
	var net hosttest.Net
	var nodes []*host.Runtime
	for range 2 {
		key, err := identity.Generate()
		if err != nil {
			log.Fatal(err)
		}
		mesh, err := net.Join(key)
		if err != nil {
			log.Fatal(err)
		}
		rt := quietRuntime(host.Options{Node: key, Mesh: mesh})
		defer rt.Shutdown(ctx)
		nodes = append(nodes, rt)
	}
	a, b := nodes[0], nodes[1]
	d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "greeter"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Spawn(ctx, daemon.SpawnRequest{Kind: "greeter"}); err != nil {
		log.Fatal(err)
	}

	m, err := a.StartMigration(ctx, d.Entity, b.Self())
	if err != nil {
		log.Fatal(err)
	}
	if _, err := m.Wait(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Phase(), a.DaemonCount(), b.DaemonCount())

	_, err = a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})
	var moved *daemon.MovedError
	fmt.Println(errors.As(err, &moved) && moved.Node == b.Self())
	// Output:
	// complete 0 2
	// true
}

// An export of a daemon's chain proves what the daemon put out. Who has the daemon's id can
// verify it without the node, and without trusting it.
func ExampleOutputs_Export() {
	ctx := context.Background()
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		log.Fatal(err)
	}
	defer s.Close()
	rt := quietRuntime(host.Options{Store: s}) // history is kept in a store
	defer rt.Shutdown(ctx)
	d, err := rt.Spawn(ctx, daemon.SpawnRequest{Kind: "greeter"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := rt.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("sold")}); err != nil {
		log.Fatal(err)
	}

	var export bytes.Buffer
	if err := rt.Outputs().Export(ctx, d.Entity, &export); err != nil {
		log.Fatal(err)
	}
	report, err := chain.Walk(bytes.NewReader(export.Bytes()), func(i chain.Item) error {
		if i.Output != nil {
			fmt.Printf("output %d: %s\n", i.Output.Link.Sequence, i.Output.Payload)
		}
		return nil
	})
	fmt.Println(report.Entity == d.Entity, err)

	_, err = chain.Verify(bytes.NewReader(bytes.Replace(export.Bytes(), []byte("sold"), []byte("told"), 1)))
	fmt.Println("changed:", err != nil)
	// Output:
	// output 1: 1 sold
	// true <nil>
	// changed: true
}

// Options that cannot work together are refused by the name of the field.
func ExampleNew_refused() {
	_, err := host.New(context.Background(), host.Options{CheckpointEvery: 1 << 40, PassivateAfter: 1})
	var refused *host.OptionsError
	if errors.As(err, &refused) {
		fmt.Println(refused.Field)
	}
	// Output: PassivateAfter
}

package node_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/node"
	"wasmhost.example/wire/trust"
)

// quiet is where the logs of the examples go.
var quiet = slog.New(slog.DiscardHandler)

// A node in memory takes a module as a kind, runs a daemon of it, and proves what the
// daemon put out.
func Example() {
	ctx := context.Background()
	n, err := node.Open(ctx, node.Config{Name: "a", Logger: quiet})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()

	wasm, err := os.Open("../testdata/wasm/rust/counter.wasm")
	if err != nil {
		log.Fatal(err)
	}
	defer wasm.Close()
	c := n.Client()
	if _, err := c.Kinds().Push(ctx, "counter", wasm); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c1"}); err != nil {
		log.Fatal(err)
	}
	for _, text := range []string{"one", "two"} {
		sent, err := c.Send(ctx, "c1", "", []byte(text))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(*sent.Outputs[0].Text)
	}

	export, err := c.Daemons().Chain(ctx, "c1")
	if err != nil {
		log.Fatal(err)
	}
	defer export.Close()
	report, err := chain.Verify(export)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(report.Outputs, "outputs hold")
	// Output:
	// 1
	// 2
	// 2 outputs hold
}

// What is in a data directory is there again when the node is opened the next time.
func ExampleOpen() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	wasm, err := os.ReadFile("../testdata/wasm/rust/counter.wasm")
	if err != nil {
		log.Fatal(err)
	}

	for range 2 {
		n, err := node.Open(ctx, node.Config{Dir: dir, Logger: quiet})
		if err != nil {
			log.Fatal(err)
		}
		c := n.Client()
		if kinds, err := c.Kinds().List(ctx); err == nil && len(kinds) == 0 {
			_, err = c.Kinds().Push(ctx, "counter", bytes.NewReader(wasm))
			if err == nil {
				_, err = c.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c1"})
			}
			if err != nil {
				log.Fatal(err)
			}
		}
		sent, err := c.Send(ctx, "c1", "", nil)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(*sent.Outputs[0].Text)
		if err := n.Close(); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// 1
	// 2
}

// A daemon moves from one node to another while it serves.
func ExampleNode_Join() {
	ctx := context.Background()
	var nodes []*node.Node
	for _, name := range []string{"a", "b"} {
		n, err := node.Open(ctx, node.Config{Name: name, Logger: quiet})
		if err != nil {
			log.Fatal(err)
		}
		defer n.Close()
		nodes = append(nodes, n)
	}
	a, b := nodes[0], nodes[1]
	token, err := a.Token(time.Minute, trust.RightsAll)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := b.Join(ctx, token, trust.RightsAll); err != nil {
		log.Fatal(err)
	}

	wasm, err := os.Open("../testdata/wasm/rust/counter.wasm")
	if err != nil {
		log.Fatal(err)
	}
	defer wasm.Close()
	c := a.Client()
	if _, err := c.Kinds().Push(ctx, "counter", wasm); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c1"}); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Send(ctx, "c1", "", nil); err != nil {
		log.Fatal(err)
	}
	if _, err := c.Migrate(ctx, "c1", api.Migrate{To: b.ID().String()}, nil); err != nil {
		log.Fatal(err)
	}

	sent, err := c.Send(ctx, "c1", "", nil) // a passes it on
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("event", *sent.Outputs[0].Text)
	d, err := b.Client().Daemons().GetHere(ctx, "c1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(d.Name, "is on b:", d.NodeID == b.ID().String())
	// Output:
	// event 2
	// c1 is on b: true
}

// adder is a daemon in Go: it answers with the number of bytes that it was sent so far.
type adder struct{ sum uint64 }

func (a *adder) Name() string                      { return "adder" }
func (a *adder) Requirements() daemon.Requirements { return daemon.Requirements{} }

func (a *adder) Process(_ *daemon.Call, payload []byte) ([][]byte, error) {
	a.sum += uint64(len(payload))
	return [][]byte{fmt.Append(nil, a.sum)}, nil
}

func (a *adder) Snapshot(*daemon.Call) ([]byte, error) {
	return binary.BigEndian.AppendUint64(nil, a.sum), nil
}

func (a *adder) Restore(_ *daemon.Call, state []byte) error {
	if len(state) != 8 {
		return errors.New("not the state of an adder")
	}
	a.sum = binary.BigEndian.Uint64(state)
	return nil
}

// adders makes them: a daemon.Factory.
type adders struct{}

func (adders) New(context.Context, daemon.Env) (daemon.Daemon, error) { return &adder{}, nil }

// Daemons can be written in Go: they are registered before the node starts.
func ExampleConfig_prepare() {
	ctx := context.Background()
	n, err := node.Open(ctx, node.Config{Logger: quiet, Prepare: func(rt *host.Runtime) error {
		return rt.RegisterFactory("adder", adders{})
	}})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	c := n.Client()
	if _, err := c.Spawn(ctx, api.Spawn{Kind: "adder", Name: "sum"}); err != nil {
		log.Fatal(err)
	}
	sent, err := c.Send(ctx, "sum", "", []byte("hello"))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(*sent.Outputs[0].Text)
	// Output: 5
}

// A field that cannot be is named, before anything is opened.
func ExampleConfig_Validate() {
	c := node.Config{Pprof: "0.0.0.0:6060"}
	var bad *node.ConfigError
	if errors.As(c.Validate(), &bad) {
		fmt.Println(bad.Field)
	}
	// Output: Pprof
}

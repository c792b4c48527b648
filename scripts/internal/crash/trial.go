package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// trial is one run: two nodes, daemons that stay, senders, and what happens to
// them.
type trial struct {
	dir, bin string
	rng      *rand.Rand
	verbose  bool
	nodes    []*fleet.Node
	senders  []*fleet.Sender
	fleet.Tally

	rounds, kills, both, early int
	migrations                 int            // that the chains prove
	work                       sync.WaitGroup // what a round started and a kill may have cut

	mu               sync.Mutex
	snapshots        []savedAt
	passing          map[string]*passing // daemons that are spawned and stopped, by name
	spawned, stopped int
}

// the daemons that stay, and the guests that they run.
var residents = map[string]string{"echo": "testdata/wasm/c/echo.wasm", "count": "testdata/wasm/c/counter.wasm", "tally": "testdata/wasm/rust/counter.wasm"}

// run does all rounds, lets the senders finish, and checks.
func (t *trial) run(ctx context.Context, rounds int) error {
	t.passing = make(map[string]*passing)
	if err := t.setUp(ctx); err != nil {
		return err
	}
	stop := make(chan struct{})
	sending, giveUp := context.WithCancel(ctx)
	defer giveUp()
	ended := make(chan error, len(t.senders))
	for _, s := range t.senders {
		go func() { ended <- s.Run(sending, stop) }()
	}
	var err error
	for t.rounds = 0; t.rounds < rounds && err == nil && ctx.Err() == nil; t.rounds++ {
		err = t.round(ctx)
	}
	close(stop)
	timer := time.AfterFunc(60*time.Second, giveUp)
	defer timer.Stop()
	for range t.senders {
		err = errors.Join(err, <-ended)
	}
	t.work.Wait()
	return errors.Join(err, t.check(ctx))
}

func (t *trial) setUp(ctx context.Context) error {
	for _, name := range []string{"a", "b"} {
		addr, err := fleet.FreeAddr()
		if err != nil {
			return err
		}
		t.nodes = append(t.nodes, fleet.NewNode(t.dir, name, addr, t.bin))
	}
	if err := fleet.JoinAll(ctx, t.nodes); err != nil {
		return err
	}
	for name, path := range residents { // node b gets the modules from a
		if err := t.reside(ctx, name, path); err != nil {
			return err
		}
		for i := range 3 {
			s, err := fleet.NewSender(fmt.Sprintf("%s-%d", name, i), name, t.nodes, t.rng.Uint64())
			if err != nil {
				return err
			}
			if i == 0 {
				s.Batch = 120
			}
			t.senders = append(t.senders, s)
		}
	}
	return nil
}

func (t *trial) reside(ctx context.Context, name, path string) error {
	wasm, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if _, err := t.nodes[0].Client.Kinds().Push(ctx, name, bytes.NewReader(wasm), "snapshot-events=20"); err != nil {
		return err
	}
	_, err = t.nodes[0].Client.Spawn(ctx, api.Spawn{Kind: name, Name: name})
	return err
}

// round starts some work, kills nodes in the middle of it, and starts them
// again.
func (t *trial) round(ctx context.Context) error {
	for range 1 + t.rng.IntN(3) {
		t.start(ctx)
	}
	most := []int{20, 150, 600}[t.rng.IntN(3)] // milliseconds
	fleet.Pause(ctx, time.Duration(t.rng.IntN(most))*time.Millisecond)
	victims := [][]*fleet.Node{t.nodes[:1], t.nodes[1:], t.nodes}[t.rng.IntN(3)]
	var names []string
	for _, n := range victims {
		names = append(names, n.Name)
		if err := n.Kill(); err != nil {
			return err
		}
		t.kills++
	}
	if len(victims) > 1 {
		t.both++
	}
	if t.rng.IntN(3) == 0 { // one of two stays away for a while
		fleet.Pause(ctx, time.Duration(t.rng.IntN(300))*time.Millisecond)
	}
	for _, n := range victims {
		if t.rng.IntN(4) == 0 {
			if err := t.stillbirth(ctx, n); err != nil {
				return err
			}
		}
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	fleet.Pause(ctx, time.Duration(50+t.rng.IntN(200))*time.Millisecond)
	if t.verbose {
		fmt.Printf("round %d: killed %s\n", t.rounds+1, strings.Join(names, ", "))
	}
	return nil
}

// stillbirth kills the node while it starts.
func (t *trial) stillbirth(ctx context.Context, n *fleet.Node) error {
	if _, err := n.Launch(); err != nil {
		return err
	}
	fleet.Pause(ctx, time.Duration(t.rng.IntN(120))*time.Millisecond)
	t.kills++
	t.early++
	return n.Kill()
}

func (t *trial) killAll() {
	for _, n := range t.nodes {
		if err := n.Kill(); err != nil {
			fmt.Fprintln(os.Stderr, "crash:", err)
		}
	}
}

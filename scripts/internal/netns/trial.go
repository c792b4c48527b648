package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
	"wasmhost.example/scripts/internal/spaces"
)

// trial is one run: three nodes, a daemon that moves, a sender on each node, and
// what happens to them.
type trial struct {
	dir, bin string
	rng      *rand.Rand
	verbose  bool
	net      *spaces.Network
	nodes    []*fleet.Node
	senders  []*fleet.Sender
	fleet.Tally

	rounds, moves, givenUp, byHand, resumed, receipts int
	ran                                               map[string]int           // rounds, by case
	halves                                            map[uint64]bool          // epochs whose source was killed before its signature had arrived
	stalls                                            map[string]time.Duration // the longest for which a sender heard nothing, by case
}

const (
	daemon = "roamer"
	port   = ":7433"
	mib    = 2 // of incompressible memory that the daemon holds
)

// run does all rounds, lets the senders finish, and checks.
func (t *trial) run(ctx context.Context, rounds int, only string) error {
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
	err := t.begun(ctx)
	for ; t.rounds < rounds && err == nil && ctx.Err() == nil; t.rounds++ {
		c := cases[t.rounds%len(cases)]
		for only != "" && c.name != only {
			c = cases[t.rng.IntN(len(cases))]
		}
		err = t.round(ctx, c)
	}
	close(stop)
	if err != nil {
		giveUp()
	}
	timer := time.AfterFunc(60*time.Second, giveUp)
	defer timer.Stop()
	for range t.senders {
		err = errors.Join(err, <-ended)
	}
	if err != nil {
		return err
	}
	return errors.Join(t.check(ctx), ctx.Err())
}

func (t *trial) setUp(ctx context.Context) (err error) {
	names := []string{"a", "b", "c"}
	if t.net, err = spaces.New(ctx, names...); err != nil {
		return err
	}
	for i, name := range names {
		t.nodes = append(t.nodes, fleet.NewNode(t.dir, name, "0.0.0.0"+port, append(t.net.Hosts[i].Command(), t.bin)...))
	}
	if err := fleet.JoinAll(ctx, t.nodes); err != nil {
		return err
	}
	wasm, err := os.ReadFile(filepath.Join("testdata", "wasm", "c", "heap.wasm"))
	if err != nil {
		return err
	}
	if _, err := t.nodes[0].Client.Kinds().Push(ctx, daemon, bytes.NewReader(wasm)); err != nil { // the others get it from a
		return err
	}
	if _, err := t.nodes[0].Client.Spawn(ctx, api.Spawn{Kind: daemon, Name: daemon}); err != nil {
		return err
	}
	for i, n := range t.nodes {
		s, err := fleet.NewSender("at-"+n.Name, daemon, []*fleet.Node{n}, t.rng.Uint64())
		if err != nil {
			return err
		}
		s.Rest = 80 * time.Millisecond // its outputs travel with the daemon, each time
		if i == 1 {
			s.Batch = 8
		}
		s.Event = func(number int) []byte {
			if i == 0 && number == 1 {
				return fmt.Appendf(nil, "r %d", mib)
			}
			return []byte("w 2")
		}
		t.senders = append(t.senders, s)
	}
	return nil
}

// begun waits until each sender has heard of its first event.
func (t *trial) begun(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for _, s := range t.senders {
		for s.Acknowledged() == 0 {
			if fleet.Pause(ctx, 10*time.Millisecond); ctx.Err() != nil {
				return fmt.Errorf("sender %s hears nothing", s.Name)
			}
		}
	}
	return nil
}

// check compares the daemon's chain with what its senders were told.
func (t *trial) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	owner, err := t.settled(ctx)
	if err != nil {
		return err
	}
	chain, err := fleet.ReadChain(ctx, t.nodes[owner], daemon)
	if err != nil {
		return fmt.Errorf("the chain of %s: %w", daemon, err)
	}
	if chain.Moves < t.moves {
		t.Problem("%d moves were reported, the chain proves %d", t.moves, chain.Moves)
	}
	t.moves = chain.Moves
	t.Check(daemon, chain, t.senders, func(sequence int, _ []byte, output string) bool {
		return strings.HasPrefix(output, strconv.Itoa(sequence)+" ")
	})
	t.Senders(t.senders)
	return nil
}

// end kills the nodes and takes the network away.
func (t *trial) end() error {
	var err error
	var all sync.WaitGroup
	for _, n := range t.nodes {
		all.Go(func() {
			if killErr := n.Kill(); killErr != nil {
				fmt.Fprintln(os.Stderr, "netns:", killErr)
			}
		})
	}
	all.Wait()
	if t.net != nil {
		err = t.net.Close()
	}
	return err
}

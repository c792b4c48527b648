package host_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// counting is what a counter is to be: each event, at one moment between its call and
// its answer, raises it by one and is answered with what it is then.
var counting = porcupine.Model{
	Init:              func() any { return 0 },
	Step:              func(state, _, output any) (bool, any) { return output == state.(int)+1, output },
	DescribeOperation: func(_, output any) string { return fmt.Sprint(output) },
}

// TestCounterIsLinearizable has clients count on a daemon with standbys while nodes are
// cut off, from each other or from the directory, both ways or one, clocks run at
// different rates, and the daemon moves. What the clients saw must be one order
// (linearizability: Herlihy and Wing, 1990).
func TestCounterIsLinearizable(t *testing.T) {
	seeds := uint64(40)
	if testing.Short() {
		seeds = 8
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { countUnderFaults(t, seed) })
		})
	}
}

func countUnderFaults(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 7))
	nodes, standbys := 3, 1
	if seed%2 == 1 {
		nodes, standbys = 5, 2
	}
	rates := make([]float64, nodes)
	for i := range rates {
		rates[i] = 0.96 + 0.08*rng.Float64() // 5 % is what leases allow for
	}
	c := newDriftingCluster(t, rates)
	d := c.nodes[0].spawn(standbys, directory.Ack(seed%3%2))
	c.inSync(d.Entity, standbys)
	const clients, each = 5, 30
	var mu sync.Mutex
	var history []porcupine.Operation
	var now atomic.Int64 // a call and an answer each have a moment of their own
	var counted sync.WaitGroup
	for id := range clients {
		sender, draw := someone(t), rand.New(rand.NewPCG(seed, uint64(100+id)))
		counted.Go(func() {
			for n := uint64(1); n <= each; n++ {
				called := now.Add(1)
				got, err := c.count(d.Entity, sender, n, draw)
				answered := now.Add(1)
				if err != nil {
					t.Errorf("client %d, event %d: %v", id, n, err)
					return
				}
				mu.Lock()
				history = append(history, porcupine.Operation{ClientId: id, Call: called, Output: got, Return: answered})
				mu.Unlock()
				time.Sleep(time.Duration(draw.IntN(1000)) * time.Millisecond)
			}
		})
	}
	ended := make(chan struct{})
	go func() { counted.Wait(); close(ended) }()
	for over := false; !over; {
		c.harm(d.Entity, rng)
		select {
		case <-ended:
			over = true
		case <-time.After(time.Duration(rng.IntN(5000)) * time.Millisecond):
		}
	}
	if len(history) != clients*each {
		t.Fatalf("%d of %d events were acknowledged", len(history), clients*each)
	}
	if r := porcupine.CheckOperationsTimeout(counting, history, time.Minute); r != porcupine.Ok {
		t.Errorf("the history is %v: %v", r, history)
	}
	for _, m := range c.nodes {
		m.isolate(false, false)
	}
	time.Sleep(20 * time.Second)
	e := c.inSync(d.Entity, standbys)
	if r := c.verifyChain(c.at(e.Owner), d.Entity); r.Outputs != clients*each {
		t.Errorf("the chain has %d outputs of %d", r.Outputs, clients*each)
	}
}

// count delivers the event at one node after another until it is answered.
func (c *testCluster) count(id, sender identity.EntityID, n uint64, draw *rand.Rand) (int, error) {
	var last error
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		m := c.nodes[draw.IntN(len(c.nodes))]
		ctx, cancel := context.WithTimeout(c.t.Context(), 500*time.Millisecond)
		res, err := m.rt.Deliver(ctx, id, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")})
		cancel()
		if err == nil {
			if len(res.Outputs) != 1 {
				return 0, fmt.Errorf("it has %d outputs", len(res.Outputs))
			}
			return strconv.Atoi(string(res.Outputs[0].Payload))
		}
		last = err
	}
	return 0, fmt.Errorf("it is not answered in five minutes: %w", last)
}

// harm does one thing to the cluster, or mends one.
func (c *testCluster) harm(id identity.EntityID, rng *rand.Rand) {
	m := c.nodes[rng.IntN(len(c.nodes))]
	switch rng.IntN(7) {
	case 0:
		m.isolate(true, false)
	case 1:
		m.isolate(true, true)
	case 2: // what it asks of the directory arrives, and no answer does
		m.link.Set(true, false)
	case 3:
		m.link.Set(false, true)
	case 4:
		for _, n := range c.nodes {
			if _, err := n.rt.Inspect(id); err == nil && n != m {
				if _, err := n.rt.StartMigration(c.t.Context(), id, m.id()); err != nil {
					c.t.Logf("a move that cannot begin: %v", err)
				}
				return
			}
		}
	default:
		for _, n := range c.nodes { // else all of them are cut off before long
			n.isolate(false, false)
		}
	}
}

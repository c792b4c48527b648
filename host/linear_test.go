package host_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
)

// increment is one event of a client: what it was answered, and the moments of the call and
// of the answer.
type increment struct {
	client         int
	output         int
	called, answer int64
}

// linearizable reports whether each event of the history took effect at one moment between
// its call and its answer: it raised the counter by one and was answered with what the
// counter was then. As no answer comes twice, the answers say the only order that there
// can be; it must not run against the clock. It returns two events that do.
func linearizable(history []increment) (ok bool, a, b increment) {
	inOrder := slices.SortedFunc(slices.Values(history), func(a, b increment) int { return a.output - b.output })
	latest := increment{} // of the events so far, the one that was called last
	for i, e := range inOrder {
		if e.output != i+1 || e.answer < latest.called {
			return false, latest, e
		}
		if e.called > latest.called {
			latest = e
		}
	}
	return true, a, b
}

// TestLinearizable holds the check against histories of which it is known.
func TestLinearizable(t *testing.T) {
	for name, tt := range map[string]struct {
		history []increment
		want    bool
	}{
		"one after another":               {[]increment{{0, 1, 1, 2}, {0, 2, 3, 4}}, true},
		"at the same time, either first":  {[]increment{{0, 2, 1, 4}, {1, 1, 2, 3}}, true},
		"an answer before its turn":       {[]increment{{0, 2, 1, 2}, {1, 1, 3, 4}}, false},
		"an event that counted twice":     {[]increment{{0, 1, 1, 2}, {0, 3, 3, 4}}, false},
		"two events with one answer":      {[]increment{{0, 1, 1, 4}, {1, 1, 2, 3}}, false},
		"behind one that was called late": {[]increment{{0, 1, 5, 6}, {1, 2, 1, 7}, {2, 3, 2, 4}}, false},
	} {
		if got, a, b := linearizable(tt.history); got != tt.want {
			t.Errorf("%s: %v, want %v: %+v, %+v", name, got, tt.want, a, b)
		}
	}
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
	var history []increment
	var now atomic.Int64 // a call and an answer each have a moment of their own
	var clientsDone sync.WaitGroup
	for id := range clients {
		sender, draw := someone(t), rand.New(rand.NewPCG(seed, uint64(100+id)))
		clientsDone.Go(func() {
			for n := uint64(1); n <= each; n++ {
				called := now.Add(1)
				got, err := c.count(d.Entity, sender, n, draw)
				answered := now.Add(1)
				if err != nil {
					t.Errorf("client %d, event %d: %v", id, n, err)
					return
				}
				mu.Lock()
				history = append(history, increment{client: id, output: got, called: called, answer: answered})
				mu.Unlock()
				time.Sleep(time.Duration(draw.IntN(1000)) * time.Millisecond)
			}
		})
	}
	ended := make(chan struct{})
	go func() { clientsDone.Wait(); close(ended) }()
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
	if ok, a, b := linearizable(history); !ok {
		t.Errorf("the history is in no order, for %+v and %+v: %+v", a, b, history)
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
			if _, err := n.rt.Daemons().Inspect(id); err == nil && n != m {
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

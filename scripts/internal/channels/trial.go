package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/scripts/internal/fleet"
)

// trial is one run: a node that publishes, and two that the daemon goes between. The
// daemon answers each event with the event.
type trial struct {
	dir, bin string
	rate     int
	rng      *rand.Rand
	pub      *fleet.Node
	hosts    []*fleet.Node

	published atomic.Uint64 // events that the publisher has on disk
	heard     int
	moves     uint64 // that the daemon's epoch shows
	kills     int
	work      sync.WaitGroup // migrations, which a kill may have cut
}

const daemon, ticks = "echo", "ticks"

// run moves the daemon that often, lets it hear all, and compares what it heard with
// what was published.
func (t *trial) run(ctx context.Context, moves uint64) error {
	if err := t.setUp(ctx); err != nil {
		return err
	}
	stop := make(chan struct{})
	ended := make(chan error, 1)
	go func() { ended <- t.publish(ctx, stop) }()
	var err error
	for deadline := time.Now().Add(time.Duration(moves) * 15 * time.Second); err == nil && t.moves < moves; {
		if time.Now().After(deadline) {
			err = fmt.Errorf("the daemon moved %d times in %s", t.moves, time.Duration(moves)*15*time.Second)
			break
		}
		err = t.round(ctx)
	}
	close(stop)
	err = errors.Join(err, <-ended)
	t.work.Wait()
	if err != nil {
		return err
	}
	return t.check(ctx)
}

func (t *trial) setUp(ctx context.Context) error {
	var nodes []*fleet.Node
	for _, name := range []string{"a", "b", "c"} {
		addr, err := fleet.FreeAddr()
		if err != nil {
			return err
		}
		nodes = append(nodes, fleet.NewNode(t.dir, name, addr, t.bin))
	}
	t.pub, t.hosts = nodes[0], nodes[1:]
	if err := fleet.JoinAll(ctx, nodes); err != nil {
		return err
	}
	if _, err := t.pub.Client.Channels().Create(ctx, api.CreateChannel{Name: ticks}); err != nil {
		return err
	}
	wasm, err := os.ReadFile("testdata/wasm/c/echo.wasm")
	if err != nil {
		return err
	}
	if _, err := t.hosts[0].Client.Kinds().Push(ctx, daemon, bytes.NewReader(wasm), "snapshot-events=500"); err != nil {
		return err
	}
	_, err = t.hosts[0].Client.Spawn(ctx, api.Spawn{Kind: daemon, Name: daemon, Subscribe: []api.Subscribe{{Publisher: "a", Channel: ticks}}})
	return err
}

// publish publishes the numbers from 1 on, at the rate, until stop.
func (t *trial) publish(ctx context.Context, stop <-chan struct{}) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	n, batch := 0, 0
	return t.pub.Client.Channels().PublishAll(ctx, ticks, client.AtNode{}, func() ([]byte, error) {
		if batch == 0 {
			select {
			case <-tick.C:
				batch = max(1, t.rate/100)
			case <-stop:
				return nil, io.EOF
			case <-ctx.Done():
				return nil, context.Cause(ctx)
			}
		}
		batch--
		n++
		return strconv.AppendInt(nil, int64(n), 10), nil
	}, func(p api.Published) error {
		t.published.Store(p.First + uint64(p.Count) - 1)
		return nil
	})
}

// round has the daemon move, and kills one of its nodes, or both, at some moment of it,
// two times in three.
func (t *trial) round(ctx context.Context) error {
	from, err := t.find(ctx)
	if err != nil {
		return err
	}
	to := t.hosts[0].Name
	if from == t.hosts[0] {
		to = t.hosts[1].Name
	}
	moved := make(chan struct{})
	t.work.Go(func() {
		defer close(moved)
		_, _ = from.Client.Migrate(ctx, daemon, api.Migrate{To: to}, func(api.MigrationStep) {}) // a kill cuts it; the chain shows what became of it
	})
	victims := [][]*fleet.Node{t.hosts[:1], t.hosts[1:], t.hosts, nil}[t.rng.IntN(4)]
	if len(victims) == 0 {
		<-moved
		return ctx.Err()
	}
	fleet.Pause(ctx, time.Duration(t.rng.IntN([]int{10, 50, 300}[t.rng.IntN(3)]))*time.Millisecond)
	for _, n := range victims {
		t.kills++
		if err := n.Kill(); err != nil {
			return err
		}
	}
	fleet.Pause(ctx, time.Duration(t.rng.IntN(300))*time.Millisecond)
	for _, n := range victims {
		if err := n.Start(ctx); err != nil {
			return err
		}
	}
	<-moved
	return ctx.Err()
}

// find returns the node that the daemon is on. Both run; what a kill cut is made good
// meanwhile.
func (t *trial) find(ctx context.Context) (*fleet.Node, error) {
	var last error
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; fleet.Pause(ctx, 20*time.Millisecond) {
		for _, n := range t.hosts {
			d, err := n.Client.Daemons().Get(ctx, daemon)
			if err != nil {
				last = err
				continue
			}
			for _, at := range t.hosts {
				self, err := at.Client.Node().Get(ctx)
				if err == nil && self.NodeID == d.NodeID && d.State == "running" {
					t.moves = d.Epoch - 1
					return at, nil
				}
			}
			last = fmt.Errorf("daemon %s is %s", daemon, d.State)
		}
	}
	return nil, errors.Join(ctx.Err(), fmt.Errorf("the daemon is nowhere: %w", last))
}

// check waits until all is heard, and compares: the outputs are the numbers.
func (t *trial) check(ctx context.Context) error {
	published := t.published.Load()
	for deadline := time.Now().Add(60 * time.Second); ; fleet.Pause(ctx, 20*time.Millisecond) {
		at, err := t.find(ctx)
		if err != nil {
			return err
		}
		d, err := at.Client.Daemons().Get(ctx, daemon)
		if err == nil && len(d.Subscriptions) == 1 && d.Subscriptions[0].Cursor >= published {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("of %d events the daemon has not heard all: %+v, %w", published, d.Subscriptions, err)
		}
	}
	at, err := t.find(ctx)
	if err != nil {
		return err
	}
	chain, err := fleet.ReadChain(ctx, at, daemon)
	if err != nil {
		return err
	}
	for i, said := range chain.Payloads {
		if said != strconv.Itoa(i+1) {
			return fmt.Errorf("output %d of the daemon is %q: events were lost, doubled or reordered", i+1, said)
		}
		t.heard++
	}
	if uint64(t.heard) != published {
		return fmt.Errorf("%d events were published, the daemon heard %d", published, t.heard)
	}
	return nil
}

func (t *trial) killAll() {
	for _, n := range append(t.hosts[:len(t.hosts):len(t.hosts)], t.pub) {
		if n == nil {
			continue
		}
		if err := n.Kill(); err != nil {
			fmt.Fprintln(os.Stderr, "channels:", err)
		}
	}
}

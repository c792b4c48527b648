package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

// work is three nodes: a and b are measured and never end, c is killed over and over.
// Two daemons live on each at first and go round.
type work struct {
	dir, bin string
	rng      *rand.Rand
	nodes    []*fleet.Node
	daemons  []string
	versions [2]string // digests of two modules that do the same
	senders  []*fleet.Sender
	fleet.Tally

	migrations, crashes, upgrades int

	mu      sync.Mutex
	samples map[string][]sample // by node
}

const (
	historyRecords = 65_536      // that each daemon may keep: the least that can be asked for
	recordBytes    = 512         // of one record on disk, several times over while tables are merged
	storeAllowance = 192 << 20   // logs, tables that are merged, compiled modules
	pauseOfWork    = time.Second // between two things that happen
)

// run works for so long, lets the senders end, and checks.
func (w *work) run(ctx context.Context, length time.Duration) error {
	if err := w.setUp(ctx); err != nil {
		return err
	}
	stop := make(chan struct{})
	sending, giveUp := context.WithCancel(ctx)
	defer giveUp()
	ended := make(chan error, len(w.senders))
	for _, s := range w.senders {
		go func() { ended <- s.Run(sending, stop) }()
	}
	measured := make(chan struct{})
	measuring, enough := context.WithCancel(ctx)
	go func() {
		defer close(measured)
		w.measure(measuring, max(time.Second, length/200))
	}()
	var err error
	for until := time.Now().Add(length); err == nil && ctx.Err() == nil && time.Now().Before(until); {
		err = w.step(ctx)
		fleet.Pause(ctx, pauseOfWork)
	}
	enough()
	<-measured
	close(stop)
	late := time.AfterFunc(time.Minute, giveUp)
	defer late.Stop()
	for range w.senders {
		err = errors.Join(err, <-ended)
	}
	if err != nil {
		return err
	}
	for _, n := range w.nodes[:2] {
		for _, v := range violations(n.Name, w.samples[n.Name], int64(len(w.daemons))*historyRecords*recordBytes+storeAllowance) {
			w.Problem("%s", v)
		}
	}
	return w.check(ctx)
}

func (w *work) setUp(ctx context.Context) error {
	for _, name := range []string{"a", "b", "c"} {
		addr, err := fleet.FreeAddr()
		if err != nil {
			return err
		}
		w.nodes = append(w.nodes, fleet.NewNode(w.dir, name, addr, w.bin))
	}
	if err := fleet.JoinAll(ctx, w.nodes); err != nil {
		return err
	}
	wasm, err := os.ReadFile("testdata/wasm/c/counter.wasm")
	if err != nil {
		return err
	}
	other := append(bytes.Clone(wasm), 0, 6, 4, 's', 'o', 'a', 'k', 1) // a custom section: another digest, the same code
	for _, n := range w.nodes {
		for i, module := range [][]byte{other, wasm} { // the kind is the second; the first stays known
			k, err := n.Client.Kinds().Push(ctx, "counter", bytes.NewReader(module), "history="+strconv.Itoa(historyRecords))
			if err != nil {
				return err
			}
			w.versions[i] = k.Digest
		}
	}
	for i := range 6 {
		name := fmt.Sprintf("d%d", i)
		if _, err := w.nodes[i%len(w.nodes)].Client.Spawn(ctx, api.Spawn{Kind: "counter", Name: name}); err != nil {
			return err
		}
		w.daemons = append(w.daemons, name)
		s, err := fleet.NewSender("sender-"+name, name, w.nodes, w.rng.Uint64())
		if err != nil {
			return err
		}
		s.Batch = 100
		w.senders = append(w.senders, s)
	}
	return nil
}

// step has one thing happen. What fails because a node was killed is no failure: the
// senders and the chains say what counts.
func (w *work) step(ctx context.Context) error {
	d := w.daemons[w.rng.IntN(len(w.daemons))]
	limit, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	steady := w.nodes[w.rng.IntN(2)].Client
	switch w.rng.IntN(4) {
	case 0:
		if err := w.nodes[2].Kill(); err != nil {
			return err
		}
		w.crashes++
		fleet.Pause(ctx, time.Duration(w.rng.IntN(500))*time.Millisecond)
		return w.nodes[2].Start(ctx)
	case 1:
		now, err := steady.Daemons().Get(limit, d)
		if err != nil {
			return nil
		}
		to := w.versions[0]
		if now.Module == to {
			to = w.versions[1]
		}
		if _, err := steady.Daemons().Upgrade(limit, d, api.Upgrade{To: to}); err == nil {
			w.upgrades++
		} else if !passing(err) {
			w.Problem("upgrading %s to %.12s: %v", d, to, err)
		}
	default:
		to := w.nodes[w.rng.IntN(len(w.nodes))].Name
		if _, err := steady.Migrate(limit, d, api.Migrate{To: to}, func(api.MigrationStep) {}); err == nil {
			w.migrations++
		}
	}
	return nil
}

// passing reports whether the error is one of a daemon that is on its way, or of a
// node that was just killed.
func passing(err error) bool {
	var p *api.Problem
	if !errors.As(err, &p) {
		return true
	}
	switch p.Code {
	case "already-migrating", "unreachable", "moved", "not-ready", "daemon-not-found", "shutting-down":
		return true
	}
	return false
}

// measure takes a sample of each node that stays, every so often.
func (w *work) measure(ctx context.Context, every time.Duration) {
	for ctx.Err() == nil {
		for _, n := range w.nodes[:2] {
			u, err := n.Usage(ctx)
			if err != nil {
				if ctx.Err() == nil {
					w.Problem("%v", err)
				}
				continue
			}
			w.mu.Lock()
			w.samples[n.Name] = append(w.samples[n.Name], sample{time.Now(), u})
			w.mu.Unlock()
		}
		fleet.Pause(ctx, every)
	}
}

// check holds each daemon's count and chain against what was acknowledged. The chain
// may begin late: what a daemon need not keep is gone.
func (w *work) check(ctx context.Context) error {
	w.Senders(w.senders)
	for i, name := range w.daemons {
		limit, cancel := context.WithTimeout(ctx, time.Minute)
		d, err := w.nodes[0].Client.Daemons().Get(limit, name)
		if err != nil {
			cancel()
			return fmt.Errorf("looking at %s: %w", name, err)
		}
		sent := uint64(w.senders[i].Acknowledged())
		w.Acknowledged += int(sent)
		if d.EventsProcessed < sent {
			w.Lost += int(sent - d.EventsProcessed)
			w.Problem("%s: %d events were acknowledged, %d are applied", name, sent, d.EventsProcessed)
		} else if d.EventsProcessed > sent {
			w.Doubled += int(d.EventsProcessed - sent)
			w.Problem("%s: %d events were sent, %d are applied", name, sent, d.EventsProcessed)
		}
		chain, err := fleet.ReadChain(limit, w.nodes[0], name)
		cancel()
		if err != nil {
			w.Problem("%s: the chain does not hold: %v", name, err)
		} else if n := len(chain.Payloads); sent > 0 && (n == 0 || chain.Payloads[n-1] != fmt.Sprint(sent)) {
			w.Problem("%s: the last of %d outputs is not the count %d", name, n, sent)
		}
	}
	return nil
}

func (w *work) killAll() {
	for _, n := range w.nodes {
		if err := n.Kill(); err != nil {
			w.Problem("ending node %s: %v", n.Name, err)
		}
	}
}

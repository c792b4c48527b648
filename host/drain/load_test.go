package drain_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/drain"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/identity"
)

var (
	many    = flag.Int("daemons", 15, "how many daemons TestDrainUnderLoad drains")
	senders = flag.Int("senders", 4, "how many senders send to them meanwhile")
)

// kinds are guests in three languages, and what they answer to their nth event.
var kinds = []struct {
	name, file string
	answer     func(payload string, n int) string
}{
	{"counter-c", "c/counter.wasm", func(_ string, n int) string { return fmt.Sprint(n) }},
	{"counter-rust", "rust/counter.wasm", func(_ string, n int) string { return fmt.Sprint(n) }},
	{"echo-as", "assemblyscript/echo.wasm", func(payload string, _ int) string { return payload }},
}

// patron sends to some daemons, in turn, wherever they are, and wants each event
// answered once, in order.
type patron struct {
	nodes map[identity.NodeID]*node
	key   identity.EntityID
	sent  map[identity.EntityID]int
}

func (p *patron) send(at *node, d daemon.Info, kind int) error {
	n := p.sent[d.Entity] + 1
	payload := fmt.Sprintf("%s-%d", d.Name, n)
	for {
		res, err := at.Deliver(ctx, d.Entity, daemon.Event{Sender: p.key, Number: uint64(n), Payload: []byte(payload)})
		var moved *daemon.MovedError
		if errors.As(err, &moved) {
			at = p.nodes[moved.Node]
			continue
		}
		if err != nil {
			return fmt.Errorf("event %d of %s, on %s: %w", n, d.Name, at.name, err)
		}
		if want := kinds[kind].answer(payload, n); len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != want || res.Duplicate {
			return fmt.Errorf("event %d of %s, on %s: %+v, want %q", n, d.Name, at.name, res, want)
		}
		p.sent[d.Entity] = n
		return nil
	}
}

// A node full of daemons of three kinds is drained while senders send to all of
// them: every event is acknowledged once, in order, and every chain holds.
func TestDrainUnderLoad(t *testing.T) {
	var net hosttest.Net
	nodes := make(map[identity.NodeID]*node)
	cache := t.TempDir()
	var a, b, c *node
	for name, n := range map[string]**node{"a": &a, "b": &b, "c": &c} {
		*n = start(t, &net, name, func(o *host.Options) { o.CacheDir = cache })
		nodes[(*n).Self()] = *n
	}
	for _, k := range kinds {
		wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", k.file))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Kinds().Push(ctx, k.name, wasm); err != nil {
			t.Fatal(err)
		}
	}
	daemons := make([]daemon.Info, *many)
	for i := range daemons {
		var err error
		if daemons[i], err = a.Spawn(ctx, daemon.SpawnRequest{Kind: kinds[i%3].name, Name: fmt.Sprint("d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	var stop atomic.Bool
	var work sync.WaitGroup
	patrons := make([]*patron, *senders)
	failed := make(chan error, *senders)
	for s := range patrons { // each daemon has one sender, so that it knows what to expect
		p := &patron{nodes: nodes, sent: make(map[identity.EntityID]int)}
		binary.BigEndian.PutUint64(p.key[:], uint64(s+1))
		patrons[s] = p
		work.Go(func() {
			for round := 0; !stop.Load() || round < 3; round++ {
				for i := s; i < len(daemons); i += *senders {
					if err := p.send(a, daemons[i], i%3); err != nil {
						failed <- err
						return
					}
				}
			}
		})
	}
	s := a.drain(drain.Options{Targets: to(b, c)})
	stop.Store(true)
	work.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if s.Err() != nil || s.Gone != *many || a.DaemonCount() != 0 {
		t.Fatalf("%+v: %v", s.Progress, s.Err())
	}
	events := 0
	for i, d := range daemons {
		sent := patrons[i%*senders].sent[d.Entity]
		events += sent
		at := b
		if _, err := b.Daemons().Inspect(d.Entity); err != nil {
			at = c
		}
		now, err := at.Daemons().Inspect(d.Entity)
		if err != nil || now.EventsProcessed != uint64(sent) || now.Sequence != uint64(sent) || now.Epoch != 2 {
			t.Errorf("%s: %d events were acknowledged, %+v, %v", d.Name, sent, now, err)
		}
		var file bytes.Buffer
		if err := at.Outputs().Export(ctx, d.Entity, &file); err != nil {
			t.Fatal(err)
		}
		receipts, err := at.Evidence().Receipts(d.Entity)
		if err != nil || len(receipts) != 1 || receipts[0].Facts.To != at.Self() || receipts[0].Facts.From != a.Self() {
			t.Errorf("%s: %d receipts, %v", d.Name, len(receipts), err)
		}
		if rep, err := chain.Verify(&file); err != nil || len(rep.Moves) != 1 || rep.Outputs != uint64(sent) {
			t.Errorf("%s: %+v, %v", d.Name, rep, err)
		}
	}
	t.Logf("%d daemons, %d bytes, in %v; %d events acknowledged meanwhile", s.Gone, s.Bytes, s.Elapsed.Round(time.Millisecond), events)
}

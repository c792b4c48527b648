package hosttest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// ledger is a daemon that writes down every event, and answers with how many
// there were and which this is. An event that begins with "fail" fails.
type ledger struct {
	Count int
	Last  map[string]int // by sender
}

var newLedger = daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
	return &ledger{Last: make(map[string]int)}, nil
})

func (l *ledger) Name() string                      { return "ledger" }
func (l *ledger) Requirements() daemon.Requirements { return daemon.Requirements{} }

func (l *ledger) Process(_ *daemon.Call, p []byte) ([][]byte, error) {
	var sender string
	var number int
	if _, err := fmt.Sscanf(string(p), "%s %d", &sender, &number); err != nil {
		return nil, err
	}
	if strings.HasPrefix(sender, "fail") {
		return nil, errors.New("asked to fail")
	}
	l.Count++
	l.Last[sender] = number
	return [][]byte{fmt.Appendf(nil, "%d %s", l.Count, p)}, nil
}

func (l *ledger) Snapshot(*daemon.Call) ([]byte, error) { return json.Marshal(l) }

func (l *ledger) Restore(_ *daemon.Call, b []byte) error {
	if err := json.Unmarshal(b, l); err != nil {
		return err
	}
	return nil
}

// sender sends numbered events to one daemon, wherever it is, and keeps each
// answer that it may rely on.
type sender struct {
	c      *cluster
	name   string
	id     identity.EntityID
	daemon identity.EntityID
	events int
	rng    *rand.Rand
	acked  map[uint64]string // number: the output
	failed map[uint64]bool
}

// run sends all events, each until it is answered. It gives up when ctx ends.
func (s *sender) run(ctx context.Context) {
	at := s.c.nodes[s.rng.IntN(len(s.c.nodes))]
	text, of := "", uint64(0) // what is sent under a number stays the same
	for number := uint64(1); number <= uint64(s.events); {
		if of != number {
			text, of = fmt.Sprintf("%s %d", s.name, number), number
			if s.rng.IntN(10) == 0 {
				text = "fail-" + text
			}
		}
		for {
			next, done := s.try(ctx, at, number, text)
			if ctx.Err() != nil {
				s.c.t.Errorf("sender %s: event %d was never answered", s.name, number)
				return
			}
			if at = next; done {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
		if s.rng.IntN(8) == 0 {
			time.Sleep(time.Duration(s.rng.IntN(20)) * time.Millisecond)
		}
		if s.rng.IntN(10) > 0 { // else once more: a repeat
			number++
		}
	}
}

// try delivers once and returns where to ask next.
func (s *sender) try(ctx context.Context, at *node, number uint64, text string) (*node, bool) {
	other := s.c.nodes[s.rng.IntN(len(s.c.nodes))]
	rt := at.runtime()
	if rt == nil {
		return other, false
	}
	limit, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	res, err := rt.Deliver(limit, s.daemon, daemon.Event{Sender: s.id, Number: number, Payload: []byte(text)})
	var moved *daemon.MovedError
	var guest *daemon.GuestError
	switch {
	case errors.As(err, &moved):
		return s.c.byID(moved.Node), false
	case errors.As(err, &guest):
		return at, at.counts(rt, func() { s.noteFailure(number) })
	case err != nil:
		return other, false
	case len(res.Outputs) == 0 && res.Duplicate:
		return at, at.counts(rt, func() { s.noteFailure(number) })
	}
	return at, at.counts(rt, func() { s.note(number, res) })
}

func (s *sender) noteFailure(number uint64) {
	if out, ok := s.acked[number]; ok {
		s.c.t.Errorf("sender %s: event %d failed, after it was answered with %q", s.name, number, out)
	}
	s.failed[number] = true
}

func (s *sender) note(number uint64, res daemon.Result) {
	if len(res.Outputs) != 1 {
		s.c.t.Errorf("sender %s: event %d has %d outputs", s.name, number, len(res.Outputs))
		return
	}
	o := res.Outputs[0]
	got := fmt.Sprintf("%d: %s", o.Link.Sequence, o.Payload)
	if before, ok := s.acked[number]; ok && before != got {
		s.c.t.Errorf("sender %s: event %d is answered with %q, before with %q", s.name, number, got, before)
	}
	if s.failed[number] {
		s.c.t.Errorf("sender %s: event %d is answered with %q, after it failed", s.name, number, got)
	}
	s.acked[number] = got
}

// settle checks what must hold once all nodes are up and nothing is under way:
// one owner; nothing acknowledged lost; nothing applied twice; each sender's
// order kept; a chain that verifies.
func (c *cluster) settle(daemon identity.EntityID, senders []*sender) {
	var owners []*node
	for _, n := range c.nodes {
		rt := n.runtime()
		for _, d := range rt.Daemons().List() {
			if d.Entity == daemon && d.State == "running" {
				owners = append(owners, n)
			} else if d.Entity == daemon {
				c.t.Errorf("on node %s the daemon is %s: %s", n.name, d.State, d.Reason)
			}
		}
		if p, ok := rt.MigrationPhase(daemon); ok {
			c.t.Errorf("on node %s a migration still stands in %s", n.name, p)
		}
		if all := rt.Evidence().Accusations(); len(all) != 0 {
			c.t.Errorf("node %s accuses an honest daemon: %+v", n.name, all)
		}
		if in := rt.Migrations().Arriving(); len(in) != 0 {
			c.t.Errorf("node %s still waits for %d daemons", n.name, len(in))
		}
	}
	if len(owners) != 1 {
		c.t.Errorf("%d nodes answer for the daemon", len(owners))
		return
	}
	var file bytes.Buffer
	if err := owners[0].runtime().Outputs().Export(ctx, daemon, &file); err != nil {
		c.t.Errorf("exporting the chain: %v", err)
		return
	}
	said := make(map[string]bool) // outputs, with their sequence
	times := make(map[string]int) // events, by text
	last := make(map[string]int)
	_, err := chain.Walk(&file, func(item chain.Item) error {
		if item.Output == nil {
			return nil
		}
		said[fmt.Sprintf("%d: %s", item.Output.Link.Sequence, item.Output.Payload)] = true
		var count, number int
		var name string
		if _, err := fmt.Sscanf(string(item.Output.Payload), "%d %s %d", &count, &name, &number); err != nil {
			return err
		}
		if times[fmt.Sprint(name, number)]++; number <= last[name] {
			c.t.Errorf("sender %s: event %d comes after %d", name, number, last[name])
		}
		last[name] = number
		return nil
	})
	if err != nil {
		c.t.Errorf("the chain: %v", err)
	}
	for event, n := range times {
		if n > 1 {
			c.t.Errorf("event %s was applied %d times", event, n)
		}
	}
	for _, s := range senders {
		for _, number := range slices.Sorted(maps.Keys(s.acked)) {
			if !said[s.acked[number]] {
				c.t.Errorf("sender %s: event %d was answered with %q, which the chain does not have", s.name, number, s.acked[number])
			}
		}
	}
}

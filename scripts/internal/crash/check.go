package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"wasmhost/host"
	"wasmhost/wire/control"
)

// failure is what was found wrong; nil when nothing was.
func (t *trial) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.problems) == 0 && t.lost == 0 && t.doubled == 0 {
		return nil
	}
	const shown = 20
	said := t.problems
	if len(said) > shown {
		said = append(said[:shown:shown], fmt.Sprintf("and %d more", len(t.problems)-shown))
	}
	return errors.New(strings.Join(said, "\n  "))
}

// check looks at what is left when everything has come to rest: one owner of
// each daemon, whole chains, every acknowledged event in them once and in order.
func (t *trial) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	owners, err := t.settled(ctx)
	if err != nil {
		return err
	}
	for name := range residents {
		chain, err := t.chain(ctx, owners[name][0], name)
		if err != nil {
			t.problem("the chain of %s: %v", name, err)
			continue
		}
		t.checkChain(name, chain)
	}
	t.checkPassing(owners)
	for _, s := range t.senders {
		for _, p := range s.problems {
			t.problem("%s", p)
		}
	}
	return nil
}

// settled waits until each resident is running on one node, and returns who
// has which daemon.
func (t *trial) settled(ctx context.Context) (map[string][]*node, error) {
	for {
		owners, err := t.owners(ctx)
		for name := range residents {
			if err == nil && len(owners[name]) != 1 {
				err = fmt.Errorf("%d nodes answer for daemon %s", len(owners[name]), name)
			}
		}
		if err == nil {
			return owners, nil
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("the nodes do not come to rest: %w", err)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func (t *trial) owners(ctx context.Context) (map[string][]*node, error) {
	owners := make(map[string][]*node)
	for _, n := range t.nodes {
		list, err := n.client.Daemons(ctx, false)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if !serves(d) {
				return nil, fmt.Errorf("on node %s daemon %s is %s: %s", n.name, d.Name, d.State, d.Reason)
			}
			owners[d.Name] = append(owners[d.Name], n)
		}
	}
	return owners, nil
}

func serves(d control.Daemon) bool { return d.State == "running" || d.State == "passive" }

// chain is what the daemon's chain holds: its outputs, by sequence from 1, and
// the hash of each.
type chain struct {
	payloads []string
	hashes   []host.Hash
}

func (t *trial) chain(ctx context.Context, n *node, name string) (*chain, error) {
	r, err := n.client.Chain(ctx, name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	c := &chain{}
	report, err := host.WalkChain(r, func(i host.ChainItem) error {
		if i.Output == nil {
			return nil
		}
		c.payloads = append(c.payloads, string(i.Output.Payload))
		c.hashes = append(c.hashes, i.Output.Link.Hash(i.Output.Payload))
		return nil
	})
	t.migrations += len(report.Moves)
	return c, err
}

func (t *trial) checkChain(name string, c *chain) {
	sent := 0
	places := make(map[uint64]string) // which event was acknowledged with which output
	for _, s := range t.senders {
		if s.daemon != name {
			continue
		}
		sent += len(s.acks)
		last := uint64(0)
		for i, a := range s.acks {
			t.acknowledged++
			event := string(s.event(i + 1))
			if a.sequence > uint64(len(c.payloads)) || a.sequence == 0 || c.payloads[a.sequence-1] != a.payload {
				t.lost++
				t.problem("%s: event %q was acknowledged with output %d, %q, which the chain does not have", name, event, a.sequence, a.payload)
			}
			if name == "echo" && a.payload != event {
				t.problem("%s: event %q is answered with %q", name, event, a.payload)
			}
			if other, ok := places[a.sequence]; ok {
				t.problem("%s: events %q and %q have the same output", name, event, other)
			}
			places[a.sequence] = event
			if a.sequence <= last {
				t.problem("%s: event %q was applied before the one before it", name, event)
			}
			last = a.sequence
		}
	}
	if len(c.payloads) > sent { // every event that was sent is acknowledged by now
		t.doubled += len(c.payloads) - sent
		t.problem("%s: %d events were sent, %d are applied", name, sent, len(c.payloads))
	}
	for i, p := range c.payloads {
		if name != "echo" && p != fmt.Sprint(i+1) {
			t.problem("%s: output %d is %q", name, i+1, p)
			break
		}
	}
	for _, s := range t.snapshots {
		if s.daemon == name && (s.through > uint64(len(c.hashes)) || s.through > 0 && c.hashes[s.through-1] != s.head) {
			t.problem("%s: a snapshot was given away at output %d, which the chain does not have", name, s.through)
		}
	}
}

func (t *trial) checkPassing(owners map[string][]*node) {
	for name, p := range t.passing {
		n := len(owners[name])
		switch {
		case n > 1:
			t.problem("%d nodes have daemon %s", n, name)
		case p.stopped && n > 0:
			t.problem("daemon %s was stopped and is there", name)
		case p.spawned && !p.stopping && n == 0:
			t.problem("daemon %s was spawned and is not there", name)
		}
	}
}

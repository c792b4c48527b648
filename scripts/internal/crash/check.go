package main

import (
	"context"
	"fmt"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/scripts/internal/fleet"
)

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
		chain, err := fleet.ReadChain(ctx, owners[name][0], name)
		if err != nil {
			t.Problem("the chain of %s: %v", name, err)
			continue
		}
		t.migrations += chain.Moves
		t.Check(name, chain, t.senders, answers[name])
		t.checkSnapshots(name, chain)
	}
	t.checkPassing(owners)
	t.Senders(t.senders)
	return nil
}

// answers says of each resident what it answers.
var answers = map[string]func(sequence int, event []byte, output string) bool{
	"echo":  func(_ int, event []byte, output string) bool { return output == string(event) },
	"count": counts,
	"tally": counts,
}

func counts(sequence int, _ []byte, output string) bool { return output == fmt.Sprint(sequence) }

func (t *trial) checkSnapshots(name string, c *fleet.Chain) {
	for _, s := range t.snapshots {
		if s.daemon == name && (s.through > uint64(len(c.Hashes)) || s.through > 0 && c.Hashes[s.through-1] != s.head) {
			t.Problem("%s: a snapshot was given away at output %d, which the chain does not have", name, s.through)
		}
	}
}

// settled waits until each resident is running on one node, and returns who
// has which daemon.
func (t *trial) settled(ctx context.Context) (map[string][]*fleet.Node, error) {
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
		fleet.Pause(ctx, 50*time.Millisecond)
	}
}

func (t *trial) owners(ctx context.Context) (map[string][]*fleet.Node, error) {
	owners := make(map[string][]*fleet.Node)
	for _, n := range t.nodes {
		list, err := n.Client.Daemons().List(ctx, false)
		if err != nil {
			return nil, err
		}
		for _, d := range list {
			if !serves(d) {
				return nil, fmt.Errorf("on node %s daemon %s is %s: %s", n.Name, d.Name, d.State, d.Reason)
			}
			owners[d.Name] = append(owners[d.Name], n)
		}
	}
	return owners, nil
}

func serves(d api.Daemon) bool { return d.State == "running" || d.State == "passive" }

func (t *trial) checkPassing(owners map[string][]*fleet.Node) {
	for name, p := range t.passing {
		n := len(owners[name])
		switch {
		case n > 1:
			t.Problem("%d nodes have daemon %s", n, name)
		case p.stopped && n > 0:
			t.Problem("daemon %s was stopped and is there", name)
		case p.spawned && !p.stopping && n == 0:
			t.Problem("daemon %s was spawned and is not there", name)
		}
	}
}

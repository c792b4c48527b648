package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/scripts/internal/fleet"
)

// check looks at what is left when everything has come to rest: one owner of each
// daemon, whole chains, every acknowledged event in them once and in order.
func (t *trial) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		err := t.oneOwner(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the nodes do not come to rest: %w", err)
		}
		fleet.Pause(ctx, 50*time.Millisecond)
	}
	for i, r := range residents {
		chain, err := fleet.ReadChain(ctx, t.nodes[i%len(t.nodes)], r.name)
		if err != nil {
			t.Problem("the chain of %s: %v", r.name, err)
			continue
		}
		t.Check(r.name, chain, t.senders, func(sequence int, event []byte, output string) bool {
			if r.name == "echo" {
				return output == string(event)
			}
			return output == fmt.Sprint(sequence)
		})
	}
	t.Senders(t.senders)
	return nil
}

func (t *trial) oneOwner(ctx context.Context) error {
	owners := make(map[string]int)
	for _, n := range t.nodes {
		list, err := n.Client.Daemons().List(ctx, false)
		if err != nil {
			return err
		}
		for _, d := range list {
			owners[d.Name]++
			if d.State != "running" && d.State != "passive" {
				return fmt.Errorf("on node %s daemon %s is %s: %s", n.Name, d.Name, d.State, d.Reason)
			}
		}
	}
	var err error
	for _, r := range residents {
		if owners[r.name] != 1 {
			err = errors.Join(err, fmt.Errorf("%d nodes answer for daemon %s", owners[r.name], r.name))
		}
	}
	return err
}

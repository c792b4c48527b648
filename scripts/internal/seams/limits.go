package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wasmhost.example/api"
)

// limits sets limits of a daemon that is sent to, moves, and whose nodes die. They hold
// wherever it is, and what does not fit is refused by name.
func limits(ctx context.Context, r *round) error {
	if err := r.start(ctx, 3); err != nil {
		return err
	}
	if _, err := r.rich(ctx, "rich"); err != nil {
		return err
	}
	crew := r.senders(ctx, "rich", numbered, alone)
	defer crew.done()
	if err := crew.more(ctx, 10); err != nil {
		return err
	}
	was, err := inspect(ctx, r.nodes[1], "rich")
	if err != nil {
		return err
	}
	want := map[string]int64{"mailbox": 512, "snapshot-events": 7}
	w := r.storm(ctx, r.rng.IntN(2) == 0)
	for range 2 + r.rng.IntN(3) {
		if err = r.setLimit(ctx, want); err != nil {
			break
		}
		if err = crew.more(ctx, 10); err != nil {
			break
		}
	}
	if err == nil {
		err = r.misfit(ctx)
	}
	if err = errors.Join(err, w.calm()); err != nil {
		return err
	}
	crew.done()
	if err := r.settled(ctx, "rich"); err != nil {
		return err
	}
	for _, n := range r.nodes {
		i, err := n.Client.Daemons().Get(ctx, "rich")
		if err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(want)) {
			if i.Limits[name] != want[name] {
				r.problem("limit %s was set to %d: want node %s to say so, it says %d", name, want[name], n.Name, i.Limits[name])
			}
		}
	}
	if err := r.same(ctx, "rich", "limits were set", was, "limits"); err != nil {
		return err
	}
	return r.finish(ctx, "rich")
}

// settable are limits that can be set to any of these without an event failing.
var settable = map[string][]int64{
	"history": {65_536, 70_000, 100_000}, "mailbox": {256, 512, 1024}, "snapshot-events": {5, 50, 500}, "senders": {2000, 3000}, "output-count": {16, 64},
}

// setLimit sets one limit by the command line, asked at any node.
func (r *round) setLimit(ctx context.Context, want map[string]int64) error {
	name := choice(r.rng, slices.Sorted(maps.Keys(settable))...)
	value := choice(r.rng, settable[name]...)
	text := fmt.Sprintf("%s=%d", name, value)
	r.does("%s", text)
	want[name] = value
	return until(ctx, patience, "limit "+text+" is set", func(ctx context.Context) error {
		out, exit, err := r.any(r.rng).Run(ctx, "limits", "set", "rich", text, "-o", "json")
		if err != nil || exit == 0 {
			return err
		}
		if p := problemIn(out); p != nil && isPassing(p) || p != nil && (p.Code == "daemon-not-found" || onItsWay(p)) {
			return p
		}
		r.problem("limits set rich %s: want it set, it exits with %d: %s", text, exit, strings.TrimSpace(out))
		return nil
	})
}

// misfit asks for more memory than a state may have: it is refused, and changes nothing.
func (r *round) misfit(ctx context.Context) error {
	return until(ctx, patience, "limits that do not fit are refused", func(ctx context.Context) error {
		out, exit, err := r.any(r.rng).Run(ctx, "limits", "set", "rich", "memory=1GiB", "state-bytes=1MiB", "-o", "json")
		if err != nil {
			return err
		}
		p := problemIn(out)
		if p != nil && (isPassing(p) || p.Code == "daemon-not-found" || onItsWay(p)) {
			return p
		}
		if exit == 0 || p == nil || p.Code == "internal" || p.Code == "bad-request" {
			r.problem("limits set memory=1GiB state-bytes=1MiB: want it refused by name, it exits with %d: %s", exit, strings.TrimSpace(out))
		}
		return nil
	})
}

// problemIn is the problem that the command line printed as JSON; nil for none.
func problemIn(out string) *api.Problem {
	for _, line := range strings.Split(out, "\n") {
		var said struct {
			Error struct{ Code, Message string }
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Error.Code != "" {
			return &api.Problem{Code: said.Error.Code, Detail: said.Error.Message}
		}
	}
	return nil
}

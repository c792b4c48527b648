package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"wasmhost.example/scripts/internal/fleet"
)

// inspection is all that a node says of a daemon: values by their path in the JSON.
type inspection map[string]string

// passes are the paths of what a move, a failover or an event changes as it should. All
// others stay.
var passes = []string{
	"node_id", "epoch", "sequence", "state", "reason", "loss", "head", "memory_bytes", "events_processed", "events_emitted",
	"receipts", "cluster", "used", "subscriptions.cursor", "subscriptions.lag", "subscriptions.state", "subscriptions.reason", "effects.pending",
	"state_bytes", "mailbox",
}

// inspect asks the node for the daemon, and leaves out what passes.
func inspect(ctx context.Context, n *fleet.Node, daemon string) (out inspection, err error) {
	body, err := n.Get(ctx, "/v1/daemons/"+daemon)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	var said any
	d := json.NewDecoder(body)
	d.UseNumber()
	if err := d.Decode(&said); err != nil {
		return nil, err
	}
	out = make(inspection)
	out.take("", "", said)
	return out, nil
}

// take enters a value: path has the indices of lists, and kind does not.
func (i inspection) take(path, kind string, value any) {
	if slices.Contains(passes, kind) {
		return
	}
	switch v := value.(type) {
	case map[string]any:
		for k, inner := range v {
			i.take(strings.TrimPrefix(path+"."+k, "."), strings.TrimPrefix(kind+"."+k, "."), inner)
		}
	case []any:
		for k, inner := range v {
			i.take(fmt.Sprintf("%s.%d", path, k), kind, inner)
		}
	default:
		i[path] = fmt.Sprint(v)
	}
}

// differs says what is not as it was, but for the paths that may change.
func (i inspection) differs(now inspection, may ...string) string {
	var out []string
	paths := make(map[string]bool)
	for p := range i {
		paths[p] = true
	}
	for p := range now {
		paths[p] = true
	}
	for _, p := range slices.Sorted(maps.Keys(paths)) {
		was, is := i[p], now[p]
		if was == is || slices.ContainsFunc(may, func(m string) bool { return p == m || strings.HasPrefix(p, m+".") }) {
			continue
		}
		out = append(out, fmt.Sprintf("%s was %q and is %q", p, was, is))
	}
	return strings.Join(out, "; ")
}

// same notes as a problem what every node says of the daemon that is not as it was.
func (r *round) same(ctx context.Context, daemon, after string, was inspection, may ...string) error {
	for _, n := range r.nodes {
		var now inspection
		err := until(ctx, patience, "node "+n.Name+" inspects "+daemon, func(ctx context.Context) (err error) {
			now, err = inspect(ctx, n, daemon)
			return err
		})
		if err != nil {
			return err
		}
		if d := was.differs(now, may...); d != "" {
			r.problem("daemon %s after %s, as node %s says: want all as before, but %s", daemon, after, n.Name, d)
			return nil
		}
	}
	return nil
}

package daemons

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/render"
)

// watchingEvents is one events command.
type watchingEvents struct {
	*cli.App
	filters []string
	filter  []render.Filter
	all     bool
	count   uint64
	since   time.Time // zero: from now on
}

// Events is the command events.
func Events(a *cli.App) *cobra.Command {
	e := &watchingEvents{App: a}
	var since string
	c := &cobra.Command{Use: "events", Short: "Print what happens on the node, as it happens", Long: `Print what happens on the node from now on: daemons that are spawned, stopped, started,
removed, fail, are mended or upgraded, come and go; migrations and their phases; kinds
that are pushed and removed; drains. With --all also on the nodes that this one trusts.

--since begins with what happened before: a node remembers, until it ends, the last 1024
happenings.

--filter FIELD=VALUE keeps what has this value, as with ps: what, name, kind, node, peer
and the other fields of -o json.`, Example: `  wasmhost events
  wasmhost events --filter 'what=spawned|removed' --filter kind=counter
  wasmhost events --since 10m --count 20
  wasmhost events --all -o jsonl`, Args: cli.Exact(0), RunE: func(c *cobra.Command, _ []string) (err error) {
		known := append(render.Fields(reflect.TypeFor[api.Happening]()), "node")
		if e.filter, err = render.ParseFilters(e.filters); err != nil {
			return cli.Usagef("--filter: %v", err)
		}
		for _, f := range e.filter {
			if !slices.Contains(known, f.Field()) {
				return cli.Usagef("--filter: there is no field %q: %s", f.Field(), strings.Join(known, ", "))
			}
		}
		if since != "" {
			if e.since, err = sinceTime(since, time.Now()); err != nil {
				return err
			}
		}
		left := e.count
		err = a.Client().HappeningsSince(c.Context(), e.since, e.all, e.began, func(h api.Happening) error {
			shown, err := e.show(h)
			if err != nil || !shown || e.count == 0 {
				return err
			}
			if left--; left == 0 {
				return cli.ErrEnough
			}
			return nil
		})
		if errors.Is(err, cli.ErrEnough) {
			return nil
		}
		return cli.UntilInterrupted(c, err)
	}}
	c.Flags().StringArrayVarP(&e.filters, "filter", "l", nil, "FIELD=VALUE: only what has this value; may stand several times")
	c.Flags().BoolVarP(&e.all, "all", "a", false, "what happens on the nodes that this one trusts too")
	c.Flags().StringVar(&since, "since", "", "begin with what happened since: a time as 2026-01-31T15:04:05Z, or how long ago, as 10m")
	c.Flags().Uint64Var(&e.count, "count", 0, "end after so many; default: never")
	return c
}

func (e *watchingEvents) began() {
	if e.Format == "table" && cli.IsTerminal(e.Out) {
		fmt.Fprintln(e.Err, "what happens; Ctrl-C ends it")
	}
}

// show prints what happened, if it is asked for.
func (e *watchingEvents) show(h api.Happening) (shown bool, err error) {
	if len(e.filter) > 0 {
		fields, err := render.Object(h)
		if err != nil {
			return false, err
		}
		fields["node"] = []any{e.NodeName(h.NodeID), h.NodeID}
		if slices.ContainsFunc(e.filter, func(f render.Filter) bool { return !f.Meets(fields) }) {
			return false, nil
		}
	}
	switch e.Format {
	case "json", "jsonl":
		return true, json.NewEncoder(e.Out).Encode(h)
	case "name":
		_, err = fmt.Fprintln(e.Out, cmp.Or(h.Name, h.Kind, h.NodeID))
		return true, err
	}
	_, err = fmt.Fprintln(e.Out, e.line(h))
	return true, err
}

// line is what happened, in words.
func (e *watchingEvents) line(h api.Happening) string {
	words := []string{h.Time.Format("15:04:05.000"), fmt.Sprintf("%-8s", e.NodeName(h.NodeID)), h.What}
	if h.Name != "" {
		words = append(words, h.Name)
	} else if h.Origin != "" {
		words = append(words, h.Origin)
	}
	if e.Wide && h.Origin != "" {
		words = append(words, "("+h.Origin+" on "+h.NodeID+")")
	}
	var facts []string
	fact := func(name, value string) {
		if value != "" {
			facts = append(facts, name+"="+value)
		}
	}
	fact("kind", h.Kind)
	if h.Epoch > 0 {
		fact("epoch", fmt.Sprint(h.Epoch))
	}
	if h.Peer != "" {
		fact("peer", e.NodeName(h.Peer))
	}
	fact("role", h.Role)
	fact("phase", h.Phase)
	if h.Bytes > 0 {
		fact("sent", strings.ReplaceAll(cli.Size(h.Bytes), " ", ""))
	}
	if h.DowntimeMS > 0 {
		fact("downtime", fmt.Sprintf("%.1fms", h.DowntimeMS))
	}
	if len(facts) > 0 {
		words = append(words, strings.Join(facts, " "))
	}
	if h.Reason != "" {
		words = append(words, "reason: "+h.Reason)
	}
	return strings.Join(words, " ")
}

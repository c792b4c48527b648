package kinds

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/daemon"
)

// kindPrefix says that a kind is meant, where a daemon has the name too.
const kindPrefix = "kind/"

// Limits is the command limits.
func Limits(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "limits", Short: "Limits of daemons: what holds, and other values while they run"}
	c.AddCommand(limitsShowCommand(a), limitsSetCommand(a))
	return c
}

func limitsShowCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "show [DAEMON|KIND]", Short: "Show the limits that hold for a daemon, a kind or the node", Long: `Show the limits that hold for a daemon, for daemons that are made of a kind, or, without
either, for daemons of the node that have no others. Where a daemon and a kind have one
name, write kind/NAME or name:NAME. The bounds that cannot be set are in docs/limits.md.`, Example: `  wasmhost limits show c1
  wasmhost limits show counter -o json
  wasmhost limits show`, Args: cli.Between(0, 1), RunE: func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			n, err := a.Client().Node().Limits(c.Context())
			if err != nil {
				return err
			}
			return a.Print(n, func(w io.Writer) { writeLimits(w, n.Limits, nil, "") }, func() string { return "" })
		}
		kind, isKind, err := parseLimited(a, c.Context(), args[0])
		if err != nil {
			return err
		}
		if isKind {
			k, err := a.Client().Kinds().Limits(c.Context(), kind)
			if err != nil {
				return err
			}
			return a.Print(k, func(w io.Writer) { writeLimits(w, k.Limits, k.Own, "of the kind") }, func() string { return k.Name })
		}
		d, err := a.Client().Looking().Daemons().Limits(c.Context(), args[0])
		if err != nil {
			return err
		}
		return a.Print(d, func(w io.Writer) {
			writeLimits(w, d.Limits, d.Own, "of its own")
			cli.WriteUsed(w, d.Used)
		}, func() string { return d.Name })
	}}
}

func limitsSetCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "set DAEMON|KIND NAME=VALUE…", Short: "Set limits of a daemon or of a kind's daemons, while they run", Long: `Set limits of a daemon, or of a kind: of the daemons that are made of it from now on, and
of those on the node that is asked which had the kind's. Daemons that were given other
values of their own keep them, and are named. Limits that are not named stay;
NAME=default takes one away, so that the node's holds.

They hold from a daemon's next event on, are durable when the command ends, and go with the
daemon wherever it moves or is taken over. Values that do not fit one another, or the
memory that a daemon has, are refused, and nothing changes.

A shorter history is let go of at once, and its space on disk given back, so that history
cures a full disk.

Limits: ` + cli.LimitNames + `; ` + cli.LimitUnits + `.`, Example: `  wasmhost limits set c1 history=100000
  wasmhost limits set counter memory=256MiB state-bytes=256MiB
  wasmhost limits set c1 mailbox=default -o json`, Args: cli.Between(2, 1+len(strings.Split(cli.LimitNames, ","))), RunE: func(c *cobra.Command, args []string) error {
		change, err := parseChange(args[1:])
		if err != nil {
			return err
		}
		kind, isKind, err := parseLimited(a, c.Context(), args[0])
		if err != nil {
			return err
		}
		if isKind {
			return setKindLimits(a, c.Context(), kind, change)
		}
		d, err := a.Client().Daemons().SetLimits(c.Context(), args[0], api.SetLimits{Limits: change})
		if err != nil {
			return err
		}
		return a.Print(d, func(w io.Writer) { writeLimits(w, d.Limits, d.Own, "of its own") }, func() string { return d.Name })
	}}
}

func setKindLimits(a *cli.App, ctx context.Context, kind string, change map[string]int64) error {
	k, err := a.Client().Kinds().SetLimits(ctx, kind, api.SetLimits{Limits: change})
	if err != nil {
		return err
	}
	if err := a.Print(k, func(w io.Writer) {
		fmt.Fprintf(w, "kind %s: set for new daemons and %d that are there\n", k.Name, k.Changed)
		for _, d := range k.Kept {
			if d.Error == nil {
				fmt.Fprintf(w, "%s keeps a value of its own\n", d.Name)
			}
		}
		writeLimits(w, k.Limits, k.Own, "of the kind")
	}, func() string { return k.Name }); err != nil {
		return err
	}
	var failed []string
	for _, d := range k.Kept {
		if d.Error != nil {
			failed = append(failed, fmt.Sprintf("%s: %s (%s)", d.Name, d.Error.Detail, d.Error.Code))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%w: %s", api.ErrNotEverywhere, strings.Join(failed, "; "))
	}
	return nil
}

// parseLimited finds out whether the text names a daemon or a kind; of a kind it returns the name.
func parseLimited(a *cli.App, ctx context.Context, text string) (kind string, isKind bool, err error) {
	if kind, ok := strings.CutPrefix(text, kindPrefix); ok {
		return kind, true, nil
	}
	if daemon.ValidKind(text) != nil {
		return "", false, nil
	}
	_, err = a.Client().Kinds().Get(ctx, text)
	if problemIs(err, "kind-not-found") {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	if daemon.ValidName(text) != nil { // no daemon has it
		return text, true, nil
	}
	_, err = a.Client().Daemons().Get(ctx, text)
	if problemIs(err, "daemon-not-found") {
		return text, true, nil
	}
	if err != nil {
		return "", false, err
	}
	return "", false, cli.Usagef("a daemon and a kind are called %s: write name:%s or %s%s", text, text, kindPrefix, text)
}

// problemIs reports whether a node's answer is the problem of that code.
func problemIs(err error, code string) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Code == code
}

// parseChange reads NAME=VALUE; of two with one name the later counts.
func parseChange(texts []string) (map[string]int64, error) {
	change := make(map[string]int64)
	for _, t := range texts {
		if name, ok := strings.CutSuffix(t, "=default"); ok {
			change[strings.TrimSpace(name)] = 0
			continue
		}
		l, err := daemon.ParseLimits([]string{t})
		if err != nil {
			return nil, err
		}
		for name, v := range l.Map() {
			change[name] = v
		}
	}
	return change, nil
}

// writeLimits writes limits by name, with whose they are.
func writeLimits(w io.Writer, limits, own map[string]int64, whose string) {
	names := make([]string, 0, len(limits))
	for name := range limits {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(w, "%s\t%s", name, daemon.LimitText(name, limits[name]))
		if _, ok := own[name]; ok {
			fmt.Fprintf(w, "\t%s", whose)
		}
		fmt.Fprintln(w)
	}
}

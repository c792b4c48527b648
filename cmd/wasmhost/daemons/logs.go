package daemons

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// daemonLine is a line that one of several daemons logged.
type daemonLine struct {
	Daemon string `json:"daemon,omitempty"` // empty: it is the only one
	api.LogLine
}

// showingLogs is one logs command.
type showingLogs struct {
	*cli.App
	follow bool
	since  time.Time // older lines are not shown; zero: all are
	tail   int       // of the kept lines only so many, the newest; negative: all
	width  int       // of the daemons' names; 0: one daemon alone

	mu  sync.Mutex   // of what follows: lines of several daemons
	all []daemonLine // to be shown at the end
}

// Logs is the command logs.
func Logs(a *cli.App) *cobra.Command {
	var since string
	var all bool
	l := &showingLogs{App: a}
	c := &cobra.Command{Use: "logs DAEMON...", Short: "Show what daemons log", Long: `Show the last lines that daemons logged on the nodes where they are, those of several
daemons (--all: of all on this node) in the order of their times. --since shows lines
that are not older, --tail only the newest of each daemon. With -f go on with what they
log from now on, wherever they move; one that is removed fails with daemon-removed (exit
code 4).`, Example: `  wasmhost logs c1
  wasmhost logs c1 --since 10m --tail 20
  wasmhost logs --all
  wasmhost logs -f c1 -o jsonl`, RunE: func(c *cobra.Command, args []string) (err error) {
		if all == (len(args) > 0) {
			return cli.Usagef("logs needs either DAEMON... or --all")
		}
		if l.tail < -1 {
			return cli.Usagef("--tail %d: give at least 0, or -1 for all", l.tail)
		}
		if since != "" {
			if l.since, err = sinceTime(since, time.Now()); err != nil {
				return err
			}
		}
		refs := make(map[string]string) // by name
		for _, ref := range args {
			refs[ref] = ref
		}
		if all {
			daemons, err := a.Client().Daemons().List(c.Context(), false)
			if err != nil {
				return err
			}
			for _, d := range daemons {
				refs[uniqueName(refs, d)] = d.EntityID
			}
		}
		return cli.UntilInterrupted(c, l.show(c.Context(), refs, all))
	}}
	c.Flags().BoolVarP(&l.follow, "follow", "f", false, "go on with what they log from now on")
	c.Flags().StringVar(&since, "since", "", "only lines that are not older: a time as 2026-01-31T15:04:05Z, or how long ago, as 10m")
	c.Flags().IntVarP(&l.tail, "tail", "n", -1, "only so many lines of each daemon, the newest; -1: all that are kept")
	c.Flags().BoolVarP(&all, "all", "a", false, "of all daemons of the node")
	return c
}

// uniqueName is the daemon's name, or its id where another of them has its name.
func uniqueName(refs map[string]string, d api.Daemon) string {
	if _, taken := refs[d.Name]; taken {
		return d.EntityID
	}
	return d.Name
}

// sinceTime reads a time, or how long before now it was.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, cli.Usagef("--since %q is neither a time as 2026-01-31T15:04:05Z nor how long ago, as 10m", text)
	}
	return at, nil
}

// show shows the lines of daemons, whose references have names.
func (l *showingLogs) show(ctx context.Context, refs map[string]string, several bool) error {
	if several = several || len(refs) > 1; several {
		for name := range refs {
			l.width = max(l.width, len([]rune(name)))
		}
	}
	if l.follow && len(refs) > maxFollowed {
		return cli.Usagef("-f follows at most %d daemons at a time, not %d", maxFollowed, len(refs))
	}
	type ended struct {
		name string
		err  error
	}
	results, turn := make(chan ended, len(refs)), make(chan struct{}, maxFollowed)
	for name, ref := range refs {
		label := ""
		if several {
			label = name
		}
		go func() {
			turn <- struct{}{}
			results <- ended{name, l.daemon(ctx, label, ref)}
			<-turn
		}()
	}
	failed := &cli.SeveralError{Of: len(refs)}
	for range refs {
		switch r := <-results; {
		case r.err == nil:
		case !several, ctx.Err() != nil:
			return r.err
		default:
			failed.Failed++
			failed.Code = max(failed.Code, l.Report(ctx, fmt.Errorf("%s: %w", r.name, r.err)))
		}
	}
	slices.SortStableFunc(l.all, func(x, y daemonLine) int { return x.Time.Compare(y.Time) })
	if err := l.end(); err != nil || failed.Failed == 0 {
		return err
	}
	return failed
}

// maxFollowed is how many daemons are asked for their logs at a time.
const maxFollowed = 256

// daemon shows the lines of one daemon, or keeps them for the end.
func (l *showingLogs) daemon(ctx context.Context, label, ref string) error {
	from := l.since
	client := l.Client().Looking()
	var kept []daemonLine
	keep := func(line api.LogLine) error {
		if !line.Time.Before(l.since) {
			kept = append(kept, daemonLine{label, line})
		}
		return nil
	}
	if !l.follow || l.tail >= 0 {
		if err := client.Logs(ctx, ref, false, keep); err != nil {
			return err
		}
	}
	if l.tail >= 0 && l.tail < len(kept) {
		if l.tail == 0 {
			from = kept[len(kept)-1].Time.Add(1)
		}
		kept = kept[len(kept)-l.tail:]
		if l.tail > 0 {
			from = kept[0].Time
		}
	}
	if !l.follow {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all = append(l.all, kept...)
		return nil
	}
	return client.Logs(ctx, ref, true, func(line api.LogLine) error {
		if line.Time.Before(from) {
			return nil
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.write(daemonLine{label, line})
	})
}

// end writes the lines that were kept.
func (l *showingLogs) end() error {
	if l.follow {
		return nil
	}
	if l.Format == "json" {
		if l.all == nil {
			l.all = []daemonLine{}
		}
		return json.NewEncoder(l.Out).Encode(l.all)
	}
	for _, line := range l.all {
		if err := l.write(line); err != nil {
			return err
		}
	}
	return nil
}

func (l *showingLogs) write(line daemonLine) error {
	if l.Format == "json" || l.Format == "jsonl" {
		return json.NewEncoder(l.Out).Encode(line)
	}
	label := ""
	if l.width > 0 {
		label = fmt.Sprintf("%-*s  ", l.width, cli.OneLine(line.Daemon))
	}
	_, err := fmt.Fprintf(l.Out, "%s%s %-5s %s\n", label, line.Time.Format("15:04:05.000"), cli.OneLine(line.Level), cli.OneLine(line.Text))
	return err
}

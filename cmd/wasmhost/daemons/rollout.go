package daemons

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// rollOut upgrades all daemons of a kind or a group.
func rollOut(a *cli.App, c *cobra.Command, req api.Rollout) error {
	s := &rolloutShower{App: a, dry: req.DryRun}
	sum, err := a.Client().Daemons().Rollout(c.Context(), req, s.step)
	if c.Context().Err() != nil {
		fmt.Fprintf(a.Err, "stopped: %s; no other daemon is begun with, and none is rolled back; give the command again to go on\n", rolloutText(s.last, s.dry))
		return err
	}
	if sum == nil {
		return err
	}
	for _, n := range sum.Unasked {
		fmt.Fprintf(a.Err, "node %s does not say which daemons it has: %s\n", cli.OrID(n.Name, n.NodeID), n.Reason)
	}
	if printErr := s.end(sum); printErr != nil {
		return printErr
	}
	return err
}

// rolloutShower shows how a rollout goes.
type rolloutShower struct {
	*cli.App
	dry  bool
	last api.RolloutProgress
	said time.Time
	all  []api.Rolled
}

// rolloutLine is after how long another line says how far a rollout is.
const rolloutLine = time.Second

func (s *rolloutShower) step(st api.RolloutStep) error {
	if st.Progress != nil {
		s.last = *st.Progress
	}
	d := st.Daemon
	if d == nil {
		return nil
	}
	switch s.Format {
	case "jsonl":
		return json.NewEncoder(s.Out).Encode(d)
	case "json":
		s.all = append(s.all, *d)
		return nil
	case "name":
		if d.State == "upgraded" || d.State == "would-upgrade" {
			_, err := fmt.Fprintln(s.Out, d.Name)
			return err
		}
	}
	switch d.State {
	case "failed", "left":
		fmt.Fprintf(s.Err, "%s: %s: %s (%s)\n", d.Name, rolledText[d.State], d.Reason, d.Code)
	case "rolled-back", "would-upgrade":
		fmt.Fprintf(s.Err, "%s: %s, from module %.12s\n", d.Name, rolledText[d.State], d.From)
	default:
		if now := time.Now(); now.Sub(s.said) >= rolloutLine {
			s.said = now
			fmt.Fprintln(s.Err, rolloutText(s.last, s.dry))
		}
	}
	return nil
}

var rolledText = map[string]string{"failed": "is not upgraded", "left": "stays upgraded, for it cannot be rolled back", "rolled-back": "is rolled back", "would-upgrade": "would be upgraded"}

func (s *rolloutShower) end(sum *api.RolloutSummary) error {
	text := fmt.Sprintf("%s to module %.12s in %s", rolloutText(sum.RolloutProgress, s.dry), sum.Module, cli.Millis(sum.ElapsedMS))
	switch s.Format {
	case "jsonl", "name":
		fmt.Fprintln(s.Err, text)
		return nil
	case "json":
		if s.all == nil {
			s.all = []api.Rolled{}
		}
		return json.NewEncoder(s.Out).Encode(map[string]any{"summary": sum, "daemons": s.all, "dry_run": s.dry})
	}
	_, err := fmt.Fprintln(s.Out, text)
	return err
}

func rolloutText(p api.RolloutProgress, dry bool) string {
	done := "are upgraded"
	if dry {
		done = "would be upgraded"
	}
	parts := []string{fmt.Sprintf("%d of %d daemons %s", p.Upgraded, p.Total, done)}
	for _, more := range []struct {
		n    int
		text string
	}{{p.Already, "%d were already"}, {p.Failed, "%d failed"}, {p.RolledBack, "%d are rolled back"}, {p.Left, "%d could not be rolled back"}, {p.Untouched, "%d are untouched"}} {
		if more.n > 0 {
			parts = append(parts, fmt.Sprintf(more.text, more.n))
		}
	}
	return strings.Join(parts, ", ")
}

// upgradeOne upgrades a daemon.
func upgradeOne(a *cli.App, c *cobra.Command, ref string, req api.Upgrade) error {
	before, err := a.Client().Daemons().Get(c.Context(), ref)
	if err != nil {
		return err
	}
	d, err := a.Client().Daemons().Upgrade(c.Context(), ref, req)
	if err != nil {
		return err
	}
	what := "now runs"
	if !req.Rollback && d.Module == before.Module {
		what = "already runs"
	}
	return a.Print(d, func(w io.Writer) { fmt.Fprintf(w, "%s %s module %.12s\n", d.Name, what, d.Module) }, func() string { return d.Name })
}

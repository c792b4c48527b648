package clusters

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

func drainCommand(a *cli.App) *cobra.Command {
	var to cli.List
	var req api.Drain
	var deadline time.Duration
	c := &cobra.Command{
		Use:   "drain [NODE]",
		Short: "Move every daemon off a node",
		Long: `Move every daemon off a node, this one or one that lets this one operate its
daemons, several at a time, passive ones too, the largest first. Each goes to the
node with the most free capacity among those of --to, or among all that the node trusts;
one that a node does not take is offered to the next. From now on, and after a
restart, the node refuses new daemons until it is undrained.

The command returns when every daemon is gone, or when those that are left do not
go: exit code 12, with each and its reason. Given again, it watches the drain under
way, or goes on where one ended. Ctrl-C ends the watching alone; "node undrain" ends
the drain. With -o jsonl there is a line for each daemon.`,
		Example: `  wasmhost node drain
  wasmhost node drain b --to c,d --deadline 10m -o jsonl`,
		Args: cli.Between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if deadline < 0 || c.Flags().Changed("deadline") && deadline < time.Millisecond {
				return cli.Usagef("--deadline %v is not at least a millisecond", deadline)
			}

			req.To, req.DeadlineMS = to.Texts, deadline.Milliseconds()
			node, err := nodeOr(a, c, args)
			if err != nil {
				return err
			}

			s := &drainShower{App: a, bar: a.Format == "table" && cli.IsTerminal(a.Err)}
			sum, err := a.Client().Nodes().Drain(c.Context(), node, req, s.step)
			s.clear()
			if c.Context().Err() != nil {
				fmt.Fprintln(a.Err, "detached: the drain goes on; watch it: wasmhost node drain; end it: wasmhost node undrain")
				return err
			}

			if sum == nil {
				if err == nil && req.Detach {
					return a.Print(map[string]any{"node_id": node, "draining": true}, func(w io.Writer) { fmt.Fprintf(w, "%s is being drained\n", a.NodeName(node)) }, func() string { return node })
				}
				return err
			}

			if printErr := s.end(sum); printErr != nil {
				return printErr
			}
			return err
		},
	}

	c.Flags().Var(&to, "to", "node that may take daemons; may stand several times; default: all that the node trusts")
	c.Flags().DurationVar(&deadline, "deadline", 0, "end after so long, with what is left where it is; default: none")
	c.Flags().IntVar(&req.Parallel, "parallel", 0, "how many daemons move at a time; default: 4")
	c.Flags().BoolVar(&req.Detach, "detach", false, "return as soon as the drain has begun")
	return c
}

func undrainCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "undrain [NODE]", Short: "End a drain, and let the node take daemons again",
		Long: `End a drain, and let the node take daemons again. Daemons that are on their way
and not released stay; those that are gone stay away.`,
		Example: "  wasmhost node undrain b", Args: cli.Between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			node, err := nodeOr(a, c, args)
			if err != nil {
				return err
			}

			n, err := a.Client().Nodes().Undrain(c.Context(), node)
			if err != nil {
				return err
			}
			return a.Print(n, func(w io.Writer) { fmt.Fprintf(w, "%s takes daemons\n", a.NodeName(n.NodeID)) }, func() string { return n.NodeID })
		},
	}
}

// nodeOr is the node that the arguments name, or the one that is asked.
func nodeOr(a *cli.App, c *cobra.Command, args []string) (string, error) {
	if len(args) == 1 {
		return args[0], nil
	}
	n, err := a.Client().Node().Get(c.Context())
	return n.NodeID, err
}

// drainShower shows how a drain goes: as lines, or on a terminal as a bar.
type drainShower struct {
	*cli.App
	bar   bool
	drawn bool
	all   []api.Drained
}

func (s *drainShower) step(st api.DrainStep) error {
	d, p := st.Daemon, st.Progress
	switch {
	case d != nil && s.Format == "jsonl":
		return json.NewEncoder(s.Out).Encode(d)
	case d != nil && s.Format == "json":
		s.all = append(s.all, *d)
	case d != nil && s.Format == "name":
		_, err := fmt.Fprintln(s.Out, d.Name)
		return err
	case d != nil && (!s.bar || d.State == "stayed"):
		s.clear()
		fmt.Fprintln(s.Err, drainedText(s.App, *d))
	case p != nil && s.bar:
		s.Spoke.Store(true)
		fmt.Fprintf(cli.Bare(s.Err), "\r\x1b[K%s", cli.OneLine(barText(p)))
		s.drawn = true
	}

	return nil
}

// clear takes the bar away.
func (s *drainShower) clear() {
	if s.drawn {
		fmt.Fprint(cli.Bare(s.Err), "\r\x1b[K")
		s.drawn = false
	}
}

func (s *drainShower) end(sum *api.DrainSummary) error {
	switch s.Format {
	case "jsonl", "name":
		fmt.Fprintln(s.Err, summaryText(s.App, sum))
		return nil
	case "json":
		if s.all == nil {
			s.all = []api.Drained{}
		}
		return json.NewEncoder(s.Out).Encode(map[string]any{"summary": sum, "daemons": s.all})
	}

	_, err := fmt.Fprintln(s.Out, summaryText(s.App, sum))
	return err
}

func drainedText(a *cli.App, d api.Drained) string {
	switch d.State {
	case "moved":
		return fmt.Sprintf("%s moved to %s: %s, downtime %.1f ms, receipt %.16s", d.Name, a.NodeName(d.To), cli.Size(d.Bytes), d.DowntimeMS, d.Receipt)
	case "gone":
		return d.Name + " is gone by itself"
	}
	return fmt.Sprintf("%s stayed: %s", d.Name, d.Reason)
}

func summaryText(a *cli.App, s *api.DrainSummary) string {
	text := fmt.Sprintf("%d of %d daemons are gone from %s: %s in %s", s.Gone, s.Total, a.NodeName(s.NodeID), cli.Size(s.Bytes), cli.Millis(s.ElapsedMS))
	if s.ElapsedMS > 0 && s.Gone > 0 {
		text += fmt.Sprintf(", %.1f a second", float64(s.Gone)/s.ElapsedMS*1000)
	}
	return text
}

const barWidth = 30

func barText(p *api.DrainProgress) string {
	full := barWidth
	if p.Total > 0 {
		full = barWidth * (p.Gone + p.Stayed) / p.Total
	}

	text := fmt.Sprintf("[%s%s] %d of %d", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), p.Gone, p.Total)
	if p.Stayed > 0 {
		text += fmt.Sprintf(", %d stay", p.Stayed)
	}

	text += ", " + cli.Size(p.Bytes)
	if p.RemainingMS > 0 {
		text += fmt.Sprintf(", about %v left", cli.Millis(p.RemainingMS))
	}
	return text
}

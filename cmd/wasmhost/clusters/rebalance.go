package clusters

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

func rebalanceCommand(a *cli.App) *cobra.Command {
	var req api.Rebalance
	c := &cobra.Command{
		Use: "rebalance", Short: "Move one daemon to a node that has clearly less",
		Long: `Move one daemon of this node to another that has clearly less: that uses a share of
its memory smaller by 20 %, or has fewer daemons by a quarter and by more than ten.
What moves is small enough that the other one does not come to have more, so that
nothing goes to and fro; a node whose load is higher gets nothing, nor one that lacks
a tag of this one or has as many daemons of the kind. Nothing moves where the nodes
are even enough.

"serve --rebalance 5m" does this by itself, a daemon at a time; one that came stays for
three of these intervals.`,
		Example: `  wasmhost node rebalance --dry-run
  wasmhost node rebalance -o json`,
		Args: cli.Exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			out, err := a.Client().Node().Rebalance(c.Context(), req)
			if err != nil {
				return err
			}

			return a.Print(out, func(w io.Writer) {
				switch {
				case out.Name == "":
					fmt.Fprintf(w, "nothing moves: %s\n", out.Reason)
				case req.DryRun:
					fmt.Fprintf(w, "%s would move to %s: %s\n", out.Name, a.NodeName(out.To), out.Reason)
				default:
					fmt.Fprintf(w, "%s moved to %s: %s; downtime %.1f ms\n", out.Name, a.NodeName(out.To), out.Reason, out.DowntimeMS)
				}
			}, func() string { return out.Name })
		},
	}

	c.Flags().BoolVar(&req.DryRun, "dry-run", false, "say what would move, and move nothing")
	return c
}

// leastRebalance is how often at most a node looks.
const leastRebalance = time.Second

// ReadRebalance reads --rebalance: 0, or at least a second.
func ReadRebalance(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > 0 && d < leastRebalance {
		return 0, cli.Usagef("--rebalance %q is not 0s, nor a time of %v or more", text, leastRebalance)
	}
	return d, nil
}

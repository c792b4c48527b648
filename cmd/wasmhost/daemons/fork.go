package daemons

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// Fork is the command fork.
func Fork(a *cli.App) *cobra.Command {
	var req api.Fork
	var at uint64
	var limits []string
	c := &cobra.Command{
		Use:   "fork DAEMON",
		Short: "Make independent daemons that begin with a daemon's state",
		Long: `Make daemons of their own, with keys and chains of their own, that begin with the
state of this one: as it is now or, with --at, right after the event that emitted
that output. The daemon goes on and knows nothing of them. They have its kind,
module, configuration, limits and memory of senders, are on its node, and are
subscribed to nothing.

The genesis of each carries a record, signed by the daemon's key, of where it began:
"chain verify FORK --parent FILE" checks it against the daemon's exported chain, with
no node running.

An earlier state is made by replaying the history from its beginning, or from the
stored state where that is older; where neither reaches back so far, nothing is made
(history-trimmed).`,
		Example: `  wasmhost fork c1 --name trial
  wasmhost fork c1 --at 100 -n 3 --name what-if -o json`,
		Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			if c.Flags().Changed("at") {
				req.At = &at
			}
			if req.Count < 1 || req.Count > host.MaxForks {
				return cli.Usagef("-n %d: 1 to %d forks", req.Count, host.MaxForks)
			}
			own, err := daemon.ParseLimits(limits)
			if err != nil {
				return err
			}
			req.Limits = own.Map()
			forks, err := a.Client().Daemons().Fork(c.Context(), args[0], req)
			if err != nil {
				return err
			}
			return printForks(a, forks)
		},
	}
	c.Flags().Uint64Var(&at, "at", 0, "begin after the output of this sequence, 0: as it was spawned; default: now")
	c.Flags().IntVarP(&req.Count, "count", "n", 1, "how many")
	c.Flags().StringVar(&req.Name, "name", "", "the fork's name; of several, what comes before -1, -2, …; default: from the kind and the origin")
	c.Flags().StringArrayVar(&limits, "limit", nil, "NAME=VALUE: "+cli.LimitHelp)
	return c
}

func printForks(a *cli.App, forks []api.Daemon) error {
	return cli.PrintList(a, forks, "NAME\t+ORIGIN\tKIND\tNODE\t+NODE ID\tPARENT\tAFTER", func(d api.Daemon) string {
		return strings.Join([]string{d.Name, d.Origin, d.Kind, a.NodeName(d.NodeID), d.NodeID, a.DaemonName(d.Fork.Parent), fmt.Sprint(d.Fork.Sequence)}, "\t")
	}, func(d api.Daemon) string { return d.Name })
}

package daemons

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/server"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Upgrade is the command upgrade.
func Upgrade(a *cli.App) *cobra.Command {
	var req api.Upgrade
	many := api.Rollout{}
	c := &cobra.Command{
		Use:   "upgrade {DAEMON | group/NAME | --kind KIND} {--to VERSION | --rollback}",
		Short: "Give daemons another version of their code, with their state",
		Long: `Give a daemon another version of its code: a module by its whole
digest, or "latest" for what its kind is now on the node that is asked; the
daemon's node takes the module from it, if it may push kinds there. The state goes through the hooks
of both versions (wasmhost_snapshot, wasmhost_restore); identity, chain and
waiting events stay, and the chain records the change. Where it cannot work the
daemon goes on with the code that it had. --rollback goes back to the module before
the last upgrade, also after the daemon moved, failed over or was restored. A daemon that
is of the module already stays as it is.

group/NAME and --kind upgrade all members of a group, or all daemons of a kind, on all
nodes that this one asks for daemons: --parallel at a time, in the order of their names.
After more than --max-failures failures the command begins with no other daemon and
rolls back those that it upgraded, to the module that each had; with --no-rollback they
stay. Given again it passes over those that are of the module already. When it is
interrupted, or --timeout is over, it begins with no other and rolls nothing back. Exit
code 12 says that a daemon was not upgraded.`,
		Example: `  wasmhost kind push counter counter-v2.wasm
  wasmhost upgrade c1 --to latest
  wasmhost upgrade c1 --rollback
  wasmhost upgrade --kind counter --to latest --parallel 8 --dry-run
  wasmhost upgrade group/votes --to latest --max-failures 2`,
		Args: cli.Between(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && many.Kind == "" || len(args) == 1 && many.Kind != "" {
				return cli.Usagef("upgrade needs one of DAEMON, group/NAME and --kind KIND")
			}
			if (req.To == "") == !req.Rollback {
				return cli.Usagef("upgrade needs either --to VERSION or --rollback")
			}
			if len(args) == 1 {
				many.Group, _ = strings.CutPrefix(args[0], cli.GroupRef)
			}
			if many.Kind != "" || many.Group != "" && many.Group != args[0] {
				if req.Rollback {
					return cli.Usagef("--rollback is of one daemon: each may have had another module; give --to")
				}
				if many.Parallel < 1 || many.Parallel > api.MaxRolloutParallel || many.MaxFailures < 0 {
					return cli.Usagef("--parallel is 1 to %d, --max-failures at least 0", api.MaxRolloutParallel)
				}
				many.To = req.To
				return rollOut(a, c, many)
			}
			for _, flag := range []string{"parallel", "max-failures", "no-rollback"} {
				if c.Flags().Changed(flag) {
					return cli.Usagef("--%s is of group/NAME and --kind", flag)
				}
			}
			return upgradeOne(a, c, args[0], req)
		},
	}
	c.Flags().StringVar(&req.To, "to", "", `the module: its whole digest, or "latest"`)
	c.Flags().BoolVar(&req.Rollback, "rollback", false, "back to the module before the last upgrade; the state stays what it is now")
	c.Flags().StringVar(&many.Kind, "kind", "", "all daemons of this kind, on all nodes")
	c.Flags().IntVar(&many.Parallel, "parallel", api.DefaultRolloutParallel, "how many daemons of a kind or group are upgraded at a time")
	c.Flags().IntVar(&many.MaxFailures, "max-failures", 0, "how many of them may fail before the command stops")
	c.Flags().BoolVar(&many.NoRollback, "no-rollback", false, "when it stops, leave those upgraded that are")
	c.Flags().BoolVar(&many.DryRun, "dry-run", false, "say what would be upgraded, to which module, and upgrade nothing")
	return c
}

// Quarantine is the command quarantine.
func Quarantine(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "quarantine", Short: "Events that a daemon failed on", Long: `Events that a daemon failed on. A failed event changes nothing; where it had a
number, the daemon's history keeps it. An event that ran too long by the clock
is kept after its third try, any other at once, for it would fail again. retry gives
the daemon the same event once more: of its kind (direct, channel, gap, timer, daemon),
sender, channel and number, and at its time.`}
	ls := cli.Printing(a, &cobra.Command{Use: "ls DAEMON", Aliases: []string{"list"}, Short: "List the failed events that nobody has dealt with", Example: "  wasmhost quarantine ls c1", Args: cli.Exact(1)}, cli.Listing[api.Quarantined]{
		Get: func(c *cobra.Command) ([]api.Quarantined, error) {
			return a.Client().Looking().Quarantine().List(c.Context(), c.Flags().Arg(0))
		},
		Head: "INDEX\tTIME\tKIND\tSENDER\tCHANNEL\tNUMBER\tBYTES\tERROR",
		Row: func(q api.Quarantined) string {
			return fmt.Sprintf("%d\t%s\t%s\t%.12s\t%s\t%d\t%d\t%s", q.Index, q.Time.Format("2006-01-02 15:04:05"), q.Kind, q.Sender, cmp.Or(q.Channel, "-"), q.Number, len(q.Payload), q.Error)
		},
		Name: func(q api.Quarantined) string { return fmt.Sprint(q.Index) },
	})
	show := &cobra.Command{Use: "show DAEMON INDEX", Short: "Show a failed event", Example: "  wasmhost quarantine show c1 12 -o json", Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		n, err := eventIndex(args[1])
		if err != nil {
			return err
		}
		list, err := a.Client().Looking().Quarantine().List(c.Context(), args[0])
		if err != nil {
			return err
		}
		for _, q := range list {
			if q.Index == n {
				return a.Print(q, func(w io.Writer) {
					fmt.Fprintf(w, "index\t%d\ntime\t%s\nkind\t%s\nsender\t%s\nfrom\t%s\nchannel\t%s\nnumber\t%d\nerror\t%s\nbytes\t%d\n%s\n", q.Index, q.Time.Format("2006-01-02 15:04:05Z07:00"), q.Kind, q.Sender, cmp.Or(q.From, "-"), cmp.Or(q.Channel, "-"), q.Number, q.Error, len(q.Payload), q.Text)
				}, func() string { return fmt.Sprint(q.Index) })
			}
		}
		return server.NotQuarantined(args[0], n)
	}}
	retry := &cobra.Command{Use: "retry DAEMON INDEX", Short: "Have the daemon process a failed event again, for instance after an upgrade", Example: "  wasmhost quarantine retry c1 12", Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		n, err := eventIndex(args[1])
		if err != nil {
			return err
		}
		sent, err := a.Client().Quarantine().Retry(c.Context(), args[0], n)
		if err != nil {
			return err
		}
		if a.Format == "json" {
			return a.Print(sent, nil, nil)
		}
		for _, o := range sent.Outputs {
			if err := a.PrintOutput(o); err != nil {
				return err
			}
		}
		return nil
	}}
	skip := &cobra.Command{Use: "skip DAEMON INDEX", Short: "Let a failed event be", Example: "  wasmhost quarantine skip c1 12", Args: cli.Exact(2), RunE: func(c *cobra.Command, args []string) error {
		n, err := eventIndex(args[1])
		if err != nil {
			return err
		}
		if err := a.Client().Quarantine().Skip(c.Context(), args[0], n); err != nil {
			return err
		}
		return a.Print(map[string]any{"index": n, "skipped": true}, func(w io.Writer) { fmt.Fprintf(w, "event %d is let be\n", n) }, func() string { return args[1] })
	}}
	c.AddCommand(ls, show, retry, skip)
	return c
}

func eventIndex(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, cli.Usagef("%q is no index: see wasmhost quarantine ls", s)
	}
	return n, nil
}

package daemons

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Migrations is the command migrations.
func Migrations(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "migrations", Aliases: []string{"migration"}, Short: "Migrations that run, wait, or are over", Long: `Migrations that this node takes or took part in. One that waits for a node that is
away settles by itself once both nodes are back; resolve is for when one of them is
gone for good.`}
	var all bool
	ls := &cobra.Command{Use: "ls", Short: "List the migrations that run or wait for the other node", Long: `List the migrations that run or wait for the other node. With --all list those that
are over too: the ones that moved a daemon, of which there are receipts, and those
that failed since the node started.`, Example: "  wasmhost migrations ls --all -o json", Args: cli.Exact(0)}
	ls.Flags().BoolVar(&all, "all", false, "those that are over too")
	cli.Printing(a, ls, cli.Listing[api.Migration]{
		Get:  func(c *cobra.Command) ([]api.Migration, error) { return a.Client().Migrations().List(c.Context(), all) },
		Head: "NAME\t+ORIGIN\tTHIS NODE IS\tOTHER NODE\t+NODE ID\tSTATE\tEPOCH\tSENT\tDOWNTIME\tBEGAN\tREASON",
		Row:  func(m api.Migration) string { return migrationRow(a, m) },
		Name: func(m api.Migration) string { return m.Name },
	})
	c.AddCommand(ls, resolveCommand(a))
	return c
}

func migrationRow(a *cli.App, m api.Migration) string {
	state := m.State
	if m.State == "running" {
		state = m.Phase
		if m.Whole > 0 {
			state += fmt.Sprintf(" %d%%", 100*m.Done/m.Whole)
		}
	}
	return fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%.1f ms\t%s\t%s", m.Name, m.Origin, m.Role, a.NodeName(m.Peer), m.Peer, state, m.Epoch, cli.Size(m.Bytes), m.DowntimeMS,
		m.Began.Format("2006-01-02 15:04:05Z07:00"), a.WithNames(m.Reason, api.ExitOK))
}

func resolveCommand(a *cli.App) *cobra.Command {
	var takeBack, claim, drop, yes bool
	var keyFile, passFile string
	c := &cobra.Command{
		Use:   "resolve DAEMON --take-back | --claim | --drop",
		Short: "Settle a migration whose other node is gone for good",
		Long: `Settle a migration without its other node. It must be gone for good: should it
come back with the daemon, two nodes answer for one identity. The higher epoch,
which is the one given here, is the one that counts, and what the other did under
the lower one is lost.

  --take-back  this node released the daemon: serve it here again
  --claim      this node holds the daemon for its source: serve it here. Its key
               is sealed in what the source never sent: without --identity the
               daemon cannot sign, and its chain no longer verifies
  --drop       this node holds the daemon for its source: let go of it`,
		Example: "  wasmhost migrations resolve c1 --take-back --yes",
		Args:    cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			req, given := api.Resolve{}, 0
			for how, on := range map[string]bool{"take-back": takeBack, "claim": claim, "drop": drop} {
				if on {
					req.How = how
					given++
				}
			}
			if given != 1 || keyFile != "" && !claim {
				return cli.Usagef("give one of --take-back, --claim and --drop; --identity goes with --claim")
			}
			var err error
			if req.Identity, err = cli.SeedOf(keyFile, passFile); err != nil {
				return err
			}
			fmt.Fprintln(a.Err, "WARNING: if the other node still has this daemon, or comes back with it, two nodes answer for one identity.")
			if err := a.Confirm(yes, "the other node is gone for good: "+req.How+" daemon "+args[0]); err != nil {
				return err
			}
			m, err := a.Client().Migrations().Resolve(c.Context(), args[0], req)
			if err != nil {
				return err
			}
			return a.Print(m, func(w io.Writer) { fmt.Fprintln(w, mendedText(m)) }, func() string { return args[0] })
		},
	}
	c.Flags().BoolVar(&takeBack, "take-back", false, "serve the daemon that this node released")
	c.Flags().BoolVar(&claim, "claim", false, "serve the daemon that this node holds")
	c.Flags().BoolVar(&drop, "drop", false, "let go of the daemon that this node holds")
	c.Flags().StringVar(&keyFile, "identity", "", "with --claim: key file of the daemon's identity")
	c.Flags().StringVar(&passFile, "passphrase-file", "", "file with the key file's passphrase")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

package daemons

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Recover is the command recover.
func Recover(a *cli.App) *cobra.Command {
	var retry, skip, rollback, fork, confirm, yield, yes bool
	var name string
	c := &cobra.Command{
		Use:   "recover DAEMON --retry | --skip | --rollback | --fork | --confirm | --yield",
		Short: "Bring back a daemon that is failed, diverged or held",
		Long: `Bring back a daemon that could not be recovered: inspect says why. What is given
up is a signed fact of its chain, under a higher epoch (chain show), and never
chosen by the node itself.

  --retry     read it from disk again, as a restart would; nothing is given up
  --skip      where the replay of its history gives other outputs than were
              recorded, the recorded ones stand, and the state is the replay's:
              nothing acknowledged is lost, but the state is not what it was
  --rollback  back to the last stored state; all that came after it is dropped,
              outputs that were acknowledged included: their senders can send
              again

A daemon that is held serves nothing, because another copy of it may have gone further:

  --confirm   the copy on this node goes on, under a higher epoch; what another copy
              has beyond it is lost. Refused while a node that answers proves more
  --yield     the copy on this node is dropped for the one that has more; its history
              is kept as evidence

  --fork      another daemon, with a key of its own, goes on from the last record of
              its history that can be replayed; this one stays as it is, for a
              later choice, and its chain can be exported: see wasmhost fork`,
		Example: `  wasmhost recover c1 --retry
  wasmhost recover c1 --skip --yes
  wasmhost recover c1 --fork --name c1b`,
		Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			how, given := "", 0
			for name, on := range map[string]bool{"retry": retry, "skip": skip, "rollback": rollback, "fork": fork, "confirm": confirm, "yield": yield} {
				if on {
					how = name
					given++
				}
			}
			if given != 1 {
				return cli.Usagef("give one of --retry, --skip, --rollback, --fork, --confirm and --yield")
			}
			if name != "" && !fork {
				return cli.Usagef("--name is for --fork")
			}
			if fork {
				forks, err := a.Client().Daemons().Fork(c.Context(), args[0], api.Fork{LastGood: true, Name: name})
				if err != nil {
					return err
				}
				return printForks(a, forks)
			}
			if confirm || yield {
				m, err := decideHeld(a, c.Context(), args[0], confirm, yes)
				if err != nil {
					return err
				}
				return a.Print(m, func(w io.Writer) { fmt.Fprintln(w, mendedText(m)) }, func() string { return args[0] })
			}
			if how != "retry" {
				d, err := a.Client().Daemons().Get(c.Context(), args[0])
				if err != nil {
					return err
				}
				fmt.Fprintf(a.Err, "daemon %s is %s: %s\n", d.Name, d.State, d.Reason)
				if err := a.Confirm(yes, "bring daemon "+args[0]+" back by "+how+", which cannot be undone"); err != nil {
					return err
				}
			}
			m, err := a.Client().Daemons().Repair(c.Context(), args[0], api.Mend{How: how})
			if err != nil {
				return err
			}
			return a.Print(m, func(w io.Writer) { fmt.Fprintln(w, mendedText(m)) }, func() string { return args[0] })
		},
	}
	c.Flags().BoolVar(&retry, "retry", false, "read it from disk again")
	c.Flags().BoolVar(&skip, "skip", false, "let recorded outputs stand where a replay differs")
	c.Flags().BoolVar(&rollback, "rollback", false, "go back to the last stored state")
	c.Flags().BoolVar(&fork, "fork", false, "go on as another daemon, from the last good record")
	c.Flags().BoolVar(&confirm, "confirm", false, "let the held copy on this node go on")
	c.Flags().BoolVar(&yield, "yield", false, "drop the held copy on this node for the one that has more")
	c.Flags().StringVar(&name, "name", "", "the fork's name")
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return c
}

// decideHeld ends a hold, after it was asked for.
func decideHeld(a *cli.App, ctx context.Context, ref string, confirm, yes bool) (api.Mended, error) {
	held, err := a.Client().Node().Held(ctx)
	if err != nil {
		return api.Mended{}, err
	}
	for _, h := range held {
		if h.Name == ref || h.Origin == ref || h.EntityID == ref {
			fmt.Fprintf(a.Err, "daemon %s is held (%s): %s\n", h.Name, h.Code, h.Why)
		}
	}
	if confirm {
		if err := a.Confirm(yes, "let the copy of daemon "+ref+" on this node go on, and lose what another copy has beyond it"); err != nil {
			return api.Mended{}, err
		}
		return a.Client().Daemons().Confirm(ctx, ref)
	}
	if err := a.Confirm(yes, "drop the copy of daemon "+ref+" on this node for the one that has more"); err != nil {
		return api.Mended{}, err
	}
	return a.Client().Daemons().Yield(ctx, ref)
}

func mendedText(m api.Mended) string {
	switch m.How {
	case "skip":
		return fmt.Sprintf("brought back after output %d: %d events whose replay differs keep their recorded outputs; epoch %d", m.After, m.Count, m.Epoch)
	case "rollback":
		return fmt.Sprintf("rolled back to output %d: %d records dropped, the last output among them %d; epoch %d", m.After, m.Count, m.Sequence, m.Epoch)
	}
	if m.How == "drop" {
		return "dropped"
	}
	return fmt.Sprintf("brought back by %s, after output %d; epoch %d", m.How, m.After, m.Epoch)
}

// lossText says what of a daemon's outputs is lost.
func lossText(l *api.Loss) string {
	if l.To > 0 {
		return fmt.Sprintf("outputs %d to %d of epoch %d: %s", l.From, l.To, l.Epoch, l.Why)
	}
	return fmt.Sprintf("outputs from %d on, if any were acknowledged in epoch %d: %s", l.From, l.Epoch, l.Why)
}

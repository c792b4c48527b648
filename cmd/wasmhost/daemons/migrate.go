package daemons

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host"
	"wasmhost.example/host/chain"
)

// Migrate is the command migrate.
func Migrate(a *cli.App) *cobra.Command {
	var req api.Migrate
	var auto bool
	var need cli.Where
	var downtime, deadline time.Duration
	var rate, receipt string
	c := &cobra.Command{
		Use:   "migrate DAEMON {NODE | --to NODE | --auto}",
		Short: "Move daemons to another node, live",
		Long: `Move a daemon to another node (its id or its name, whole). With --to and --auto there
may be several daemons, which move one after the other. The
daemon serves until the target has all of it; its senders then wait for some
milliseconds and find it there. The command returns when it has moved. On exit
code 11 the source serves it as if nothing had happened. Ctrl-C leaves the
migration to go on by itself.

What the daemon does while it is on its way follows in rounds, until the rest fits
the --downtime. A daemon that does more than a round can carry is slowed; when the
rounds run out it moves all the same, with a longer pause. Both nodes sign a receipt
of it: see "wasmhost receipt".

The daemon's private key goes along, sealed for the target. With --no-identity it is
not sent: the target must have it already, and proves that it does; else the
migration fails (exit code 11, identity-transport-failed) and nothing has changed.
With --public-only the daemon moves without a key. On the target it signs nothing:
its outputs there cannot be proven, and "chain verify" holds only up to the move,
which says so. The key stays on the node that the daemon leaves, which gives it back
when the daemon returns; "identity export" writes it to a file.

With -o jsonl there is a line for each phase and round, and one at the end.

With --auto the node that has the daemon picks the target among those it trusts:
one that takes daemons, has the tags of --where and room for the daemon's memory,
and of these the one with the most free memory, the lowest load and the fewest
daemons. Where none does, each is named with what it lacks (exit code 3).`,
		Example: `  wasmhost migrate c1 b
  wasmhost migrate c1 c2 --to b
  wasmhost migrate c1 --to b -o json
  wasmhost migrate c1 --auto --where zone=b
  wasmhost migrate c1 --to b --downtime 5ms --rate 20MiB --deadline 5m --receipt c1.receipt`,
		Args: cli.AtLeast(1),
		RunE: func(c *cobra.Command, args []string) error {
			if req.To == "" && !auto {
				if len(args) != 2 {
					return cli.Usagef("migrate needs DAEMON NODE, or daemons and --to NODE or --auto")
				}
				req.To, args = args[1], args[:1]
			}
			if len(args) > 1 && receipt != "" {
				return cli.Usagef("--receipt is for one daemon; wasmhost receipt save writes the others'")
			}
			if err := bounds(&req, downtime, deadline, rate); err != nil {
				return err
			}
			return a.Each(c, args, func(ref string) error {
				one := req
				if err := autoTarget(a, c, ref, auto, &need, &one.To); err != nil {
					return err
				}
				return move(a, c, ref, one, receipt)
			})
		},
	}
	c.Flags().StringVar(&req.To, "to", "", "the target node")
	c.Flags().BoolVar(&auto, "auto", false, "let the node pick the target")
	need.Declare(c)
	c.Flags().BoolVar(&req.OmitIdentity, "no-identity", false, "do not send the private key: the target must have been given it")
	c.Flags().BoolVar(&req.PublicOnly, "public-only", false, "keep the private key on this node: the daemon signs nothing on the target")
	c.MarkFlagsMutuallyExclusive("no-identity", "public-only")
	c.Flags().DurationVar(&downtime, "downtime", host.DefaultDowntime, "for how long senders may wait at the end")
	c.Flags().IntVar(&req.MaxRounds, "max-rounds", host.DefaultRounds, "rounds before the daemon moves all the same")
	c.Flags().DurationVar(&deadline, "deadline", 0, "give up what is not released after so long; default: never")
	c.Flags().StringVar(&rate, "rate", "", "bytes to send in a second, as 20MiB; default: any number")
	c.Flags().StringVar(&receipt, "receipt", "", "file to write the receipt to; - is standard output")
	c.Flags().BoolVar(&req.Detach, "detach", false, "return as soon as the migration has begun")
	return c
}

// move moves one daemon.
func move(a *cli.App, c *cobra.Command, ref string, req api.Migrate, receipt string) error {
	show := &moveShower{App: a}
	rep, err := a.Client().Migrate(c.Context(), ref, req, show.step)
	show.clear()
	if c.Context().Err() != nil {
		fmt.Fprintln(a.Err, "detached: the migration goes on; see: wasmhost inspect", ref)
		return err
	}
	if err != nil {
		return err
	}
	if rep == nil {
		return detached(a, c, ref)
	}
	if receipt != "" {
		err := chain.ErrNoReceipt
		if len(rep.ReceiptRaw) > 0 {
			err = a.WriteTo(receipt, bytes.NewReader(rep.ReceiptRaw))
		}
		if err != nil {
			return fmt.Errorf("the daemon moved; its receipt: %w", err)
		}
	}
	return a.Print(rep, func(w io.Writer) {
		fmt.Fprintf(w, "%s moved from %s to %s, epoch %d\n%d bytes sent, downtime %.1f ms\n", cli.OneLine(ref), a.NodeName(rep.From), a.NodeName(rep.To), rep.Epoch, rep.Bytes, rep.DowntimeMS)
		if rep.Receipt != "" {
			fmt.Fprintf(w, "receipt %s\n", rep.Receipt)
		}
		for _, u := range rep.Unbound {
			fmt.Fprintf(w, "not subscribed yet to %s/%s: %s (%s)\n", a.NodeName(u.Publisher), u.Channel, u.Reason, u.Code)
		}
	}, func() string { return rep.Origin })
}

// bounds puts what the flags say into the request.
func bounds(req *api.Migrate, downtime, deadline time.Duration, rate string) error {
	if downtime < 100*time.Microsecond || deadline < 0 || deadline > 0 && deadline < time.Millisecond || req.MaxRounds < 1 || req.MaxRounds > host.MaxRounds {
		return cli.Usagef("--downtime is at least 100us, --deadline at least 1ms, --max-rounds 1 to %d", host.MaxRounds)
	}
	req.DowntimeMS, req.DeadlineMS = float64(downtime)/float64(time.Millisecond), deadline.Milliseconds()
	if rate == "" {
		return nil
	}
	var err error
	if req.Rate, err = cli.ParseSize(rate); err != nil || req.Rate < 1 {
		return cli.Usagef("--rate %q is no number of bytes, as 20MiB", rate)
	}
	return nil
}

// detached says which daemon is on its way.
func detached(a *cli.App, c *cobra.Command, ref string) error {
	d, err := a.Client().Daemons().Get(c.Context(), ref)
	if err != nil {
		return err
	}
	return a.Print(map[string]any{"origin": d.Origin, "detached": true}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is on its way; see: wasmhost inspect %s\n", d.Name, ref)
	}, func() string { return d.Origin })
}

// autoTarget fills the target of a migration that is to be picked.
func autoTarget(a *cli.App, c *cobra.Command, ref string, auto bool, w *cli.Where, to *string) error {
	switch {
	case !auto && w.Given():
		return cli.Usagef("--where and what else says where go with --auto")
	case !auto:
		return nil
	case *to != "":
		return cli.Usagef("give either --to or --auto")
	}
	p, err := w.Place()
	if err != nil {
		return err
	}
	picked, err := a.Client().Daemons().Place(c.Context(), ref, p)
	if err != nil {
		return err
	}
	*to = picked.NodeID
	if len(picked.Verdicts) > 0 {
		fmt.Fprintf(a.Err, "to %s: %s\n", cli.OrID(picked.Name, picked.NodeID), strings.Join(picked.Verdicts[0].Reasons, ", "))
	}
	return nil
}

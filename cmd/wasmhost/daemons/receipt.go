package daemons

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/server/convert"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/host/chain"
)

// Receipt is the command receipt.
func Receipt(a *cli.App) *cobra.Command {
	c := &cobra.Command{Use: "receipt", Short: "What two nodes signed of a daemon's move"}
	c.AddCommand(receiptListCommand(a), receiptSaveCommand(a), receiptVerifyCommand(a))
	return c
}

func receiptListCommand(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use: "ls DAEMON", Short: "List the receipts of a daemon's last moves",
		Long: `List the receipts of a daemon's last 64 moves, wherever it is. They travel with it. A node
that it left keeps them for 90 days, and of the last 10,000 daemons that left: save what is
to last. One that is half has the target's signature only: the source could not bring its own.`,
		Example: "  wasmhost receipt ls c1", Args: cli.Exact(1),
	}
	return cli.Printing(a, c, cli.Listing[api.Receipt]{
		Get: func(c *cobra.Command) ([]api.Receipt, error) {
			return a.Client().Looking().Daemons().Receipts(c.Context(), c.Flags().Arg(0))
		},
		Head: "EPOCH\tFROM\t+FROM ID\tTO\t+TO ID\tSEQUENCE\tBYTES\tROUNDS\tDOWNTIME\tACTIVATED\tSIGNED\tDIGEST",
		Row: func(r api.Receipt) string {
			return fmt.Sprintf("%d\t%s\t%s\t%s\t%s\t%d\t%s\t%d\t%.1f ms\t%s\t%s\t%s", r.Epoch, a.NodeName(r.From), r.From, a.NodeName(r.To), r.To, r.Sequence, cli.Size(int64(r.Bytes)), r.Rounds, r.DowntimeMS,
				r.Activated.Format("2006-01-02 15:04:05Z07:00"), signedBy(r), r.Digest[:16])
		},
		Name: func(r api.Receipt) string { return fmt.Sprint(r.Epoch) },
	})
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}

func signedBy(r api.Receipt) string {
	if r.Whole {
		return "both"
	}
	return "half"
}

func receiptSaveCommand(a *cli.App) *cobra.Command {
	var out string
	var epoch uint64
	c := &cobra.Command{
		Use: "save DAEMON --out FILE", Short: "Write the receipt of a daemon's move to a file",
		Long: `Write the receipt of a daemon's last move, or of its move to an epoch, to a file.
Whoever has the file can verify it, with no node at hand.`,
		Example: "  wasmhost receipt save c1 --out c1.receipt\n  wasmhost receipt save c1 --epoch 3 --out -", Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			if out == "" {
				return cli.Usagef("receipt save needs --out FILE; - is standard output")
			}
			if epoch == 0 {
				all, err := a.Client().Daemons().Receipts(c.Context(), args[0])
				if err != nil {
					return err
				}
				if len(all) == 0 {
					return fmt.Errorf("%w: daemon %s has not moved", chain.ErrNoReceipt, args[0])
				}
				epoch = all[len(all)-1].Epoch
			}
			b, err := a.Client().Daemons().Receipt(c.Context(), args[0], epoch)
			if err != nil {
				return err
			}
			if err := a.WriteTo(out, bytes.NewReader(b)); err != nil || out == "-" {
				return err
			}
			r, err := chain.DecodeReceipt(b)
			if err != nil {
				return err
			}
			what := ""
			if !r.Whole() {
				what = "half a receipt, without the source's signature: "
			}
			return showReceipt(a, r, what)
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to write to; - is standard output")
	c.Flags().Uint64Var(&epoch, "epoch", 0, "of the move to this epoch; default: the last")
	return c
}

func receiptVerifyCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{
		Use: "verify FILE", Short: "Check a receipt, with no node running",
		Long: `Check that a receipt is signed by both nodes that it names, and show what it says.
Exit code 10 where anything in it was changed, or a signature is missing. - is
standard input.`,
		Example: "  wasmhost receipt verify c1.receipt\n  wasmhost receipt save c1 --out - | wasmhost receipt verify -", Args: cli.Exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			in, err := a.Open(args[0])
			if err != nil {
				return err
			}
			defer in.Close()
			b, err := io.ReadAll(io.LimitReader(in, 1<<20))
			if err != nil {
				return err
			}
			r, err := chain.DecodeReceipt(b)
			if err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			if err := r.Verify(); err != nil {
				return fmt.Errorf("%s: %w", args[0], err)
			}
			return showReceipt(a, r, "receipt holds: ")
		},
	}
}

func showReceipt(a *cli.App, r *chain.Receipt, what string) error {
	v, err := convert.ReceiptOf(r)
	if err != nil {
		return err
	}
	return a.Print(v, func(w io.Writer) {
		fmt.Fprintf(w, "%sdaemon %s moved from %s to %s, epoch %d\n", what, v.Origin, v.From, v.To, v.Epoch)
		rows := [][2]string{{"entity", v.EntityID}, {"kind", v.Kind}, {"module", v.Module}, {"last sequence", fmt.Sprint(v.Sequence)}, {"events applied", fmt.Sprint(v.Applied)},
			{"head", v.Head}, {"state before = after", v.State}, {"queued events", fmt.Sprint(v.Queued)}, {"sent", fmt.Sprintf("%d bytes in %d rounds", v.Bytes, v.Rounds)},
			{"downtime", fmt.Sprintf("%.1f ms", v.DowntimeMS)}, {"started", stamp(v.Started)}, {"activated", stamp(v.Activated)}, {"confirmed", stamp(v.Confirmed)},
			{"source key", v.FromKey}, {"target key", v.ToKey}, {"digest", v.Digest}}
		for _, row := range rows {
			if row[1] != "" {
				fmt.Fprintf(w, "  %s\t%s\n", row[0], row[1])
			}
		}
	}, func() string { return v.Digest })
}

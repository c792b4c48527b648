package main

import (
	"cmp"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"wasmhost/wire/control"
)

func (a *app) upgrade() *cobra.Command {
	var req control.Upgrade
	c := &cobra.Command{
		Use:   "upgrade DAEMON --to VERSION | --rollback",
		Short: "Give a daemon another version of its code, with its state",
		Long: `Give a daemon another version of its code: a module by its whole
digest, or "latest" for what its kind is now on the node that is asked; the
daemon's node takes the module from it, if it may push kinds there. The state goes through the hooks
of both versions (wasmhost_snapshot, wasmhost_restore); identity, chain and
waiting events stay, and the chain records the change. Where it cannot work the
daemon goes on with the code that it had.`,
		Example: `  wasmhost kind push counter counter-v2.wasm
  wasmhost upgrade c1 --to latest
  wasmhost upgrade c1 --rollback`,
		Args: exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			if (req.To == "") == !req.Rollback {
				return usagef("upgrade needs either --to VERSION or --rollback")
			}
			d, err := a.client().Upgrade(c.Context(), args[0], req)
			if err != nil {
				return err
			}
			return a.print(d, func(w io.Writer) { fmt.Fprintf(w, "%s now runs module %.12s\n", d.Name, d.Module) }, func() string { return d.Name })
		},
	}
	c.Flags().StringVar(&req.To, "to", "", `the module: its whole digest, or "latest"`)
	c.Flags().BoolVar(&req.Rollback, "rollback", false, "back to the module before the last upgrade; the state stays what it is now")
	return c
}

func (a *app) quarantine() *cobra.Command {
	c := &cobra.Command{Use: "quarantine", Short: "Events that a daemon failed on", Long: `Events that a daemon failed on. A failed event changes nothing; where it had a
number, the daemon's history keeps it. An event that ran too long by the clock
is kept after its third try, any other at once, for it would fail again. retry gives
the daemon the same event once more: of its kind (direct, channel, gap, timer, daemon),
sender, channel and number, and at its time.`}
	ls := &cobra.Command{Use: "ls DAEMON", Short: "List the failed events that nobody has dealt with", Example: "  wasmhost quarantine ls c1", Args: exact(1), RunE: func(c *cobra.Command, args []string) error {
		list, err := a.client().Looking().Quarantine(c.Context(), args[0])
		if err != nil {
			return err
		}
		return printList(a, list, "INDEX\tTIME\tKIND\tSENDER\tCHANNEL\tNUMBER\tBYTES\tERROR", func(q control.Quarantined) string {
			return fmt.Sprintf("%d\t%s\t%s\t%.12s\t%s\t%d\t%d\t%s", q.Index, q.Time.Format("2006-01-02 15:04:05"), q.Kind, q.Sender, cmp.Or(q.Channel, "-"), q.Number, len(q.Payload), q.Error)
		}, func(q control.Quarantined) string { return fmt.Sprint(q.Index) })
	}}
	show := &cobra.Command{Use: "show DAEMON INDEX", Short: "Show a failed event", Example: "  wasmhost quarantine show c1 12 -o json", Args: exact(2), RunE: func(c *cobra.Command, args []string) error {
		n, err := eventIndex(args[1])
		if err != nil {
			return err
		}
		list, err := a.client().Looking().Quarantine(c.Context(), args[0])
		if err != nil {
			return err
		}
		for _, q := range list {
			if q.Index == n {
				return a.print(q, func(w io.Writer) {
					fmt.Fprintf(w, "index\t%d\ntime\t%s\nkind\t%s\nsender\t%s\nfrom\t%s\nchannel\t%s\nnumber\t%d\nerror\t%s\nbytes\t%d\n%s\n", q.Index, q.Time.Format("2006-01-02 15:04:05Z07:00"), q.Kind, q.Sender, cmp.Or(q.From, "-"), cmp.Or(q.Channel, "-"), q.Number, q.Error, len(q.Payload), q.Text)
				}, func() string { return fmt.Sprint(q.Index) })
			}
		}
		return control.NotQuarantined(args[0], n)
	}}
	retry := &cobra.Command{Use: "retry DAEMON INDEX", Short: "Have the daemon process a failed event again, for instance after an upgrade", Example: "  wasmhost quarantine retry c1 12", Args: exact(2), RunE: func(c *cobra.Command, args []string) error {
		n, err := eventIndex(args[1])
		if err != nil {
			return err
		}
		sent, err := a.client().Retry(c.Context(), args[0], n)
		if err != nil {
			return err
		}
		if a.format == "json" {
			return a.print(sent, nil, nil)
		}
		for _, o := range sent.Outputs {
			if err := a.printOutput(o); err != nil {
				return err
			}
		}
		return nil
	}}
	skip := &cobra.Command{Use: "skip DAEMON INDEX", Short: "Let a failed event be", Example: "  wasmhost quarantine skip c1 12", Args: exact(2), RunE: func(c *cobra.Command, args []string) error {
		n, err := eventIndex(args[1])
		if err != nil {
			return err
		}
		if err := a.client().Skip(c.Context(), args[0], n); err != nil {
			return err
		}
		return a.print(map[string]any{"index": n, "skipped": true}, func(w io.Writer) { fmt.Fprintf(w, "event %d is let be\n", n) }, func() string { return args[1] })
	}}
	c.AddCommand(ls, show, retry, skip)
	return c
}

func eventIndex(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, usagef("%q is no index: see wasmhost quarantine ls", s)
	}
	return n, nil
}

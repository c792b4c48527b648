package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"wasmhost/wire/control"
)

func (a *app) migrate() *cobra.Command {
	var req control.Migrate
	var auto bool
	var need where
	c := &cobra.Command{
		Use:   "migrate DAEMON --to NODE | --auto",
		Short: "Move a daemon to another node, live",
		Long: `Move a daemon to another node (its id, a unique prefix of it, or its name). The
daemon serves until the target has all of it; its senders then wait for some
milliseconds and find it there. The command returns when it has moved. On exit
code 11 the source serves it as if nothing had happened. Ctrl-C leaves the
migration to go on by itself.

With --auto the node that has the daemon picks the target among those it trusts:
one that takes daemons, has the tags of --where and room for the daemon's memory,
and of these the one with the most free memory, the lowest load and the fewest
daemons. Where none does, each is named with what it lacks (exit code 3).`,
		Example: `  wasmhost migrate c1 --to b
  wasmhost migrate c1 --to 5e5f0cbb -o json
  wasmhost migrate c1 --auto --where zone=b`,
		Args: exact(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := a.autoTarget(c, args[0], auto, &need, &req.To); err != nil {
				return err
			}
			if req.To == "" {
				return usagef("migrate needs --to NODE, or --auto")
			}
			rep, err := a.client().Migrate(c.Context(), args[0], req, func(phase string) { fmt.Fprintf(a.err, "%s\n", phase) })
			if c.Context().Err() != nil {
				fmt.Fprintln(a.err, "detached: the migration goes on; see: wasmhost inspect", args[0])
				return err
			}
			if err != nil {
				return err
			}
			if rep == nil {
				return a.detached(c, args[0])
			}
			return a.print(rep, func(w io.Writer) {
				fmt.Fprintf(w, "%s moved from %s to %s, epoch %d\n%d bytes sent, downtime %.1f ms\n", rep.Origin, rep.From, rep.To, rep.Epoch, rep.Bytes, rep.DowntimeMS)
			}, func() string { return rep.Origin })
		},
	}
	c.Flags().StringVar(&req.To, "to", "", "the target node")
	c.Flags().BoolVar(&auto, "auto", false, "let the node pick the target")
	need.declare(c)
	c.Flags().BoolVar(&req.OmitIdentity, "no-identity", false, "leave the private key behind: the daemon cannot sign on the target")
	c.Flags().BoolVar(&req.Detach, "detach", false, "return as soon as the migration has begun")
	return c
}

// detached says which daemon is on its way.
func (a *app) detached(c *cobra.Command, ref string) error {
	d, err := a.client().Daemon(c.Context(), ref)
	if err != nil {
		return err
	}
	return a.print(map[string]any{"origin": d.Origin, "detached": true}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is on its way; see: wasmhost inspect %s\n", d.Origin, ref)
	}, func() string { return d.Origin })
}

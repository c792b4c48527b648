package daemons

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Top is the command top.
func Top(a *cli.App) *cobra.Command {
	var interval time.Duration
	var most int
	var watch bool
	c := &cobra.Command{Use: "top", Short: "Show the daemons that use most", Long: `Show the daemons of the node that use most, the heaviest first: processor time, bytes
of history, and events a second by where they come from: from outside (DIRECT), of
their own timers, of other daemons, of channels. WAITING events have not begun.`,
		Example: "  wasmhost top\n  wasmhost top -w --interval 5s -n 5", Args: cli.Exact(0), RunE: func(c *cobra.Command, _ []string) error {
			for {
				busiest, err := a.Client().Node().Top(c.Context(), interval, most)
				if err != nil {
					return err
				}
				err = cli.PrintList(a, busiest.Daemons, "NAME\tKIND\tSTATE\tCPU\tBYTES/S\tDIRECT/S\tTIMERS/S\tDAEMONS/S\tCHANNELS/S\tWAITING", func(t api.Top) string {
					return fmt.Sprintf("%s\t%s\t%s\t%.1f%%\t%s\t%.0f\t%.0f\t%.0f\t%.0f\t%d", t.Name, t.Kind, t.State, 100*t.CPU, cli.Size(int64(t.Bytes)), t.Direct, t.Timers, t.Daemons, t.Channels, t.Waiting)
				}, func(t api.Top) string { return t.Name })
				if err != nil || !watch {
					return err
				}
			}
		}}
	c.Flags().DurationVar(&interval, "interval", api.TopInterval, "how long to look")
	c.Flags().IntVarP(&most, "number", "n", api.TopDaemons, "how many daemons at most")
	c.Flags().BoolVarP(&watch, "watch", "w", false, "again and again")
	return c
}

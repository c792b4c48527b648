package daemons

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

// Place is the command place.
func Place(a *cli.App) *cobra.Command {
	var need cli.Where
	var dryRun bool
	c := &cobra.Command{Use: "place KIND", Short: "Say where a daemon would be made, and why", Long: `Say on which node "spawn KIND" with the same flags would make a daemon, and why: the
nodes in the order in which they come, with what decides, and those that will not do
with what they lack. Nothing is made.

--where, --min-free and --max-alike must be met. Of the nodes that meet them those come
first that have the most of the --prefer tags; then those where --spread finds the
fewest daemons of the kind; then, with --pack, those with the most daemons; and then
those with the most free capacity: free memory, a low load, few daemons.`, Example: `  wasmhost place counter --spread node
  wasmhost place counter --where zone=b --prefer disk=ssd --dry-run -o json`, Args: cli.Exact(1), RunE: func(c *cobra.Command, args []string) error {
		p, err := need.Place()
		if err != nil {
			return err
		}
		if !dryRun {
			return cli.Usagef("place makes nothing: to make a daemon there, use spawn with the same flags")
		}
		placed, err := a.Client().Kinds().Place(c.Context(), api.PlaceKind{Kind: args[0], Place: p})
		if err != nil {
			return err
		}
		if a.Format != "table" {
			return a.Print(placed, nil, func() string { return placed.NodeID })
		}
		return cli.PrintList(a, placed.Verdicts, "NODE\t+NODE ID\tSCORE\tWHY", func(v api.Verdict) string {
			score, said := fmt.Sprintf("%.2f", v.Score), v.Reasons
			if !v.Fits {
				score, said = "no", v.Misses
			}
			return fmt.Sprintf("%s\t%s\t%s\t%s", cli.OrID(v.Name, v.NodeID), v.NodeID, score, strings.Join(said, ", "))
		}, nil)
	}}
	need.Declare(c)
	c.Flags().BoolVar(&dryRun, "dry-run", true, "make nothing, which is all that place does")
	return c
}

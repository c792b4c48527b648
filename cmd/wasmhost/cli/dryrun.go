package cli

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/api/client"
)

// A command that changes something has --dry-run: its client then asks the node what each
// request would do (client.DryRun). Nothing is changed, and what would be is printed.

// Changing are the commands that change something on a node, by their paths, and in a dry
// run ask what they would change.
var Changing = []string{
	"spawn", "stop", "start", "rm", "migrate", "upgrade", "fork", "recover", "subscribe", "unsubscribe", "grant", "revoke",
	"daemon spawn", "daemon stop", "daemon start", "daemon rm", "daemon migrate", "daemon subscribe", "daemon unsubscribe",
	"quarantine retry", "quarantine skip", "limits set",
	"kind push", "kind rm", "channel create", "channel rm",
	"group create", "group scale", "group heal", "group rm",
	"node drain", "node undrain", "node trust grant", "node trust rm", "cluster remove",
}

// declareDryRuns gives the commands that change something the flag --dry-run.
func (a *App) declareDryRuns(c *cobra.Command) {
	for _, sub := range c.Commands() {
		a.declareDryRuns(sub)
	}
	if !slices.Contains(Changing, strings.TrimPrefix(c.CommandPath(), "wasmhost ")) {
		return
	}
	if c.Flags().Lookup("dry-run") == nil {
		c.Flags().BoolVar(&a.DryRun, "dry-run", false, "check names, rights and what is needed with the node, say what would be done, and change nothing")
	}
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		a.DryRun = c.Flag("dry-run").Value.String() == "true"
		return a.orPlan(c, run(c, args))
	}
}

// orPlan prints the plan that err is, and returns nil then; else err.
func (a *App) orPlan(c *cobra.Command, err error) error {
	var planned *client.PlannedError
	if !errors.As(err, &planned) {
		return err
	}
	p := planned.Plan
	return a.Print(p, func(w io.Writer) {
		fmt.Fprintf(w, "would %s", strings.TrimPrefix(c.CommandPath(), "wasmhost "))
		if p.Name != "" {
			fmt.Fprintf(w, " %s", p.Name)
		}
		fmt.Fprintf(w, " on node %s", a.NodeName(p.NodeID))
		if len(p.Notes) > 0 {
			fmt.Fprintf(w, ": %s", a.WithNames(strings.Join(p.Notes, "; "), 0))
		}
		fmt.Fprintln(w)
	}, func() string { return p.Name })
}

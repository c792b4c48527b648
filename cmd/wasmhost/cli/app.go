// Package cli is what every verb of the command line uses: the settings and the node that a
// command is for, its input and output in the format that was asked for, tables and lists,
// questions, interrupts, and errors with their exit codes. Verbs are packages beside it that
// take an App; none of it is kept between runs.
package cli

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/spf13/cobra"

	"wasmhost.example/api/client"
	"wasmhost.example/cmd/wasmhost/render"
)

// App is one run of the command line.
type App struct {
	ctx   context.Context // of the run; nil: a test's
	In    io.Reader       // ends with ctx
	Asks  bool            // in is a terminal
	Out   io.Writer
	Err   io.Writer
	Grace Graces
	asked atomic.Bool // a node, for something
	Spoke atomic.Bool // something was printed

	logsJSON bool // standard error has lines of JSON alone
	Target   Target
	DryRun   bool           // nothing is to be changed: the client asks what would be
	remote   *client.Client // by --url; nil: the socket
	Format   string
	Wide     bool           // of tables: ids and all columns
	rendered *render.Writer // out, where -o is a format that is made of JSON; nil: it is none

	collected []any             // answers that become one list of JSON; nil: each is printed
	Nodes     map[string]string // names by id, once they were asked for
	daemons   map[string]string // names by id or origin, of those that were asked for

	Settings []Value // what configures this run
	Version  string  // of this program
}

// Prepare gives root, before it has commands, the flags of all of them and its errors.
func (a *App) Prepare(root *cobra.Command) {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.PersistentPreRunE = func(c *cobra.Command, _ []string) error { return a.begin(c) }
	for _, flag := range []string{"socket", "context", "url", "token-file", "ca-file"} {
		AddSetting(root.PersistentFlags(), flag, "")
	}
	AddSetting(root.PersistentFlags(), "output", "o")
	root.SetUsageTemplate(root.UsageTemplate() + `{{if .HasParent}}
Exit codes: wasmhost --help
{{end}}`)
	root.SetFlagErrorFunc(noFlag)
}

// begin reads the settings of c, which is about to run, and finds out which node it is for.
func (a *App) begin(c *cobra.Command) (err error) {
	if a.Settings, err = configure(c); err != nil {
		return err
	}
	if err := refuseEmpty(c); err != nil {
		return err
	}
	form := c.Flags().Lookup("log-format")
	a.logsJSON = form != nil && form.Value.String() == "json"
	if err := a.connect(c); err != nil {
		return err
	}
	return a.setFormat(c, c.Flag("output").Value.String())
}

// Finish gives root, which has all its commands, what each of them has: --dry-run, --timeout, errors
// of misspelt commands and of flags that stand twice, and the names that shells complete.
func (a *App) Finish(root *cobra.Command) {
	a.declareDryRuns(root)
	a.boundWaits(root)
	refuseOthers(root)
	refuseRepeated(root)
	a.completeNames(root) // which gives each command the flags of all
}

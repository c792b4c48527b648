// Command wasmhost is a host for WebAssembly daemons: the server, and the
// command line that operates it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/cmd/wasmhost/render"
)

// version is set by the linker in a release; else the build information says.
var version = ""

func main() { os.Exit(run()) }

// run is main, for tests.
func run() int {
	if len(os.Args) > 1 && os.Args[1] == compileCommand {
		return compileChild(os.Args[2:], os.Stdin, os.Stdout)
	}
	ctx, stop := signalled(context.Background())
	defer stop()
	return execute(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// execute runs the command line until it has ended, or until ctx has ended and the command
// outlasts its grace. It returns the exit code.
func execute(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	f, ok := in.(*os.File)
	a := &app{ctx: ctx, asks: ok && terminal(f), format: formatOf(args)}
	a.out, a.err = &printable{to: out, spoke: &a.spoke}, &printable{to: errOut, spoke: &a.spoke}
	defer a.endOutput()
	a.in = a.grace.reader(ctx, in, "standard input")
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	if code, ended := a.grace.await(ctx, func() int { return a.report(ctx, root.ExecuteContext(ctx)) }); ended {
		return code
	}
	said := make(chan int, 1)
	go func() {
		said <- (&app{err: a.err, format: formatOf(args)}).report(ctx, fmt.Errorf("%w: %w", errInterrupted, ctx.Err()))
	}()
	select {
	case code := <-said:
		return code
	case <-time.After(interruptGrace): // nobody reads standard error
		return api.ExitInterrupted
	}
}

// formatOf is the format that errors of the command line itself are told in.
func formatOf(args []string) string {
	for i, a := range args {
		switch {
		case a == "-o" && i+1 < len(args), a == "--output" && i+1 < len(args):
			return args[i+1]
		case strings.HasPrefix(a, "-ojson"), strings.HasPrefix(a, "-o=json"), strings.HasPrefix(a, "--output=json"):
			return "json"
		}
	}
	return os.Getenv("WASMHOST_OUTPUT")
}

// app is one run of the command line.
type app struct {
	ctx   context.Context // of the run; nil: a test's
	in    io.Reader       // ends with ctx
	asks  bool            // in is a terminal
	out   io.Writer
	err   io.Writer
	grace graces
	asked atomic.Bool // a node, for something
	spoke atomic.Bool // something was printed

	logsJSON bool // standard error has lines of JSON alone
	target   target
	remote   *client.Client // by --url; nil: the socket
	format   string
	wide     bool           // of tables: ids and all columns
	rendered *render.Writer // out, where -o is a format that is made of JSON; nil: it is none

	collected []any             // answers that become one list of JSON; nil: each is printed
	nodes     map[string]string // names by id, once they were asked for
	daemons   map[string]string // names by id or origin, of those that were asked for

	settings []value // what configures this run
}

const exitHelp = `Exit codes:
  0 ok                       6 cannot reach the node
  1 failure                  7 timeout
  2 usage                    8 confirmation refused
  3 not found                9 guest failed or over a limit
  4 conflict, stale epoch   10 verification failed
  5 denied                  11 migration failed, the source still serves
                            12 drain or recovery incomplete
                           130 interrupted`

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "wasmhost",
		Short: "A host for WebAssembly daemons",
		Long: `wasmhost hosts daemons: stateful event processors compiled to WebAssembly, each
under an ed25519 identity, each with a signed chain of outputs. Upload a module
as a kind, spawn daemons of it, send them events, and move them live to another
node.

` + exitHelp,
		SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(c *cobra.Command, _ []string) (err error) {
			if a.settings, err = configure(c); err != nil {
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
		},
	}
	addSetting(root.PersistentFlags(), "socket", "")
	for _, flag := range []string{"context", "url", "token-file", "ca-file"} {
		addSetting(root.PersistentFlags(), flag, "")
	}
	addSetting(root.PersistentFlags(), "output", "o")
	root.SetUsageTemplate(root.UsageTemplate() + `{{if .HasParent}}
Exit codes: wasmhost --help
{{end}}`)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return noFlag(c, err) })
	daemon := &cobra.Command{Use: "daemon", Aliases: []string{"daemons"}, Short: "Long forms: daemon spawn, ls, inspect, send, tail, logs, top, stop, start, rm, migrate, subscribe, unsubscribe"}
	for _, c := range []func() *cobra.Command{a.spawn, a.ps, a.inspect, a.send, a.tail, a.logs, a.top, a.stop, a.start, a.rm, a.migrate, a.subscribe, a.unsubscribe} {
		root.AddCommand(c())
		long := c()
		if long.Name() == "ps" {
			long.Use = "ls"
		}
		daemon.AddCommand(long)
	}
	root.AddCommand(daemon, a.contexts(), a.events(), a.serve(), a.place(), a.dashboard(), a.demo(), a.new(), a.dev(), a.run(), a.check(), a.kind(), a.limits(), a.upgrade(), a.fork(), a.quarantine(), a.recover(), a.migrations(), a.snapshot(), a.backup(), a.node(), a.cluster(), a.group(), a.channel(), a.token(), a.chain(), a.receipt(), a.api(), a.identity(), a.config(), a.doctor(), a.bench(), a.versionCommand())
	root.AddCommand(a.man(root))
	a.boundWaits(root)
	root.Version = buildVersion()
	root.SetVersionTemplate("wasmhost {{.Version}}\n")
	refuseOthers(root)
	refuseRepeated(root)
	a.completeNames(root) // which gives each command the flags of all
	return root
}

// refuseOthers makes a command that only has subcommands fail on an unknown one.
func refuseOthers(c *cobra.Command) {
	for _, sub := range c.Commands() {
		refuseOthers(sub)
	}
	if c.HasSubCommands() && c.RunE == nil && c.Run == nil {
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return noCommand(c, args[0])
			}
			return c.Help()
		}
		c.Args = cobra.ArbitraryArgs
	}
}

// exact is cobra.ExactArgs with an error of usage.
func exact(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usagef("%s takes %s, got %d: %s", c.CommandPath(), arguments(n), len(args), c.UseLine())
		}
		return nil
	}
}

// between is cobra.RangeArgs with an error of usage.
func between(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || len(args) > most {
			return usagef("%s takes %d to %s, got %d: %s", c.CommandPath(), least, arguments(most), len(args), c.UseLine())
		}
		return nil
	}
}

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (u *usageError) Error() string { return u.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// exitError is an error whose exit code is decided.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// report prints the error and returns the exit code.
func (a *app) report(ctx context.Context, err error) int {
	if err == nil {
		return api.ExitOK
	}
	var usage *usageError
	var exit *exitError
	var several *severalError
	p := problem.Of(err)
	code := p.Exit()
	contextCode, contextErr := contextProblem(err, p)
	switch {
	case ctx.Err() != nil && (a.grace.cut.Load() || errors.Is(err, context.Canceled) && !errors.As(err, &exit)):
		code, p.Code, p.Hint = api.ExitInterrupted, "interrupted", ""
	case errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag"):
		code, p.Code, p.Hint = api.ExitUsage, "usage", "see --help"
	case contextErr:
		code = contextCode
	case errors.As(err, &several):
		code, p.Code, p.Hint = several.code, "some-failed", ""
	case errors.As(err, &exit):
		code = exit.code
		if code == api.ExitNotConfirmed {
			p.Code, p.Hint = "not-confirmed", "say yes, or give --yes"
		}
		if code == api.ExitVerification && p.Code == "internal" {
			p.Code, p.Hint = "verification-failed", ""
		}
	case p.Code == "internal" && !errors.As(err, new(*api.Problem)):
		p.Code, p.Hint = "failure", "" // this program's, not a node's
	}
	if a.rendered == nil && (a.format == "json" || a.format == "jsonl") || a.logsJSON {
		line := map[string]any{"code": p.Code, "message": err.Error(), "hint": p.Hint, "exit": code}
		if p.Fault != nil {
			line["fault"] = p.Fault
		}
		if p.Reason != "" {
			line["reason"] = p.Reason
		}
		if p.Refused != "" {
			line["refused"] = p.Refused
		}
		if p.Nodes != nil {
			line["nodes"] = p.Nodes
		}
		if a.contextText() != "" && a.asked.Load() {
			line["context"] = a.target.Name
		}
		_ = json.NewEncoder(a.err).Encode(map[string]any{"error": line}) // there is nowhere left to say so
		return code
	}
	writeColoured(a.err, "error:", red)
	fmt.Fprintf(a.err, " %s (%s)\n", strings.ReplaceAll(a.withNames(err.Error(), code), "\n", "\n  "), oneLine(p.Code)) // each further line is seen to belong to it
	if p.Fault != nil && p.Fault.Stack != "" {
		fmt.Fprintf(a.err, "guest stack:\n  %s\n", strings.NewReplacer("\n", "\n  ", `\n`, "\n  ").Replace(p.Fault.Stack))
	}
	if p.Hint != "" {
		writeColoured(a.err, "hint:", yellow)
		fmt.Fprintf(a.err, " %s\n", oneLine(p.Hint))
	}
	if of := a.contextText(); of != "" && a.asked.Load() && code != api.ExitUsage {
		fmt.Fprintf(a.err, "context: %s\n", oneLine(of))
	}
	return code
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Example: "  wasmhost version -o json", Args: exact(0), RunE: func(*cobra.Command, []string) error {
		return a.print(map[string]any{"version": buildVersion()}, func(w io.Writer) { fmt.Fprintln(w, "wasmhost", buildVersion()) }, buildVersion)
	}}
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if i, ok := debug.ReadBuildInfo(); ok && i.Main.Version != "" {
		return strings.Trim(i.Main.Version, "()")
	}
	return "devel"
}

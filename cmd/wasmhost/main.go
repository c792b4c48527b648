// Command wasmhost is a host for WebAssembly daemons: the server, and the
// command line that operates it.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
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
	return execute(ctx, root, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// verb makes one command.
type verb = func(*App) *cobra.Command

// tree is every command, in the groups and the order in which help prints them.
var tree = []struct {
	title string
	verbs []verb
}{
	{"Daemons:", []verb{spawnCommand, psCommand, inspectCommand, sendCommand, tailCommand, logsCommand, topCommand, eventsCommand, stopCommand, startCommand, rmCommand, daemonCommand}},
	{"Moves, copies and versions:", []verb{migrateCommand, migrationsCommand, placeCommand, snapshotCommand, forkCommand, upgradeCommand, quarantineCommand, recoverCommand}},
	{"Kinds:", []verb{kindCommand, limitsCommand}},
	{"Channels and groups:", []verb{channelCommand, subscribeCommand, unsubscribeCommand, groupCommand}},
	{"Nodes:", []verb{serveCommand, nodeCommand, clusterCommand, backupCommand, dashboardCommand}},
	{"Proof:", []verb{chainCommand, receiptCommand}},
	{"Access:", []verb{contextsCommand, tokenCommand, apiCommand, identityCommand}},
	{"Writing daemons:", []verb{newCommand, devCommand, runCommand, checkCommand}},
	{"This program and machine:", []verb{demoCommand, doctorCommand, benchCommand, configCommand, versionCommand}},
}

// longForms are the commands that also stand under daemon.
var longForms = []verb{spawnCommand, psCommand, inspectCommand, sendCommand, tailCommand, logsCommand, topCommand, stopCommand, startCommand, rmCommand, migrateCommand, subscribeCommand, unsubscribeCommand}

const exitHelp = `Exit codes:
  0 ok                       6 cannot reach the node
  1 failure                  7 timeout
  2 usage                    8 confirmation refused
  3 not found                9 guest failed or over a limit
  4 conflict, stale epoch   10 verification failed
  5 denied                  11 migration failed, the source still serves
                            12 drain or recovery incomplete
                           130 interrupted`

// root is the command line: a's commands, and the flags that all of them have.
func root(a *App) *cobra.Command {
	root := &cobra.Command{
		Use:   "wasmhost",
		Short: "A host for WebAssembly daemons",
		Long: `wasmhost hosts daemons: stateful event processors compiled to WebAssembly, each
under an ed25519 identity, each with a signed chain of outputs. Upload a module
as a kind, spawn daemons of it, send them events, and move them live to another
node.

` + exitHelp,
	}
	a.version = buildVersion()
	a.prepare(root)
	for _, group := range tree {
		root.AddGroup(&cobra.Group{ID: group.title, Title: group.title})
		for _, verb := range group.verbs {
			c := verb(a)
			c.GroupID = group.title
			root.AddCommand(c)
		}
	}
	last := tree[len(tree)-1].title
	root.SetHelpCommandGroupID(last)
	root.SetCompletionCommandGroupID(last)
	root.AddCommand(manCommand(a, root)) // which help does not show

	root.Version = a.version
	root.SetVersionTemplate("wasmhost {{.Version}}\n")
	a.finish(root)
	return root
}

// daemonCommand has the long forms of commands.
func daemonCommand(a *App) *cobra.Command {
	c := &cobra.Command{Use: "daemon", Aliases: []string{"daemons"}}
	var names []string
	for _, verb := range longForms {
		long := verb(a)
		if long.Name() == "ps" {
			long.Use = "ls"
		}
		names = append(names, long.Name())
		c.AddCommand(long)
	}
	c.Short = "Long forms: daemon " + strings.Join(names, ", ")
	return c
}

func versionCommand(a *App) *cobra.Command {
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

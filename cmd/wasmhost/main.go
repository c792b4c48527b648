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

	"wasmhost.example/cmd/wasmhost/access"
	"wasmhost.example/cmd/wasmhost/apply"
	"wasmhost.example/cmd/wasmhost/author"
	"wasmhost.example/cmd/wasmhost/backups"
	"wasmhost.example/cmd/wasmhost/channels"
	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/clusters"
	"wasmhost.example/cmd/wasmhost/daemons"
	"wasmhost.example/cmd/wasmhost/demo"
	"wasmhost.example/cmd/wasmhost/doctor"
	"wasmhost.example/cmd/wasmhost/groups"
	"wasmhost.example/cmd/wasmhost/kinds"
	"wasmhost.example/cmd/wasmhost/serve"
)

// version is set by the linker in a release; else the build information says.
var version = ""

func main() { os.Exit(run()) }

// run is main, for tests.
func run() int {
	if len(os.Args) > 1 && os.Args[1] == serve.CompileCommand {
		return serve.CompileChild(os.Args[2:], os.Stdin, os.Stdout)
	}
	ctx, stop := cli.Signalled(context.Background())
	defer stop()
	return cli.Execute(ctx, root, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// verb makes one command.
type verb = func(*cli.App) *cobra.Command

// tree is every command, in the groups and the order in which help prints them.
var tree = []struct {
	title string
	verbs []verb
}{
	{"Daemons:", []verb{daemons.Spawn, daemons.PS, daemons.Inspect, daemons.Send, daemons.Query, daemons.Tail, daemons.Logs, daemons.Top, daemons.Events, daemons.Stop, daemons.Start, daemons.Remove, daemonCommand}},
	{"Moves, copies and versions:", []verb{daemons.Migrate, daemons.Migrations, daemons.Place, daemons.Snapshot, daemons.Fork, daemons.Upgrade, daemons.Quarantine, daemons.Recover}},
	{"All of it, from files:", []verb{apply.Apply, apply.Get}},
	{"Kinds:", []verb{kinds.Kind, kinds.Limits}},
	{"Channels and groups:", []verb{channels.Channel, daemons.Subscribe, daemons.Unsubscribe, daemons.Grant, daemons.Revoke, groups.Group}},
	{"Nodes:", []verb{serve.Serve, clusters.Node, clusters.Cluster, backups.Backup, serve.Dashboard}},
	{"Proof:", []verb{daemons.Chain, daemons.Receipt}},
	{"Access:", []verb{access.Context, access.Token, access.API, access.Identity}},
	{"Writing daemons:", []verb{author.New, author.Dev, author.Run, author.Check}},
	{"This program and machine:", []verb{demo.Demo, doctor.Doctor, doctor.Bench, cli.Config, versionCommand}},
}

// longForms are the commands that also stand under daemon.
var longForms = []verb{daemons.Spawn, daemons.PS, daemons.Inspect, daemons.Send, daemons.Query, daemons.Tail, daemons.Logs, daemons.Top, daemons.Stop, daemons.Start, daemons.Remove, daemons.Migrate, daemons.Subscribe, daemons.Unsubscribe}

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
func root(a *cli.App) *cobra.Command {
	root := &cobra.Command{
		Use:   "wasmhost",
		Short: "A host for WebAssembly daemons",
		Long: `wasmhost hosts daemons: stateful event processors compiled to WebAssembly, each
under an ed25519 identity, each with a signed chain of outputs. Upload a module
as a kind, spawn daemons of it, send them events, and move them live to another
node.

` + exitHelp,
	}
	a.Version = buildVersion()
	a.Prepare(root)
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

	root.Version = a.Version
	root.SetVersionTemplate("wasmhost {{.Version}}\n")
	a.Finish(root)
	return root
}

// daemonCommand has the long forms of commands.
func daemonCommand(a *cli.App) *cobra.Command {
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

func versionCommand(a *cli.App) *cobra.Command {
	return &cobra.Command{Use: "version", Short: "Print the version", Example: "  wasmhost version -o json", Args: cli.Exact(0), RunE: func(*cobra.Command, []string) error {
		return a.Print(map[string]any{"version": buildVersion()}, func(w io.Writer) { fmt.Fprintln(w, "wasmhost", buildVersion()) }, buildVersion)
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

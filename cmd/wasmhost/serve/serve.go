// Package serve has the verbs that run a node, or show one: serve and dashboard. It reads
// their settings; package node is the node.
package serve

import (
	"errors"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/clusters"
	"wasmhost.example/cmd/wasmhost/kinds"
	"wasmhost.example/host/daemon"
	"wasmhost.example/node"
	"wasmhost.example/wire/trust"
)

// ServeOptions are the flags of serve.
type ServeOptions struct {
	Node node.Config // its Logger and Tracer are set when it runs

	Levels, Form     string // of the log
	otlp, otlpSample string
	drain            drainOptions
	settings         func() ([]cli.Value, error) // what they come to now; nil: they are not read again
	Ready            func(*node.Node) error      // called when the node is ready; nil: it is announced
}

// Serve is the command serve.
func Serve(a *cli.App) *cobra.Command {
	var join, joinRights string
	var limits []string
	var tags, drainTo cli.List
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a node",
		Long: `Run a node until SIGTERM or SIGINT: it then takes no more events, stores every
daemon's state and ends; a second signal ends it at once. With --drain it first
moves its daemons to other nodes, within --drain-deadline: exit code 12 where some
are left, which the next start brings back. When the node is ready
it prints one line of JSON: {"node_id","addr","socket","pid"}, and the addresses
"api", "metrics" and "pprof" where it was told to listen there.

With --cluster the node is in a cluster: the first begins it, the others come with
--join. A daemon that is spawned with --standbys then goes on elsewhere when its node
is lost. See docs/cluster.md.

On SIGHUP it reads the API's certificate and opens the audit log again, and takes
from the files of settings what can change while it runs: log_level, tags, drain,
drain_to and drain_deadline. Other settings that changed are named in the log, and
count from the next start on. What is not good changes nothing.`,
		Example: `  wasmhost serve --data ./a --listen 127.0.0.1:7433 --name a
  wasmhost serve --limit fuel=100000000 --limit wall=2s
  wasmhost serve --ephemeral --listen 127.0.0.1:0 --socket b.sock --join "$(wasmhost node token)"
  wasmhost serve --data ./a --tag zone=eu --drain-to b,c --drain-deadline 5m
  wasmhost serve --data ./a --cluster
  wasmhost serve --data ./b --cluster --join "$(wasmhost --socket a.sock node token)"`,
		Args: cli.Exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := readServeOptions(a, c, limits, tags)
			if err != nil {
				return err
			}

			o.settings = func() ([]cli.Value, error) { return cli.LookUp(c) }
			if err := o.drain.read(c, drainTo); err != nil {
				return err
			}
			if o.Node.Join, err = a.Secret(join); err != nil {
				return err
			}
			if o.Node.JoinRights, err = trust.ParseRights(joinRights); err != nil || o.Node.JoinRights&^trust.RightsAll != 0 {
				return cli.Usagef("--join-rights %q: none, or some of all,read,operate,migrate,channels,kinds", joinRights)
			}
			if err := checked(&o.Node); err != nil {
				return err
			}

			cli.PrivateFiles()
			return runAgain(a, c.Context(), o)
		},
	}

	for _, flag := range []string{"data", "listen", "name", "log-level", "log-format", "metrics", "pprof", "api", "api-cert", "api-key", "audit-log", "otlp", "otlp-sample", "ephemeral", "no-module-fetch", "kind-keys", "passivate-after", "active-memory", "compile-memory", "compile-time", "key-file", "passphrase-file", "drain", "drain-deadline", "rebalance"} {
		cli.AddSetting(c.Flags(), flag, "")
	}

	for _, flag := range clusterFlags {
		cli.AddSetting(c.Flags(), flag, "")
	}

	c.Flags().StringArrayVar(&limits, "limit", nil, "NAME=VALUE: a limit of every daemon that has none of its own: "+cli.LimitNames+", module-bytes, tail-bytes, sender-memory; "+cli.LimitUnits)
	c.Flags().Var(&tags, "tag", cli.UsageOf("tag"))
	c.Flags().Var(&drainTo, "drain-to", cli.UsageOf("drain-to"))
	c.Flags().StringVar(&join, "join", os.Getenv("WASMHOST_JOIN"), "join the node that printed this token; - reads it from standard input (WASMHOST_JOIN)")
	c.Flags().StringVar(&joinRights, "join-rights", "all", "what the node that is joined may do here: none, or some of all,read,operate,migrate,channels,kinds")
	return c
}

// readServeOptions reads the flags. Of --data and --ephemeral one rules out the
// other; where one is given, what a file or the environment says of the other
// does not count.
func readServeOptions(a *cli.App, c *cobra.Command, limits []string, tags cli.List) (o ServeOptions, err error) {
	f := c.Flags()
	text := func(name string) string { return f.Lookup(name).Value.String() }
	o = ServeOptions{Levels: text("log-level"), Form: text("log-format"), otlp: text("otlp"), otlpSample: text("otlp-sample")}
	o.Node = node.Config{Dir: text("data"), Name: text("name"), Listen: text("listen"), KeyFile: text("key-file"),
		RefuseModules: text("no-module-fetch") == "true", Socket: a.Target.Socket,
		API: text("api"), APICert: text("api-cert"), APIKey: text("api-key"), Metrics: text("metrics"), Pprof: text("pprof"), AuditLog: text("audit-log")}

	ephemeral := text("ephemeral") == "true"
	switch {
	case ephemeral && f.Changed("data") && f.Changed("ephemeral"):
		return o, cli.Usagef("give either --data or --ephemeral")
	case f.Changed("data"):
		ephemeral = false
	case o.Node.Dir == "":
		return o, cli.Usagef("the data directory has no name: give --data DIR, or --ephemeral")
	}

	if ephemeral {
		o.Node.Dir, o.Node.KeyFile = "", ""
	} else if o.Node.Passphrase, err = cli.Passphrase(text("passphrase-file")); err != nil {
		return o, err
	}

	if (o.Node.APICert == "") != (o.Node.APIKey == "") {
		return o, cli.Usagef("give both --api-cert and --api-key, or neither")
	}
	if o.Node.Tags, err = cli.ParseTags(tags); err != nil {
		return o, err
	}
	if o.Node.Limits, err = daemon.ParseNodeLimits(append(a.FileLimits(), limits...)); err != nil {
		return o, err
	}
	if o.Node.ModuleKeys, err = kinds.ModuleKeys(text("kind-keys")); err != nil {
		return o, err
	}
	if err := (idleOptions{after: text("passivate-after"), memory: text("active-memory")}).apply(&o.Node); err != nil {
		return o, err
	}
	if err := (compileOptions{memory: text("compile-memory"), time: text("compile-time")}).Apply(&o.Node); err != nil {
		return o, err
	}
	if o.Node.Rebalance, err = clusters.ReadRebalance(text("rebalance")); err != nil {
		return o, err
	}
	if o.Node.Cluster, err = readClusterOptions(c); err != nil {
		return o, err
	}
	if o.Node.Cluster != nil && len(o.Node.Cluster.Etcd) == 0 && o.Node.Dir == "" {
		return o, cli.Usagef("a node with a vote in its cluster keeps that on disk: give --data DIR, or an --etcd")
	}

	return o, nil
}

// flagOfField are the flags that say the fields of a node's configuration, where their
// names are others.
var flagOfField = map[string]string{
	"APICert": "api-cert", "JoinRights": "join-rights", "PassivateAfter": "passivate-after", "ActiveBytes": "active-memory",
	"Cluster.Name": "cluster-name", "Cluster.Lease": "lease", "Cluster.Voters": "cluster-voters",
}

// checked says by the flag what is wrong with a configuration.
func checked(c *node.Config) error {
	err := c.Validate()
	var bad *node.ConfigError
	if !errors.As(err, &bad) {
		return err
	}

	flag, ok := flagOfField[bad.Field]
	if !ok {
		flag = strings.ToLower(bad.Field)
	}
	return cli.Usagef("--%s: %s", flag, bad.Text)
}

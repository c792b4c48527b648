package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"wasmhost.example/api/server"
	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/group"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
)

// serveOptions are the flags of serve.
type serveOptions struct {
	data, listen, join, name string
	joinRights               wire.Rights // that the node gets which is joined
	listenerOptions
	ephemeral, noFetch bool
	kindKeys           string
	keyFile, passFile  string
	idle               idleOptions
	compile            compileOptions
	limits             []string // name=value
	tags               list
	drain              drainOptions
	rebalance          time.Duration // 0: never
	cluster            clusterOptions
	settings           func() ([]value, error) // what they come to now; nil: they are not read again
	ready              func(*wire.Mesh) error  // called when the node is ready; nil: it is announced
}

func (a *app) serve() *cobra.Command {
	var join, joinRights string
	var limits []string
	var tags, drainTo list
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
		Args: exact(0),
		RunE: func(c *cobra.Command, _ []string) error {
			o, err := a.serveOptions(c)
			if err != nil {
				return err
			}
			o.limits = append(a.fileLimits(), limits...)
			o.tags = tags
			if o.cluster, err = readClusterOptions(c, o.ephemeral); err != nil {
				return err
			}
			o.settings = func() ([]value, error) { return lookUp(c) }
			if err := o.drain.read(c, drainTo); err != nil {
				return err
			}
			if o.rebalance, err = readRebalance(c.Flags().Lookup("rebalance").Value.String()); err != nil {
				return err
			}
			if o.join, err = a.secret(join); err != nil {
				return err
			}
			if o.joinRights, err = wire.ParseRights(joinRights); err != nil || o.joinRights&^wire.RightsAll != 0 {
				return usagef("--join-rights %q: none, or some of all,read,operate,migrate,channels,kinds", joinRights)
			}
			privateFiles()
			if !o.ephemeral {
				if err := makePrivate(o.data); err != nil {
					return err
				}
			}
			return a.runAgain(c.Context(), o)
		},
	}
	for _, flag := range []string{"data", "listen", "name", "log-level", "log-format", "metrics", "pprof", "api", "api-cert", "api-key", "audit-log", "otlp", "otlp-sample", "ephemeral", "no-module-fetch", "kind-keys", "passivate-after", "active-memory", "compile-memory", "compile-time", "key-file", "passphrase-file", "drain", "drain-deadline", "rebalance"} {
		addSetting(c.Flags(), flag, "")
	}
	for _, flag := range clusterFlags {
		addSetting(c.Flags(), flag, "")
	}
	c.Flags().StringArrayVar(&limits, "limit", nil, "NAME=VALUE: a limit of every daemon that has none of its own: "+limitNames+", module-bytes, tail-bytes, sender-memory; "+limitUnits)
	c.Flags().Var(&tags, "tag", usageOf("tag"))
	c.Flags().Var(&drainTo, "drain-to", usageOf("drain-to"))
	c.Flags().StringVar(&join, "join", os.Getenv("WASMHOST_JOIN"), "join the node that printed this token; - reads it from standard input (WASMHOST_JOIN)")
	c.Flags().StringVar(&joinRights, "join-rights", "all", "what the node that is joined may do here: none, or some of all,read,operate,migrate,channels,kinds")
	return c
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return ""
	}
	return name
}

// defaultName is the machine's name if it can name a node; else empty: the node then
// has no name, only an id.
func defaultName() string {
	name := hostname()
	if host.ValidNodeName(name) != nil {
		return ""
	}
	return name
}

// serveOptions reads the flags. Of --data and --ephemeral one rules out the
// other; where one is given, what a file or the environment says of the other
// does not count.
func (a *app) serveOptions(c *cobra.Command) (serveOptions, error) {
	f := c.Flags()
	text := func(name string) string { return f.Lookup(name).Value.String() }
	o := serveOptions{data: text("data"), listen: text("listen"), name: text("name"),
		listenerOptions: listenerOptions{metrics: text("metrics"), pprof: text("pprof"), api: text("api"), apiCert: text("api-cert"), apiKey: text("api-key"), auditLog: text("audit-log"), otlp: text("otlp"), otlpSample: text("otlp-sample"), levels: text("log-level"), form: text("log-format")},
		ephemeral:       text("ephemeral") == "true", noFetch: text("no-module-fetch") == "true", kindKeys: text("kind-keys"),
		keyFile: text("key-file"), passFile: text("passphrase-file"),
		idle: idleOptions{after: text("passivate-after"), memory: text("active-memory")}, compile: compileOptions{memory: text("compile-memory"), time: text("compile-time")}}
	switch {
	case o.ephemeral && f.Changed("data") && f.Changed("ephemeral"):
		return o, usagef("give either --data or --ephemeral")
	case f.Changed("data"):
		o.ephemeral = false
	case o.data == "":
		return o, usagef("the data directory has no name: give --data DIR, or --ephemeral")
	}
	if o.name != "" { // empty: the default of a machine whose name cannot name a node
		if err := host.ValidNodeName(o.name); err != nil {
			return o, usagef("--name: %v", err)
		}
	}
	return o, nil
}

// secret is text, or what standard input holds where text is -.
func (a *app) secret(text string) (string, error) {
	if text != "-" {
		return text, nil
	}
	b, err := io.ReadAll(io.LimitReader(a.in, 64<<10))
	return strings.TrimSpace(string(b)), err
}

// runAgain runs the node, and again where it ends for another part in its cluster.
func (a *app) runAgain(ctx context.Context, o serveOptions) error {
	for {
		err := a.runNode(ctx, o)
		var other *otherPart
		if !errors.As(err, &other) {
			return err
		}
		o.join = "" // the token was good once
		o.listen = other.addr
	}
}

// otherPart ends a node that is to run again at its address: its part in the cluster is
// another.
type otherPart struct{ addr string }

func (*otherPart) Error() string { return "the node restarts: its part in the cluster is another" }

// runNode composes a node and runs it.
func (a *app) runNode(ctx context.Context, o serveOptions) (err error) {
	a.grace.set(serveGrace)
	logs, err := newLogging(a.err, o.levels, o.form)
	if err != nil {
		return err
	}
	tags, err := parseTags(o.tags)
	if err != nil {
		return err
	}
	limits, err := daemon.ParseNodeLimits(o.limits) // before anything is opened or joined
	if err != nil {
		return err
	}
	logger := logs.of("node")
	slog.SetDefault(logger) // for libraries that log by themselves, by package log too
	s, err := store.Open(store.Options{Dir: o.data, Ephemeral: o.ephemeral, Logger: logs.of("store")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	key, err := nodeKey(o)
	if err != nil {
		return err
	}
	trust, err := wire.Trust(s)
	if err != nil {
		return err
	}
	budgets := budget.NewSet(budget.Sizes{Uploads: snapshot.UploadBytes(limits)})
	mesh, err := wire.Listen(ctx, wire.Config{Budgets: budgets, Identity: key, Name: o.name, Addr: o.listen, Trust: trust, Logger: logs.of("wire")})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, mesh.Close()) }()
	life, err := host.IncarnationOf(s)
	if err != nil {
		return err
	}
	twin := twinFinder(life, mesh, logger)
	if twin != nil && o.cluster.on() { // before its cluster hears of this node
		if t := twin(ctx); t != nil {
			return fmt.Errorf("%w, at %s: a restored node comes to its cluster when that has ended", host.ErrTwin, t.Addr)
		}
	}
	traces, err := newTracing(o.otlp, o.otlpSample, mesh.Self(), logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, traces.close()) }()
	var joined identity.NodeID
	if o.cluster.on() && o.join != "" {
		if joined, err = mesh.JoinWith(ctx, o.join, o.joinRights); err != nil {
			return err
		}
		o.join = ""
	}
	o.cluster.data, o.cluster.key = o.data, key
	o.cluster.older = func(life []byte) (bool, error) { return host.OlderThan(s, life) }
	engine, err := startEngine(ctx, o.cluster, mesh, joined, logs.of("cluster"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engine.close()) }()
	options := host.Options{Budgets: budgets, Tracer: traces.tracer(), Node: key, Store: s, Mesh: mesh, Logger: logs.of("host"), RefuseModules: o.noFetch}
	if options.ModuleKeys, err = moduleKeys(o.kindKeys); err != nil {
		return err
	}
	options.Limits = limits
	if err := o.idle.apply(&options); err != nil {
		return err
	}
	if err := o.compile.apply(&options); err != nil {
		return err
	}
	if o.ephemeral {
		var removeCache func() error
		if options.CacheDir, removeCache, err = openEphemeralCache(os.TempDir()); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, removeCache()) }()
	} else {
		options.CacheDir = filepath.Join(o.data, "cache")
		if err := keepPrivate(options.CacheDir); err != nil {
			return err
		}
	}
	var node *wire.Node // set before the runtime starts
	if engine != nil {
		if options.Cluster, err = engine.options(func(m daemon.Moved) { node.Moved(m) }); err != nil {
			return err
		}
	}
	rt, err := host.New(ctx, options)
	if err != nil {
		return err
	}
	rt.LookForTwin(twin)
	mesh.ServeStandings(rt.Standings)
	listener, err := server.ListenSocket(a.target.Socket)
	if err != nil {
		return errors.Join(err, rt.Shutdown(ctx))
	}
	node = wire.NewNode(mesh, rt)
	api := server.New(rt, mesh, node, buildVersion(), logs.of("control"))
	if s != nil {
		if err := api.KeepGroups(group.NewStored(s, key)); err != nil {
			return errors.Join(err, listener.Close(), rt.Shutdown(ctx))
		}
	}
	if !o.ephemeral {
		api.ServeBackups(s, key, life.Number)
	}
	api.SetTags(tags)
	api.SetTracer(traces.tracer())
	if engine != nil {
		api.SetEngine(engine)
	}
	metrics := server.NewMetrics(rt, mesh, s, buildVersion(), logs.of("control"))
	api.SetMetrics(metrics)
	conf := newReloader(o, api, logs)
	more, err := a.openListeners(ctx, o, s, api, metrics, logs)
	if err != nil {
		return errors.Join(err, listener.Close(), rt.Shutdown(ctx))
	}
	defer func() { err = errors.Join(err, more.close()) }()
	more.onHangUp(conf)
	server := &http.Server{Handler: api, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if err = rt.Start(ctx); err == nil && o.join != "" {
		_, err = mesh.JoinWith(ctx, o.join, o.joinRights)
	}
	if err == nil {
		err = engine.awaitLease(ctx, rt)
	}
	if err == nil {
		if o.ready == nil {
			o.ready = func(m *wire.Mesh) error { return a.announce(m, more) }
		}
		err = o.ready(mesh)
	}
	if err == nil {
		err = notify("READY=1")
	}
	healing, healed := context.WithCancel(ctx)
	var work sync.WaitGroup
	work.Go(func() { api.HealGroups(healing, groupsEvery) })
	if o.rebalance > 0 {
		work.Go(func() { api.KeepBalanced(healing, o.rebalance) })
	}
	defer work.Wait()
	defer healed()
	if err == nil {
		select {
		case <-ctx.Done():
			a.grace.ending.Store(true)
			err = conf.drainOptions().run(api, s.Failed(), logger)
			logger.Info("shutting down")
			if stopErr := notify("STOPPING=1"); stopErr != nil {
				logger.Warn("stopping", "error", stopErr)
			}
		case <-engine.ended():
			err = engine.endedBy()
		case <-engine.restarts():
			err = &otherPart{mesh.Addr().String()}
		case err = <-served:
		case err = <-more.failed:
		case <-s.Failed():
			err = fmt.Errorf("the node ends, for a restart to find what is on disk; nothing acknowledged is lost: %w", s.Err())
		}
	}
	return errors.Join(err, shutDown(rt, server))
}

// groupsEvery is how often the members of groups are looked at.
const groupsEvery = 5 * time.Second

// announce prints the line that scripts wait for.
func (a *app) announce(m *wire.Mesh, more *extra) error {
	socket, err := filepath.Abs(a.target.Socket)
	if err != nil {
		return err
	}
	return json.NewEncoder(a.out).Encode(struct {
		NodeID string `json:"node_id"`
		Addr   string `json:"addr"`
		Socket string `json:"socket"`
		PID    int    `json:"pid"`

		API     string `json:"api,omitempty"`
		Metrics string `json:"metrics,omitempty"`
		Pprof   string `json:"pprof,omitempty"`
	}{m.Self().String(), m.Addr().String(), socket, os.Getpid(), more.addrs["api"], more.addrs["metrics"], more.addrs["pprof"]})
}

// shutDown ends the node within a few seconds; a signal meanwhile ends it at
// once.
func shutDown(rt *host.Runtime, server *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	err := rt.Shutdown(ctx)
	soon, cancelSoon := context.WithTimeout(ctx, time.Second)
	defer cancelSoon()
	if closeErr := server.Shutdown(soon); closeErr != nil { // followers of logs and tails are cut
		closeErr = server.Close()
		if closeErr != nil && !errors.Is(closeErr, net.ErrClosed) {
			err = errors.Join(err, closeErr)
		}
	}
	return err
}

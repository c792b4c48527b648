package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/api/server"
	"wasmhost.example/api/server/metrics"
	"wasmhost.example/api/server/socket"
	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/group"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// groupsEvery is how often the members of groups are looked at.
const groupsEvery = 5 * time.Second

// logger returns the logger of a part of the node.
func (c *Config) logger(component string) *slog.Logger {
	return c.Logger.With("component", component)
}

// opening is a node that is being opened, with what its later parts need of the earlier.
type opening struct {
	*Node
	c       Config
	tracer  trace.Tracer // nil: nothing is traced
	life    host.Incarnation
	joined  identity.NodeID                  // whose token is used already; 0: none is
	twin    func(context.Context) *host.Twin // nil: there is none to look for
	options host.Options                     // of the runtime
	metrics *metrics.Metrics
}

// Open opens a node and returns it when it is ready: its daemons are there, and it
// answers its API and its peers. ctx bounds the opening alone. Where Open fails, nothing
// of the node is left running.
//
// Errors: *ConfigError for what cannot be; store.ErrLocked where another node has the
// directory, store.ErrFormat and what else package store returns; ErrLink;
// server.ErrSocketInUse; host.ErrTwin; ErrNoClusterEngine; those of joining (package
// wire) and of the files and addresses that Config names.
func Open(ctx context.Context, c Config) (*Node, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.Cluster != nil {
		if err := clusterBuilt(); err != nil {
			return nil, err
		}
	}

	c = c.withDefaults()
	o := &opening{Node: newNode(c.logger("node")), c: c}
	for _, step := range []func(context.Context) error{
		o.openStore,
		o.openMesh,
		o.openCluster,
		o.openRuntime,
		o.openAPI,
		o.start,
	} {
		if err := step(ctx); err != nil {
			return nil, errors.Join(err, o.Close())
		}
	}

	return o.Node, nil
}

// openStore opens what the node keeps, and its key.
func (o *opening) openStore(context.Context) (err error) {
	if o.c.Dir != "" {
		if err := makePrivate(o.c.Dir); err != nil {
			return err
		}
	}

	o.store, err = store.Open(store.Options{Dir: o.c.Dir, Ephemeral: o.c.Dir == "", Logger: o.c.logger("store")})
	if err != nil {
		return err
	}

	o.onClose(o.store.Close)
	if o.options.Node, err = openKey(&o.c); err != nil {
		return err
	}

	o.life, err = host.IncarnationOf(o.store)
	return err
}

// openMesh listens for other nodes.
func (o *opening) openMesh(ctx context.Context) error {
	trust, err := trust.FromStore(o.store)
	if err != nil {
		return err
	}

	o.options.Budgets = budget.NewSet(budget.Sizes{Uploads: snapshot.UploadBytes(o.c.Limits)})
	o.mesh, err = wire.Listen(ctx, wire.Config{Budgets: o.options.Budgets, Identity: o.options.Node, Name: o.c.Name, Addr: o.c.Listen, Trust: trust, Logger: o.c.logger("wire")})
	if err != nil {
		return err
	}

	o.onClose(o.mesh.Close)

	o.twin = twinFinder(o.life, o.mesh, o.logger)
	if o.c.Tracer != nil {
		if o.tracer, err = o.c.Tracer(o.mesh.Self()); err != nil {
			return fmt.Errorf("making the node's tracer: %w", err)
		}
	}

	return nil
}

// openCluster has the node come to its cluster, before its runtime has any daemon.
func (o *opening) openCluster(ctx context.Context) (err error) {
	if o.c.Cluster == nil {
		return nil
	}
	if o.twin != nil { // before its cluster hears of this node
		if t := o.twin(ctx); t != nil {
			return fmt.Errorf("%w, at %s: a restored node comes to its cluster when that has ended", host.ErrTwin, t.Addr)
		}
	}

	if o.c.Join != "" {
		if o.joined, err = o.mesh.JoinWith(ctx, o.c.Join, o.c.JoinRights); err != nil {
			return err
		}
	}

	older := func(life []byte) (bool, error) { return host.OlderThan(o.store, life) }
	o.cluster, err = startCluster(ctx, &o.c, o.options.Node, older, o.mesh, o.joined, o.c.logger("cluster"))
	if err != nil {
		return err
	}

	o.onClose(o.cluster.Close)
	return nil
}

// openRuntime makes the runtime, which has no daemon yet.
func (o *opening) openRuntime(ctx context.Context) (err error) {
	o.options.Store, o.options.Mesh = o.store, o.mesh
	o.options.Logger, o.options.Tracer = o.c.logger("host"), o.tracer
	o.options.Limits = o.c.Limits
	o.options.ModuleKeys, o.options.RefuseModules = o.c.ModuleKeys, o.c.RefuseModules
	o.options.PassivateAfter, o.options.ActiveBytes = o.c.PassivateAfter, o.c.ActiveBytes
	o.options.Compiler, o.options.CompileLimits = o.c.Compiler, o.c.CompileLimits
	if o.options.CacheDir, err = o.openCache(); err != nil {
		return err
	}

	if o.cluster != nil {
		o.options.Cluster, err = o.cluster.HostOptions(func(m daemon.Moved) { o.events.Moved(m) })
		if err != nil {
			return err
		}
	}

	if o.rt, err = host.New(ctx, o.options); err != nil {
		return err
	}

	o.rt.Unconfirmed().LookForTwin(o.twin)
	o.mesh.ServeStandings(o.rt.Unconfirmed().Standings)
	o.events = wire.NewNode(o.mesh, o.rt) // before the runtime starts
	if o.c.Prepare == nil {
		return nil
	}

	return o.c.Prepare(o.rt)
}

// openCache returns the folder of compiled modules.
func (o *opening) openCache() (string, error) {
	if o.c.Dir != "" {
		dir := filepath.Join(o.c.Dir, "cache")
		return dir, keepPrivate(dir)
	}

	dir, remove, err := openEphemeralCache(os.TempDir())
	if err != nil {
		return "", err
	}

	o.onClose(remove)
	return dir, nil
}

// openAPI serves the control API, which says that the node is not ready yet.
func (o *opening) openAPI(ctx context.Context) error {
	if o.c.Socket != "" {
		l, err := socket.Listen(o.c.Socket)
		if err != nil {
			return err
		}
		o.control = append(o.control, l)
	}

	o.control = append(o.control, o.pipe)
	o.onClose(o.closeControl)

	logger := o.c.logger("control")
	o.api = server.New(o.rt, o.mesh, o.events, o.c.Version, logger)
	if err := o.api.KeepGroups(group.NewStored(o.store, o.options.Node)); err != nil {
		return err
	}
	if err := o.api.LoadTokens(o.store); err != nil {
		return err
	}
	if err := o.api.LoadApplications(o.store); err != nil {
		return err
	}

	if o.c.Dir != "" {
		o.api.ServeBackups(o.store, o.options.Node, o.life.Number)
	}

	o.api.SetTags(o.c.Tags)
	o.api.SetTracer(o.tracer)
	if o.cluster != nil {
		o.api.SetEngine(o.cluster.API())
	}

	o.metrics = metrics.New(o.rt, o.mesh, o.store, o.c.Version, logger)
	o.api.SetMetrics(o.metrics)

	var err error
	if o.listeners, err = openListeners(ctx, &o.c, o.api, o.metrics, o.failed); err != nil {
		return err
	}

	o.onClose(o.listeners.close)
	o.http = newHTTPServer(o.api, 5*time.Minute, o.logger)
	for _, l := range o.control {
		go func() { o.failed <- o.http.Serve(l) }()
	}
	return nil
}

// start brings the node's daemons back, and the node to its peers.
func (o *opening) start(ctx context.Context) error {
	if err := o.rt.Start(ctx); err != nil {
		return err
	}
	if o.c.Join != "" && o.joined == 0 {
		if _, err := o.mesh.JoinWith(ctx, o.c.Join, o.c.JoinRights); err != nil {
			return err
		}
	}

	if o.cluster != nil {
		if err := o.cluster.AwaitLease(ctx, o.rt); err != nil {
			return err
		}
	}

	life, end := context.WithCancel(context.Background())
	o.end = end
	o.work.Go(func() { o.api.HealGroups(life, groupsEvery) })
	if o.c.Rebalance > 0 {
		o.work.Go(func() { o.api.KeepBalanced(life, o.c.Rebalance) })
	}

	o.work.Go(func() { o.watch(life) })
	return nil
}

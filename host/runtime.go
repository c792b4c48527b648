// Package host runs daemons: stateful event processors that are WebAssembly
// modules, each under an identity of its own, whose outputs form a signed
// chain and which move live from host to host.
//
// A host knows no network and no disk: Mesh and store.Store are given to it.
package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/host/broker"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/cluster"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/feed"
	"wasmhost.example/host/internal/holds"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/losses"
	"wasmhost.example/host/internal/residence"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration/source"
	"wasmhost.example/host/migration/target"
	"wasmhost.example/host/outbox"
	"wasmhost.example/host/registry"
	"wasmhost.example/host/store"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// Options say what a runtime is made of. The zero Options make one that keeps
// everything in memory and has no peers.
type Options struct {
	Node     *identity.KeyPair // who the node is; nil: drawn at random
	Store    *store.Store      // nil: nothing outlives the runtime and no history is kept; stays the caller's
	Mesh     mesh.Mesh         // Node's, and of no other runtime; nil: no peers; stays the caller's
	CacheDir string            // for compiled modules; empty: none. With Compiler it is this runtime's alone
	Limits   daemon.Limits     // of every daemon
	Logger   *slog.Logger      // nil: slog.Default()
	Clock    func() time.Time  // nil: time.Now
	Tracer   trace.Tracer      // makes spans of deliveries and migrations that are traced already, by their caller's context; nil: none

	// TokenSkew is by how much the clocks of those who issue permission tokens
	// may differ from this node's; at most identity.MaxTokenSkew.
	TokenSkew time.Duration

	// Compiler compiles modules in other processes; it needs CacheDir. nil: they
	// are compiled in this process, and have at most MaxInProcess bytes.
	// CompileLimits bound each compile of a module that comes; where a field is
	// zero, DefaultCompileLimits does.
	Compiler      registry.Compiler
	CompileLimits registry.CompileLimits

	// RefuseModules makes the node take no module from a peer: a daemon of a
	// module that was not pushed here cannot come here.
	RefuseModules bool

	// ModuleKeys, where there are any, are those one of which must have signed a module
	// that is to run here, wherever it comes from.
	ModuleKeys []identity.EntityID

	// Cluster makes the runtime a member of a cluster: its directory decides who
	// owns a daemon. It needs a Store and a Mesh. nil: it is in none.
	Cluster *ClusterOptions

	// CheckpointEvery is after how many outputs a daemon signs where its chain
	// stands; 0: 1024.
	CheckpointEvery uint64

	// PassivateAfter is after how long without an event a daemon leaves memory:
	// it is on disk alone then, and comes back with its next event. 0: never.
	// ActiveBytes bounds the memory of the daemons that are not passive,
	// together: above it those leave that were idle longest. 0: no bound.
	// Both need a Store.
	PassivateAfter time.Duration
	ActiveBytes    int64

	// Budgets bound the bytes that queues hold; the node's mesh has the same. nil: of
	// the default sizes.
	Budgets *budget.Set
}

// Where a runtime stands in its life. There is no way back.
const (
	lifeRegistering int32 = iota
	lifeReady
	lifeShuttingDown
)

// Runtime hosts daemons. It is safe for concurrent use.
type Runtime struct {
	env      *env.Env
	cancel   context.CancelFunc // of env.Context
	mesh     mesh.Mesh
	registry *registry.Registry

	kept        map[identity.EntityID]*identity.KeyPair // of daemons that went public-only, where there is no store; by mu
	life        atomic.Int32
	handling    atomic.Bool // it is the mesh's handler
	hurry       atomic.Bool // events that modules still process are to end
	notReady    atomic.Bool // SimulateNotReady
	draining    atomic.Bool
	twin        func(context.Context) *Twin // looks for another incarnation of this node; nil: there is none to look for
	incarnation atomic.Pointer[Incarnation] // nil: the node was never restored

	cluster *cluster.Member // nil: it is in none

	exchanges  *exchanges
	tokenSkew  time.Duration
	broker     *broker.Broker         // channels of this node
	subscriber *subscriber.Subscriber // of this node's daemons
	sender     *outbox.Sender
	watch      *outbox.Watch
	inbox      *outbox.Inbox
	arrivals   *target.Arrivals
	resided    residence.Cache // proofs of where daemons are
	timers     *outbox.Timers
	daemons    *engine.Config
	shares     *fair.Scheduler // of work that the node begins by itself
	foreign    *fair.Flow      // of what daemons elsewhere publish here

	mu     lock.RWMutex[lock.Runtime] // guards kept; never held while user code runs
	holds  *holds.Holds
	losses *losses.Losses

	table      *table.Table[*engine.Daemon, *target.Arrival, *source.Migration]
	evidence   *evidence.Records
	failures   failures
	departures *source.Departures

	starting lock.Mutex[lock.Start] // one Start at a time
	reading  engine.Unread
	eager    int // eagerMost
	idle     idle
	progress progress
	meters   meters

	notifications *notifications
	budgets       *budget.Set
}

// New makes a runtime. It takes factories and kinds, and no daemons until
// Start. Options that cannot work are an *OptionsError, limits that cannot hold
// ErrBadLimit.
func New(ctx context.Context, o Options) (*Runtime, error) {
	if o.Node == nil {
		var err error
		if o.Node, err = identity.Generate(); err != nil {
			return nil, err
		}
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	r := &Runtime{
		mesh: o.Mesh,
		kept: make(map[identity.EntityID]*identity.KeyPair),
	}
	r.env, r.cancel = o.env()
	r.notifications = newNotifications(r.env.Clock)
	r.env.Notify = r.notifications.publish
	r.idle = idle{o.PassivateAfter, &engine.ActiveMemory{Limit: o.ActiveBytes, Kick: make(chan struct{}, 1)}}
	r.tokenSkew, r.exchanges, r.eager = o.TokenSkew, newExchanges(), eagerMost
	if r.budgets = o.Budgets; r.budgets == nil {
		r.budgets = budget.NewSet(budget.Sizes{})
	}
	r.holds, r.losses = holds.New(r.env, r.nameOf), losses.New(r.env, r.nameOf)
	r.table, r.evidence = table.New[*engine.Daemon, *target.Arrival, *source.Migration](r.env, target.ArrivalsOfPeer, target.ArrivalsOfNode), evidence.New(r.env)
	r.departures = source.New(r.env, r.mesh, r.evidence, departuresOf{r})
	r.shares = fair.New(runtime.GOMAXPROCS(0) / 2) // the other half is for those who send from outside
	r.foreign = r.shares.Flow()
	var err error
	if r.registry, err = registry.New(ctx, r.env, registryNodeOf{r}, o.registry(r.env.Limits)); err != nil {
		r.cancel()
		return nil, err
	}
	r.daemons = r.daemonConfig(&o)
	r.broker = broker.New(r.brokerConfig())
	r.subscriber = subscriber.New(r.env, subscriberOf{r}, subscriberOf{r}, channelPeers{r})
	box := outboxOf{r}
	r.sender, r.timers = outbox.NewSender(r.env, box, box, channelPeers{r}), outbox.NewTimers(r.env, box)
	r.watch = outbox.NewWatch(r.env, r.sender, box)
	r.arrivals = target.New(r.arrivalsConfig())
	r.inbox = outbox.NewInbox(r.env, r.broker, box, box)
	if o.Cluster != nil {
		r.cluster = cluster.New(r.clusterConfig(o.Cluster))
	}
	return r, nil
}

// env makes the environment of a runtime of these options, and what ends its Context.
func (o *Options) env() (*env.Env, context.CancelFunc) {
	e := &env.Env{Node: o.Node, Self: o.Node.ID().Node(), Store: o.Store, Logger: o.Logger, Clock: o.Clock, Tracer: o.Tracer,
		Limits: o.Limits.Over(daemon.DefaultLimits), Work: &env.Work{}}
	fill(&e.Logger, slog.Default())
	if e.Clock == nil {
		e.Clock = time.Now
	}

	ctx, cancel := context.WithCancel(context.Background())
	e.Context = ctx
	return e, cancel
}

// Budgets returns what bounds the bytes that queues hold.
func (r Node) Budgets() *budget.Set { return r.rt.budgets }

// following is the budget of those who follow what the node publishes.
func (r *Runtime) following() feed.Budget {
	return feed.Budget{Pool: r.budgets.Followers, One: budget.OneFollower}
}

// Self returns the node's id.
func (r *Runtime) Self() identity.NodeID { return r.env.Self }

// IsReady reports whether the runtime takes daemons and events.
func (r *Runtime) IsReady() bool { return r.life.Load() == lifeReady }

// Ready returns nil, ErrNotReady or ErrShuttingDown: unless it is nil, what the
// runtime lists is not all that there is.
func (r *Runtime) Ready() error { return r.ready() }

// ready returns nil, ErrNotReady or ErrShuttingDown.
func (r *Runtime) ready() error {
	switch r.life.Load() {
	case lifeReady:
		return nil
	case lifeRegistering:
		return daemon.ErrNotReady
	default:
		return daemon.ErrShuttingDown
	}
}

func (r *Runtime) open() error {
	if r.life.Load() == lifeShuttingDown {
		return daemon.ErrShuttingDown
	}
	return nil
}

// Format implements fmt.Formatter: whatever the verb, a runtime is printed as the
// node that it is. What it holds changes meanwhile, and has keys in it.
func (r *Runtime) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "runtime of node %s", r.env.Self) }

// Start brings back what the store holds, installs the runtime as the mesh's
// handler, and then makes it ready. Of many daemons it reads some afterwards: events
// for those wait. A second Start of a ready runtime does
// nothing; one that loses to Shutdown is ErrShuttingDown.
func (r *Runtime) Start(ctx context.Context) error {
	if !r.env.Work.Begin() {
		return daemon.ErrShuttingDown
	}
	defer r.env.Work.Done()
	r.starting.Lock()
	defer r.starting.Unlock()
	if r.IsReady() {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.env.Context, cancel)()
	defer func() {
		if !r.IsReady() {
			r.dropUnread()
		}
	}()
	if err := r.recover(ctx); err != nil {
		if r.open() != nil {
			return daemon.ErrShuttingDown
		}
		return fmt.Errorf("recovering: %w", err)
	}
	if r.twin != nil && !r.Unconfirmed().Incarnation().Confirmed {
		r.twin(ctx) // before the mesh speaks for this node
	}
	r.askPeers(ctx, startPatience)
	if r.mesh != nil {
		if !r.mesh.Handle(handler{r}) {
			return &OptionsError{"Mesh", "has a handler already: another runtime that has it was started first"}
		}
		r.handling.Store(true)
	}
	if !r.life.CompareAndSwap(lifeRegistering, lifeReady) && !r.IsReady() {
		if r.handling.Swap(false) {
			r.mesh.Handle(nil)
		}
		return daemon.ErrShuttingDown
	}
	if r.cluster != nil {
		r.cluster.Start()
	}
	r.peersCame()
	r.resumeMigrations()
	r.startIdling()
	r.startChannels()
	r.readRest()
	r.tidyDeparted()
	r.startTwin()
	return nil
}

// lastEvents is how long events that are being processed may go on after Shutdown has
// begun. One of a module is then ended, without a trace.
const lastEvents = time.Second

// Shutdown takes no more events, lets migrations that can still fail fail,
// stores every daemon's state and frees everything. Neither mesh nor store is
// closed. A second Shutdown does nothing. Events that wait for their daemon end with
// ErrShuttingDown, and after a second so does one that a module still processes. ctx
// bounds the waiting for work in progress: a daemon of native code that is still
// processing then is left as it is.
func (r *Runtime) Shutdown(ctx context.Context) error {
	was := r.life.Swap(lifeShuttingDown)
	if was == lifeShuttingDown {
		return nil
	}
	r.table.Close()
	r.env.Work.Close() // what was counted before is waited for below
	if r.handling.Swap(false) {
		r.mesh.Handle(nil)
	}
	inOrder := was == lifeReady && r.cluster.AnnounceStop(ctx)
	r.cancel()
	defer time.AfterFunc(lastEvents, func() { r.hurry.Store(true) }).Stop()
	done := make(chan struct{})
	go func() {
		r.env.Work.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("waiting for work in progress: %w", context.Cause(ctx))
	}
	daemons, waiting := r.table.Empty(err == nil) // nobody is left to ask of migrations
	for _, d := range daemons {
		err = errors.Join(err, d.Memory().PutAway(ctx))
	}
	for _, in := range waiting {
		in.ShutDown()
	}
	r.cluster.FeedLast(ctx, daemons)
	if inOrder && err == nil && r.env.Store.Err() == nil {
		err = r.cluster.MarkStopped()
	}
	r.notifications.feed.Close()
	if r.cluster != nil && was == lifeReady {
		<-r.cluster.Done()
	}
	return errors.Join(err, r.registry.Close(ctx))
}

// SimulateNotReady makes the runtime answer migrations that others offer with
// NotReady. Nothing else changes.
func (r *Runtime) SimulateNotReady(on bool) { r.notReady.Store(on) }

// find returns the daemon, or why it is not here: *MovedError, *NotFoundError,
// ErrComing, or that the runtime is not ready.
func (r *Runtime) find(id identity.EntityID) (*engine.Daemon, error) {
	if d := r.table.Daemon(id); d != nil {
		return d, nil
	}
	w, err := r.table.Find(id)
	if w.Here != nil {
		return w.Here, nil
	}
	t := w.Went
	if m, ok := r.Places().Whereabouts(id); ok && (!t.Known() || m.Epoch >= t.Epoch) {
		if m.Node != r.env.Self {
			return nil, &daemon.MovedError{Moved: m}
		}
		if r.cluster.IsComing(id) {
			return nil, fmt.Errorf("%w: %s", daemon.ErrComing, id.Origin())
		}
		if d := r.table.Daemon(id); d != nil { // it may have come since the first look
			return d, nil
		}
	}
	if t.Known() && !t.Stopped {
		return nil, &daemon.MovedError{Moved: movedBy(t, id)}
	}
	if err := r.ready(); err != nil {
		return nil, err // what is not here now may be when it is ready, or was
	}
	if err != nil {
		return nil, err
	}
	return nil, &daemon.NotFoundError{Entity: id}
}

// DaemonCount returns how many daemons this node answers for.
func (r *Runtime) DaemonCount() int {
	return r.table.Count()
}

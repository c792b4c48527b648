package host

import (
	"context"
	"sync/atomic"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/feed"
	"wasmhost.example/identity"
)

// engineConfig is what the daemons of one node have in common. Its fields are set before the
// first daemon is made and do not change afterwards.
type engineConfig struct {
	Env       *env.Env
	Permits   permits
	Outbox    effectsOutbox
	Factories factories
	Plain     *bounds // of daemons that have no limits of their own

	CheckpointEvery uint64                               // after how many outputs a daemon signs where its chain stands
	Ending          *atomic.Bool                         // the events that modules still process are to end
	Memory          *activeMemory                        // of the daemons that are not passive
	Unread          *reading                             // daemons that are yet to be read
	Shares          *fair.Scheduler                      // of the work that the node begins by itself
	Followers       feed.Budget                          // of those who follow a daemon's outputs
	LossOf          func(identity.EntityID) *daemon.Loss // what of a daemon is known to be lost; nil: nothing is
	MeterFor        func(kind string) *kindMeter         // in which a kind's daemons are counted
}

// permits is what the node says of whether daemons may serve. Its methods are called under a
// daemon's lock.
type permits interface {
	// Open returns nil unless the node shuts down.
	Open() error

	// MayServe returns nil, or a *daemon.HeldError where the daemon is held.
	MayServe(identity.EntityID) error

	// MayRun is MayServe, and an error where the daemon's identity is refused here.
	MayRun(identity.EntityID) error

	// Holding says why the node's cluster has its daemons hold their events.
	Holding() error
}

// effectsOutbox carries out what daemons send, and looks at their timers. Its methods are
// called under a daemon's lock, and block nobody.
type effectsOutbox interface {
	// Start has what is pending delivered, once the node is ready.
	Start(id identity.EntityID, state *effect.State)

	// Watch has the daemon's calls to another end where that is gone.
	Watch(asker, asked identity.EntityID)

	// Stuck reports whether nothing that the daemon sends leaves it.
	Stuck(identity.EntityID) bool

	// SetTimer has the daemon looked at when its first timer is due, in Unix nanoseconds.
	SetTimer(id identity.EntityID, at int64)
}

// factories makes daemons' code.
type factories interface {
	// Factory returns what makes the code of a kind's daemons, and its digest: of the kind
	// as it is now, or of the module where one is given.
	Factory(ctx context.Context, kind string, module []byte) (daemon.Factory, []byte, error)
}

// daemonsOf is the node as its daemons see it.
type daemonsOf struct{ rt *Runtime }

func (o daemonsOf) Open() error { return o.rt.open() }

func (o daemonsOf) MayServe(id identity.EntityID) error { return o.rt.mayServe(id) }

func (o daemonsOf) MayRun(id identity.EntityID) error { return o.rt.mayRun(id) }

func (o daemonsOf) Holding() error {
	if err := o.rt.Node().Holding(); err != nil {
		return err
	}
	return daemon.ErrHolding
}

func (o daemonsOf) Start(id identity.EntityID, state *effect.State) {
	if o.rt.life.Load() != lifeRegistering {
		o.rt.sender.Start(id, state)
	}
}

func (o daemonsOf) Watch(asker, asked identity.EntityID) { o.rt.watch.Add(asker, asked) }

func (o daemonsOf) Stuck(id identity.EntityID) bool { return o.rt.sender.Stuck(id) }

func (o daemonsOf) SetTimer(id identity.EntityID, at int64) { o.rt.timers.Set(id, at) }

func (o daemonsOf) Factory(ctx context.Context, kind string, module []byte) (daemon.Factory, []byte, error) {
	return o.rt.factory(ctx, kind, module)
}

// daemonConfig makes what this node's daemons have in common.
func (r *Runtime) daemonConfig(o *Options) *engineConfig {
	every := o.CheckpointEvery
	fill(&every, 1024)
	node := daemonsOf{r}
	return &engineConfig{Env: r.env, Permits: node, Outbox: node, Factories: node, Plain: boundsOf(daemon.Limits{}, r.env.Limits),
		CheckpointEvery: every, Ending: &r.hurry, Memory: r.idle.activeMemory, Unread: &r.reading, Shares: r.shares,
		Followers: r.following(), LossOf: r.Evidence().Loss, MeterFor: r.meters.of}
}

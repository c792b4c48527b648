package host

import (
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/query"
	"wasmhost.example/identity"
)

// daemonsOf is the node as its daemons see it.
type daemonsOf struct{ rt *Runtime }

func (o daemonsOf) Open() error { return o.rt.open() }

func (o daemonsOf) MayServe(id identity.EntityID) error { return o.rt.holds.MayServe(id) }

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

// daemonConfig makes what this node's daemons have in common.
func (r *Runtime) daemonConfig(o *Options) *engine.Config {
	every := o.CheckpointEvery
	fill(&every, 1024)
	node := daemonsOf{r}
	return &engine.Config{Env: r.env, Permits: node, Outbox: node, Factories: r.registry, Plain: engine.BoundsOf(daemon.Limits{}, r.env.Limits),
		CheckpointEvery: every, Ending: &r.hurry, Memory: r.idle.ActiveMemory, Unread: &r.reading, Shares: r.shares, Copies: make(chan struct{}, query.MaxCopies),
		Followers: r.following(), LossOf: r.Evidence().Loss, MeterFor: r.meters.of}
}

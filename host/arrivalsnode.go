package host

import (
	"context"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/migration/target"
	"wasmhost.example/identity"
)

// arrivalsConfig says what the arrivals of this node are made of.
func (r *Runtime) arrivalsConfig() target.Config {
	of := arrivalsOf{r}
	return target.Config{Env: r.env, Mesh: r.mesh, Table: r.table, Known: of, Node: of, Cluster: of, Evidence: r.evidence, Registry: r.registry,
		Subscriber: r.subscriber, Losses: r.losses, Daemons: r.daemons}
}

// arrivalsOf is the node as its arrivals see it: target.Known, target.Node and
// target.Cluster.
type arrivalsOf struct{ rt *Runtime }

func (o arrivalsOf) Find(id identity.EntityID) (target.Place, error) {
	p, err := o.rt.table.Find(id)
	return target.Place{Here: p.Here, Coming: p.Coming, Went: p.Went}, err
}

func (o arrivalsOf) Returns(id identity.EntityID) (table.Tombstone, func(bool), error) {
	return o.rt.table.Returns(id)
}

func (o arrivalsOf) Expected(id identity.EntityID) (string, identity.NodeID, bool) {
	return o.rt.table.Expected(id)
}

func (o arrivalsOf) ExpectedKey(id identity.EntityID) *identity.KeyPair {
	return o.rt.table.ExpectedKey(id)
}

func (o arrivalsOf) KeptIdentity(id identity.EntityID) (*identity.KeyPair, error) {
	return o.rt.Daemons().KeptIdentity(id)
}

func (o arrivalsOf) Open() error { return o.rt.open() }

func (o arrivalsOf) Room() error { return o.rt.room() }

func (o arrivalsOf) Takes(id identity.EntityID) error {
	r := o.rt
	if r.notReady.Load() || !r.IsReady() {
		return migration.Failf(migration.NotReady, "node %s is not ready", r.env.Self)
	}
	if r.Node().Draining() {
		return migration.Failf(migration.Draining, "%v", daemon.ErrDraining)
	}
	if err := r.mayRun(id); err != nil {
		return migration.Failf(migration.Equivocated, "%v", err)
	}
	if err := r.room(); err != nil {
		return migration.Failf(migration.StoreFailed, "%v", err)
	}
	return nil
}

func (o arrivalsOf) Ended(kind string, err *migration.Error) {
	if err == nil {
		o.rt.meters.moved(kind, "target", nil)
		return
	}
	o.rt.meters.moved(o.rt.knownKind(kind), "target", err)
}

func (o arrivalsOf) Attach(d *engine.Daemon) { o.rt.cluster.Attach(d, leader.Beginning{}) }

func (o arrivalsOf) LookSoon() { o.rt.cluster.LookSoon() }

func (o arrivalsOf) MakeWay(ctx context.Context, id identity.EntityID) error {
	return o.rt.cluster.MakeWay(ctx, id)
}

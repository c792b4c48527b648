package host

import (
	"context"
	"fmt"
	"time"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/cluster"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/identity"
)

// ClusterOptions make a runtime a member of a cluster.
type ClusterOptions struct {
	Member *directory.Member // not running yet; the runtime runs it

	// The member calls Came when another member comes, Gone when its session ends, and
	// Removed when it was removed: it is not trusted until a token lets it in again. It
	// calls Moved when it hears where a daemon of another node is. Each may be nil, and
	// must not block.
	Came    func(directory.Node)
	Gone    func(identity.NodeID)
	Removed func(directory.Node)
	Moved   func(daemon.Moved)

	// Lag is for how long a standby may owe an answer before it leaves those in
	// sync; 0: a lease's time.
	Lag time.Duration
}

// Cluster returns the node's part in its cluster; ErrNoCluster.
func (r *Runtime) Cluster() (*directory.Member, error) {
	if r.cluster == nil {
		return nil, directory.ErrNoCluster
	}
	return r.cluster.Directory(), nil
}

// Holding returns daemon.ErrHolding, with why, while the node is a member of a cluster and
// its lease does not hold.
func (r Node) Holding() error {
	return r.rt.cluster.Holding()
}

// Whereabouts returns who owns a daemon, as the directory was heard last; false
// where it does not say, and on a node of no cluster.
func (r Places) Whereabouts(id identity.EntityID) (daemon.Moved, bool) {
	if r.rt.cluster == nil {
		return daemon.Moved{}, false
	}
	e, ok := r.rt.cluster.Directory().Look(id)
	return daemon.Moved{Entity: id, Node: e.Owner, Epoch: e.Epoch}, ok
}

// Remembered returns what the directory said of the daemons last, in no order: those
// that no removal has ended, whether or not the directory still lists them. It is empty
// on a node of no cluster.
func (r Places) Remembered() []directory.Daemon { return r.rt.cluster.Remembered() }

// clusterConfig is what the node's part in its cluster is made of.
func (r *Runtime) clusterConfig(o *ClusterOptions) cluster.Config {
	return cluster.Config{
		Env: r.env, Directory: o.Member, Mesh: r.mesh, Table: tableOfCluster{r}, Node: nodeOfCluster{r}, Modules: r.registry,
		Holds: r.holds, Losses: r.losses, Evidence: r.evidence, Subscriber: r.subscriber, Daemons: r.daemons,
		Came: o.Came, Gone: o.Gone, Removed: o.Removed, Moved: o.Moved, Lag: o.Lag,
	}
}

// tableOfCluster is who is where, for the cluster.
type tableOfCluster struct{ rt *Runtime }

func (t tableOfCluster) Daemon(id identity.EntityID) *engine.Daemon { return t.rt.table.Daemon(id) }

func (t tableOfCluster) Daemons() []*engine.Daemon { return t.rt.table.Daemons() }

func (t tableOfCluster) IsComing(id identity.EntityID) bool { return t.rt.table.Arrival(id) != nil }

func (t tableOfCluster) MovesTo(id identity.EntityID, to identity.NodeID, epoch uint64) bool {
	m := t.rt.table.Look(id).Leaving
	return m != nil && m.MovesTo(to, epoch)
}

func (t tableOfCluster) IsKnown(id identity.EntityID) (bool, error) {
	w, err := t.rt.table.Find(id)
	return w.Here != nil || w.Went.Known(), err
}

func (t tableOfCluster) Return(d *engine.Daemon, serve func(went table.Tombstone) error) (err error) {
	went, back, err := t.rt.table.Returns(d.Entity())
	if err != nil {
		return err
	}
	defer func() { back(err == nil) }()
	if err = serve(went); err != nil {
		return err
	}

	if t.rt.table.PutNamed(d) != nil { // another daemon has its name
		d.Making().Rename(fmt.Sprintf("%.40s-%s", d.Kind(), d.Entity().Origin()))
		t.rt.table.Put(d)
	}
	return nil
}

// nodeOfCluster is what else the cluster asks of the node.
type nodeOfCluster struct{ rt *Runtime }

func (n nodeOfCluster) Open() error { return n.rt.open() }

func (n nodeOfCluster) Ready() error { return n.rt.ready() }

func (n nodeOfCluster) Forget(d *engine.Daemon, t table.Tombstone, stored bool) {
	n.rt.forgetHere(d, t, stored)
}

func (n nodeOfCluster) KeepEvidence(id identity.EntityID, epoch uint64, why string) error {
	return n.rt.keepEvidence(id, epoch, why)
}

func (n nodeOfCluster) Confirm(ctx context.Context, id identity.EntityID) (chain.Mended, error) {
	return n.rt.Unconfirmed().Confirm(ctx, id)
}

func (n nodeOfCluster) IsConfirmed() bool { return n.rt.Unconfirmed().Incarnation().Confirmed }

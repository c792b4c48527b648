// Package source is a node's side of the migrations by which daemons leave it: the walk
// from the first view of a daemon to its tombstone (Migration.attempt has the steps on
// one page), and the orders by which another node's daemon is moved.
package source

import (
	"context"
	"errors"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Node is what the migrations need of the node that they begin on.
type Node interface {
	// Ready returns nil where the node begins migrations, and Room where its disk has
	// room for them.
	Ready() error
	Room() error

	// Subject returns a daemon of the node, or why it is not here: a *daemon.MovedError
	// where it is elsewhere.
	Subject(id identity.EntityID) (*Subject, error)

	// Module returns the code of a module; daemon.ErrModuleNotFound.
	Module(ctx context.Context, digest store.Digest) ([]byte, error)

	// Begun is told of a migration that runs from now on.
	Begun(m *Migration)

	// Linger lets go of the subscriptions of a daemon that has left; the function that
	// it returns ends that.
	Linger(id identity.EntityID) (end func())
}

// Departures begins the migrations away from a node, and those that it orders. It is safe
// for concurrent use.
type Departures struct {
	env      *env.Env
	mesh     mesh.Mesh // nil: no peers
	evidence *evidence.Records
	node     Node
	orders   orders
}

// New makes the departures of a node. m is nil where it has no peers.
func New(e *env.Env, m mesh.Mesh, ev *evidence.Records, n Node) *Departures {
	return &Departures{env: e, mesh: m, evidence: ev, node: n}
}

// Start begins to move the daemon to the target and returns at once. The daemon serves
// until the target has all of it; its senders then wait for a moment, and find it there.
// An error is a *migration.Error, or says that the node is not ready; nothing has changed
// then. caller may carry a trace.
func (t *Departures) Start(caller context.Context, id identity.EntityID, target identity.NodeID, o Options) (*Migration, error) {
	if err := t.node.Ready(); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Source != 0 && o.Source != t.env.Self {
		if o.PublicOnly {
			return nil, migration.Failf(migration.IdentityTransportFailed, "a public-only migration is begun on the node that has the daemon, which keeps its key")
		}
		return t.order(caller, id, target, o)
	}

	d, peer, err := t.mayStart(id, target)
	if err != nil {
		return nil, err
	}
	m, err := t.take(d, target, o)
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithCancelCause(t.env.Context)
	m.cancel = cancel
	if o.Deadline > 0 {
		late := time.AfterFunc(o.Deadline, func() {
			cancel(migration.Failf(migration.Cancelled, "the migration was given up: the daemon could not be released within %v", o.Deadline))
		})
		context.AfterFunc(ctx, func() { late.Stop() })
	}
	if o.watch != nil {
		m.watched = m.Watch(o.watch)
	}
	t.node.Begun(m)
	ctx = m.trace(ctx, caller, "migrate")
	go func() {
		defer t.env.Work.Done()
		defer cancel(nil)
		m.finish(m.run(ctx, peer))
	}()
	return m, nil
}

// mayStart returns the daemon and the target, or why it cannot go there.
func (t *Departures) mayStart(id identity.EntityID, target identity.NodeID) (*Subject, mesh.Peer, error) {
	d, err := t.node.Subject(id)
	if errors.As(err, new(*daemon.MovedError)) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, migration.Failf(migration.DaemonNotFound, "%v", err)
	}
	if t.mesh == nil {
		return nil, nil, migration.Failf(migration.TargetUnavailable, "this node has no peers")
	}
	if target == t.env.Self {
		return nil, nil, migration.Failf(migration.TargetUnavailable, "daemon %s is on node %s already", id.Origin(), target)
	}
	peer, err := t.mesh.Peer(target)
	if err != nil {
		return nil, nil, migration.Failf(migration.TargetUnavailable, "%v", err)
	}
	if err := t.node.Room(); err != nil {
		return nil, nil, migration.Failf(migration.StoreFailed, "%v", err)
	}
	if d.Kind == "" {
		return nil, nil, migration.Failf(migration.NotPortable, "daemon %s is of no kind, so that no other node can make it", id.Origin())
	}
	return d, peer, nil
}

// take takes the daemon for a migration, which is work of the node from then on.
func (t *Departures) take(d *Subject, target identity.NodeID, o Options) (*Migration, error) {
	m, err := t.newMigration(d.Entity, d, target, o)
	if err != nil {
		return nil, exchange.ErrorOf(t.env.Context, err)
	}
	if !t.env.Work.Begin() {
		return nil, daemon.ErrShuttingDown
	}
	if m.above, err = d.MayMove(t.env.Context, target, m.sendsIdentity()); err != nil {
		t.env.Work.Done()
		return nil, exchange.ErrorOf(t.env.Context, err)
	}
	return m, nil
}

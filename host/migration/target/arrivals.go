package target

import (
	"context"
	"time"

	"wasmhost.example/host/budget"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/losses"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/registry"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// Arrivals takes the daemons that come to a node. It is safe for concurrent use.
type Arrivals struct {
	env        *env.Env
	mesh       mesh.Mesh
	table      Table
	known      Known
	node       Node
	cluster    Cluster
	evidence   *evidence.Records
	registry   *registry.Registry
	subscriber *subscriber.Subscriber
	losses     *losses.Losses
	daemons    *engine.Config
	room       *Room
}

// Config says what the arrivals of a node are made of. All of it is the caller's.
type Config struct {
	Env        *env.Env
	Mesh       mesh.Mesh // nil: no peers
	Table      Table
	Known      Known
	Node       Node
	Cluster    Cluster
	Evidence   *evidence.Records
	Registry   *registry.Registry
	Subscriber *subscriber.Subscriber
	Losses     *losses.Losses
	Daemons    *engine.Config // what the node's daemons have in common
}

// Table is where arrivals have their places, each of its methods in one step: the
// node's table of daemons.
type Table interface {
	Arrival(id identity.EntityID) *Arrival
	Admit(a *Arrival) error
	ReserveName(a *Arrival) error
	Activate(a *Arrival, d *engine.Daemon)
	Refuse(a *Arrival)
	Drop(a *Arrival)
}

// Place is where a daemon is, as the node knows it.
type Place struct {
	Here   *engine.Daemon  // nil: it is not here
	Coming *Arrival        // nil: it is not on its way here
	Went   table.Tombstone // unknown where it never left
}

// Known is what a node knows of a daemon beforehand.
type Known interface {
	// Find returns where the daemon is.
	Find(id identity.EntityID) (Place, error)

	// Returns keeps what is known of a daemon that left, until back is called: with true
	// once it is here again.
	Returns(id identity.EntityID) (went table.Tombstone, back func(here bool), err error)

	// Expected returns the kind that the node was told to expect the daemon as, and its
	// source; 0: any. ok is false where it was told nothing.
	Expected(id identity.EntityID) (kind string, source identity.NodeID, ok bool)

	// ExpectedKey returns the key that was registered for the daemon, which the caller
	// wipes; nil where none was.
	ExpectedKey(id identity.EntityID) *identity.KeyPair

	// KeptIdentity returns the key of a daemon that moved away public-only, which the
	// caller wipes; daemon.ErrNotKept.
	KeptIdentity(id identity.EntityID) (*identity.KeyPair, error)
}

// Node is the node that daemons come to.
type Node interface {
	// Open returns nil unless the node shuts down.
	Open() error

	// Takes returns nil where the node takes the daemon now, or else a *migration.Error.
	Takes(id identity.EntityID) error

	// Room returns nil where the disk has room for more.
	Room() error

	// Present returns AlreadyPresent where the daemon that from offers is here.
	Present(from identity.NodeID, o *migration.Offer) error

	// Ended counts a daemon of a kind that came, or did not for the reason err.
	Ended(kind string, err *migration.Error)
}

// Cluster is the node's part in its cluster, if it is in one.
type Cluster interface {
	// Attach gives a daemon that came its standbys. It is called with the daemon's lock.
	Attach(d *engine.Daemon)

	// LookSoon has the cluster look at what the node has.
	LookSoon()

	// MakeWay lets a daemon come here that this node stood by for.
	MakeWay(ctx context.Context, id identity.EntityID) error
}

// New makes the arrivals of a node.
func New(c Config) *Arrivals {
	return &Arrivals{env: c.Env, mesh: c.Mesh, table: c.Table, known: c.Known, node: c.Node, cluster: c.Cluster, evidence: c.Evidence, registry: c.Registry,
		subscriber: c.Subscriber, losses: c.Losses, daemons: c.Daemons, room: NewRoom(c.Env.Limits)}
}

// Use returns how much of the room for daemons on their way here is taken.
func (t *Arrivals) Use() budget.Use { return t.room.Use() }

// Offer returns what the arrival's source offered, which is not to be changed.
func (in *Arrival) Offer() *migration.Offer { return &in.offer }

// Began returns when the arrival began, by the node's clock; zero where that was before
// the node's last start.
func (in *Arrival) Began() time.Time { return in.began }

// Pending reports whether the daemon is prepared here and waits for its source's word, and
// the sequence of its last output. It waits for a step of the arrival that runs.
func (in *Arrival) Pending() (sequence uint64, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()

	if in.at.Phase() != migration.Pending {
		return 0, false
	}
	return in.d.Position().Head.Sequence, true
}

package engine

import (
	"context"
	"sync/atomic"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/feed"
	"wasmhost.example/host/internal/tally"
	"wasmhost.example/identity"
)

// Config is what the daemons of one node have in common. Its fields are set before the
// first daemon is made and do not change afterwards.
type Config struct {
	Env       *env.Env
	Permits   Permits
	Outbox    Outbox
	Factories Factories
	Plain     *bounds // of daemons that have no limits of their own

	CheckpointEvery uint64                               // after how many outputs a daemon signs where its chain stands
	Ending          *atomic.Bool                         // the events that modules still process are to end
	Memory          *ActiveMemory                        // of the daemons that are not passive
	Unread          *Unread                              // daemons that are yet to be read
	Shares          *fair.Scheduler                      // of the work that the node begins by itself
	Copies          chan struct{}                        // a place for each copy of a daemon that answers queries
	Followers       feed.Budget                          // of those who follow a daemon's outputs
	LossOf          func(identity.EntityID) *daemon.Loss // what of a daemon is known to be lost; nil: nothing is
	MeterFor        func(kind string) *tally.Kind        // in which a kind's daemons are counted
}

// Permits is what the node says of whether daemons may serve. Its methods are called under a
// daemon's lock.
type Permits interface {
	// Open returns nil unless the node shuts down.
	Open() error

	// MayServe returns nil, or a *daemon.HeldError where the daemon is held.
	MayServe(identity.EntityID) error

	// MayRun is MayServe, and an error where the daemon's identity is refused here.
	MayRun(identity.EntityID) error

	// Holding says why the node's cluster has its daemons hold their events.
	Holding() error
}

// Outbox carries out what daemons send, and looks at their timers. Its methods are
// called under a daemon's lock, and block nobody.
type Outbox interface {
	// Start has what is pending delivered, once the node is ready.
	Start(id identity.EntityID, state *effect.State)

	// Watch has the daemon's calls to another end where that is gone.
	Watch(asker, asked identity.EntityID)

	// Stuck reports whether nothing that the daemon sends leaves it.
	Stuck(identity.EntityID) bool

	// SetTimer has the daemon looked at when its first timer is due, in Unix nanoseconds.
	SetTimer(id identity.EntityID, at int64)
}

// Factories makes daemons' code.
type Factories interface {
	// Factory returns what makes the code of a kind's daemons, and its digest: of the kind
	// as it is now, or of the module where one is given.
	Factory(ctx context.Context, kind string, module []byte) (daemon.Factory, []byte, error)
}

// Package leader is the owner's side of the daemons of a cluster: each has a Leader, which
// sends what the daemon writes to its standbys, keeps as many of them in sync as the daemon
// is to have, and acknowledges nothing before they have it. Who owns a daemon is the
// directory's word; whether a daemon may serve after a restart is the node's, which compares
// it with its standbys.
package leader

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// Daemon is what a leader needs of its daemon. Its methods take the daemon's lock, but
// Entity and Name, which do not change.
type Daemon interface {
	Entity() identity.EntityID
	Name() string

	// Modules returns the digests of the daemon's module, and of the one before its last
	// upgrade; nil: there is none.
	Modules() (module, previous []byte)

	// Facts returns what the daemon keeps for life, encoded as snapshot.Facts.
	Facts() ([]byte, error)

	// StoreWhole stores the daemon's state anew, as it goes to standbys, and reports
	// whether it did: it does not while the daemon is passive, moves or does not serve.
	StoreWhole() (bool, error)

	// AtRest runs fn while the daemon submits nothing.
	AtRest(fn func())
}

// Node is what a leader needs of the node that it is on.
type Node interface {
	// Open returns nil unless the node shuts down.
	Open() error

	// Module returns a module's code; daemon.ErrModuleNotFound.
	Module(ctx context.Context, digest [32]byte) ([]byte, error)

	// RecordFor returns the daemon's record as the store has it, with its key sealed to
	// the peer.
	RecordFor(ctx context.Context, id identity.EntityID, to mesh.Peer) ([]byte, error)

	// ProveReach returns the statement, signed by the daemon's key, of how far the history
	// here goes; nil where the store does not have the key.
	ProveReach(identity.EntityID) ([]byte, error)

	// FirstRecord returns the index of the first record of the history in the store.
	FirstRecord(identity.EntityID) (uint64, error)

	// Lost has the node deal with a daemon that another node owns, as the entry says. It
	// does not block.
	Lost(e directory.Entry, session uint64)
}

// Group is what the leaders of one node have in common. It is safe for concurrent use.
type Group struct {
	env       *env.Env
	directory *directory.Member
	mesh      mesh.Mesh
	receipts  *evidence.Records
	node      Node
	lag       time.Duration // for how long a standby may owe an answer before it leaves those in sync

	comparisons chan struct{} // a place of those that run
	urgent      chan struct{} // a place of those that somebody waits for

	feeding context.Context // of those who follow: it outlives the runtime's for a moment, see FeedLast
	endFeed context.CancelFunc
	fed     chan struct{}  // a standby has more, or is gone
	feeds   sync.WaitGroup // of those who follow; added to under mu

	mu      lock.Mutex[lock.Cluster]
	fedLast bool // nobody follows any more
}

// NewGroup returns the group of the node's leaders, of which there are none yet. Where lag
// is 0 it is a lease's time. FeedLast ends it.
func NewGroup(e *env.Env, dir *directory.Member, m mesh.Mesh, receipts *evidence.Records, node Node, lag time.Duration) *Group {
	if lag == 0 {
		lag = dir.Self().TTL
	}
	g := &Group{env: e, directory: dir, mesh: m, receipts: receipts, node: node, lag: lag,
		comparisons: make(chan struct{}, maxComparing), urgent: make(chan struct{}, maxUrgent), fed: make(chan struct{}, 1)}
	g.feeding, g.endFeed = context.WithCancel(context.Background())
	return g
}

// Beginning is how a leader begins.
type Beginning struct {
	Unclaimed  bool // the directory does not name this node the owner yet: Claimed says so
	Uncompared bool // the daemon has to be compared with its standbys before it serves
	Unread     bool // the daemon is not read from the store yet
}

// Lead returns the leader of a daemon, which nobody else has yet.
func (g *Group) Lead(d Daemon, b Beginning) *Leader {
	return &Leader{group: g, daemon: d, changing: make(chan struct{}, 1), kick: make(chan struct{}, 1), follows: make(map[identity.NodeID]*follower),
		unsure: b.Unclaimed, compared: !b.Uncompared, unread: b.Unread}
}

// Holding returns daemon.ErrHolding, with why, while the node's lease does not hold.
func (g *Group) Holding() error {
	if _, held := g.directory.Lease(); held {
		return nil
	}
	if err := g.directory.Err(); err != nil {
		return fmt.Errorf("%w: %w", daemon.ErrHolding, err)
	}
	return daemon.ErrHolding
}

func (g *Group) session() uint64 {
	session, _ := g.directory.Lease()
	return session
}

// now is the time by the lease's clock.
func (g *Group) now() time.Duration { return g.directory.Now() }

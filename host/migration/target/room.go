package target

import (
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// ErrPushedOut says that an arrival was dropped for another attempt, or for good.
var ErrPushedOut = migration.Failf(migration.Cancelled, "another attempt took its place")

// Room counts the bytes that daemons on their way to a node take before they are its own:
// of modules, snapshots and blocks. A peer has its share, so that one cannot take all of
// it. Room is safe for concurrent use.
type Room struct {
	node  *budget.Budget
	peers *budget.Shares[identity.NodeID]
}

// NewRoom makes the room of a node whose daemons have the limits: what one of them needs
// for each peer, and twice that for all.
func NewRoom(l daemon.Limits) *Room {
	peer := l.MostArriving() + l.ModuleBytes + daemon.MaxSnapshotRest
	node := budget.New("arriving daemons", "node", 2*peer)
	return &Room{node, budget.NewShares[identity.NodeID](node, "peer", peer)}
}

// Use returns how much of it is taken.
func (r *Room) Use() budget.Use { return r.node.Use() }

// Share is what one arrival takes of the room. It is safe for concurrent use, and its
// lock is taken under any other. The zero Share has no room.
type Share struct {
	of   *Room
	from identity.NodeID

	mu    lock.Mutex[lock.Leaf] // guards what follows
	room  *budget.Budget        // the peer's; nil: nothing came yet
	leave func()                // gives room back
	held  int64
	over  bool
}

// Of makes s the share of an arrival from the peer, before it is used.
func (s *Share) Of(r *Room, from identity.NodeID) { s.of, s.from = r, from }

// Grow counts n bytes that came, or refuses them: BufferFull, or ErrPushedOut after End.
func (s *Share) Grow(n int) error {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.over {
		return ErrPushedOut
	}
	if s.room == nil {
		s.room, s.leave = s.of.peers.Of(s.from)
	}

	if err := s.room.TryAcquire(int64(n)); err != nil {
		return migration.Failf(migration.BufferFull, "%v", err)
	}

	s.held += int64(n)
	return nil
}

// Shrink gives bytes back.
func (s *Share) Shrink(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if n = min(n, s.held); n > 0 {
		s.room.Release(n)
		s.held -= n
	}
}

// End gives everything back: the daemon is the node's, or dropped. A second call does
// nothing.
func (s *Share) End() {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.over {
		return
	}

	s.over = true
	if s.room != nil {
		s.room.Release(s.held)
		s.leave()
	}
}

// Limits returns the limits that a daemon which is offered will have on a node of the
// given ones, and an error where they are none, or are beyond what may come.
func Limits(o *migration.Offer, node daemon.Limits) (daemon.Limits, error) {
	own, err := daemon.StoredLimits(o.Limits)
	if err != nil {
		return daemon.Limits{}, err
	}
	all := own.Over(node).Storable()
	return all, all.FitArriving(node)
}

// Bounds on unfinished arrivals. Those of bytes are at least what one daemon of the
// node's limits needs.
const (
	ArrivalsOfPeer = 64  // that one peer may have at a time
	ArrivalsOfNode = 256 // of all peers
)

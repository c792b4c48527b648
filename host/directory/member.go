package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"wasmhost.example/identity"
)

// A node is a member by a session: one life of its process, which it keeps up by
// beats. The machine, whole:
//
//	no session   | asks for one      | session: the node's lease runs from the moment before it asked
//	no session   | an old one is there, of a life before | it waits for the lease of that to end, as any other node would, and takes its place
//	session      | a beat is written | the lease runs anew, from the moment before the beat was sent
//	session      | no beat gets through | the lease ends by the node's own clock: it acknowledges nothing; the session stands
//	session      | another node has seen no beat for the whole of the lease, by its clock | that one removes the session
//	session gone | the next beat is refused | no session; what it owned may have another owner
//
// A daemon's next owner is named by a transaction that asks for the old owner's
// session to be gone, and each transaction of an owner asks for its own session to
// be there. The node's lease is shorter than what others wait for, by an eighth:
// clocks may run at rates that differ by up to MaxDrift, one way and the other.

// MaxDrift is by how much the rate of a node's clock may be wrong.
const MaxDrift = 0.05

// Options say what a member is made of.
type Options struct {
	Engine Engine
	Self   Node
	Clock  Clock        // nil: the machine's
	Logger *slog.Logger // nil: slog.Default()

	// Granted, if it is not nil, is called with what another node was granted, before
	// the observer hears of that node. It must not block.
	Granted func(Grant)

	// Sweeps says that the member removes old removals from the directory: its node
	// writes to the engine itself.
	Sweeps bool
}

// Member is a node's part in a cluster. It is safe for concurrent use.
type Member struct {
	engine Engine
	self   Node
	id     identity.NodeID
	life   []byte
	clock  Clock
	logger *slog.Logger

	mu       sync.Mutex
	session  uint64        // counts this process's; 0: none yet
	revision int64         // of the session's key; 0: there is none
	beat     int64         // revision of the last beat
	until    time.Duration // when the lease ends, by clock
	told     bool          // LeaseChanged said that it is held
	beaten   time.Duration // when the last beat was answered
	nodes    map[identity.NodeID]*seen
	members  map[identity.NodeID]Node
	left     map[identity.NodeID]bool // that were removed
	daemons  map[identity.EntityID]Entry
	owned    map[identity.NodeID]int // how many of daemons a node has
	grants   map[identity.NodeID]Grant
	gone     map[identity.EntityID]uint64 // epochs of the removals
	groups   map[string]identity.NodeID   // who keeps them, by name
	lastErr  error

	sweeps   bool
	sweeping chan struct{} // full while maxSweeping removals are being removed

	telling sync.Mutex // one call of the observer at a time
	granted func(Grant)
}

// NewMember makes the node's part; Run begins it.
func NewMember(o Options) (*Member, error) {
	if o.Self.TTL < MinTTL || o.Self.TTL > MaxTTL {
		return nil, fmt.Errorf("a lease of %v: from %v to %v", o.Self.TTL, MinTTL, MaxTTL)
	}

	m := &Member{engine: o.Engine, self: o.Self, id: o.Self.ID(), life: make([]byte, 16), clock: o.Clock, logger: o.Logger,
		nodes: make(map[identity.NodeID]*seen), members: make(map[identity.NodeID]Node), left: make(map[identity.NodeID]bool), daemons: make(map[identity.EntityID]Entry),
		owned: make(map[identity.NodeID]int), grants: make(map[identity.NodeID]Grant), granted: o.Granted,
		gone: make(map[identity.EntityID]uint64), groups: make(map[string]identity.NodeID), sweeps: o.Sweeps, sweeping: make(chan struct{}, maxSweeping)}

	if m.clock == nil {
		m.clock = machineClock{}
	}

	if m.logger == nil {
		m.logger = slog.Default()
	}

	if _, err := rand.Read(m.life); err != nil {
		return nil, fmt.Errorf("naming a session: %w", err)
	}
	return m, nil
}

// Self returns what the node says of itself.
func (m *Member) Self() Node { return m.self }

// Lease returns the number of the session, and whether the node's lease holds at
// this moment.
func (m *Member) Lease() (session uint64, held bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.session, m.revision != 0 && m.clock.Now() < m.until
}

// Run is a member until ctx ends; then it takes the session back, so that nobody
// waits for its end.
func (m *Member) Run(ctx context.Context, o Observer) {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	work.Go(func() { m.watchLease(ctx, o) })
	work.Go(func() { m.watchOthers(ctx) })

	for ctx.Err() == nil {
		if err := m.register(ctx); err != nil {
			m.note(err)
			m.pause(ctx, m.self.TTL/8)
			continue
		}

		session, stop := context.WithCancel(ctx)
		var watching sync.WaitGroup
		watching.Go(func() { m.watch(session, o) })
		m.beats(session, o)
		stop()
		watching.Wait()
	}

	m.leave()
}

func (m *Member) pause(ctx context.Context, d time.Duration) {
	select {
	case <-m.clock.After(d):
	case <-ctx.Done():
	}
}

// note keeps the last error of the engine, for who asks how it stands.
func (m *Member) note(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && (m.lastErr == nil || m.lastErr.Error() != err.Error()) && !errors.Is(err, context.Canceled) {
		m.logger.Warn("the cluster's directory", "error", err)
	}
	m.lastErr = err
}

// ask bounds one request. It is asked again soon: when the engine is back, the beat
// must be there before others count this node's silence.
func (m *Member) ask(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	late := m.clock.After(m.self.TTL / 4)
	go func() {
		select {
		case <-late:
			cancel(ErrLate)
		case <-ctx.Done():
		}
	}()

	return ctx, func() { cancel(nil) }
}

// ErrLate says that the directory did not answer in a quarter of a lease, as while its
// members elect a leader. What was asked for may have been done.
var ErrLate = errors.New("the directory does not answer in time")

// leave takes the session back.
func (m *Member) leave() {
	m.mu.Lock()
	session := m.revision
	m.revision, m.until = 0, 0
	m.mu.Unlock()
	if session == 0 {
		return
	}

	ask, done := m.ask(context.Background())
	defer done()
	if _, err := m.engine.Commit(ask, []Condition{{sessionKey(m.id), session}}, []Write{{Key: sessionKey(m.id)}, {Key: beatKey(m.id)}}); err != nil {
		m.logger.Info("leaving the cluster's directory: others wait for the lease's end", "error", err)
	}
}

// turns is how many turns the keys of a listing come in.
const turns = 3

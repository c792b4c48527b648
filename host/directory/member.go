package directory

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
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

// held is for how much of a lease its node holds it.
func held(ttl time.Duration) time.Duration { return ttl - ttl/8 }

// Observer hears what the directory says. Its methods are called one at a time
// and must not block.
type Observer interface {
	// DaemonChanged tells what is said of a daemon; nil: nothing any more. That nothing
	// is said does not mean that the daemon is no more.
	DaemonChanged(id identity.EntityID, e *Entry)

	// DaemonRemoved tells that a daemon was removed of which the directory says nothing
	// now. The signature is not checked.
	DaemonRemoved(r Removal)

	// NodeCame and NodeGone tell of sessions.
	NodeCame(n Node)
	NodeGone(id identity.NodeID)

	// NodeRemoved tells of a node that was removed: nobody is to trust it any more.
	NodeRemoved(n Node)

	// SessionBegan tells that this node has a session. All that was told by then is
	// at least as new as the session: of what this node owned, what is its own still
	// stays so while the session lasts.
	SessionBegan(session uint64)

	// LeaseChanged tells that the lease has ended, or that it runs again.
	LeaseChanged(held bool)
}

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

// seen is another node's session as it was seen last.
type seen struct {
	node    Node
	session int64
	beat    int64
	at      time.Duration // when the beat was seen, or the engine was away until
}

// Left reports whether the node was removed from the cluster, as the directory was heard
// last.
func (m *Member) Left(id identity.NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left[id]
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

// register asks for a session. One of an earlier life is waited for.
func (m *Member) register(ctx context.Context) error {
	var old int64 // beat of an earlier life, and since when it is the same
	var since time.Duration
	for {
		ask, done := m.ask(ctx)
		life, session, err := m.engine.Get(ask, sessionKey(m.id))
		var beat int64
		if err == nil {
			_, beat, err = m.engine.Get(ask, beatKey(m.id))
		}
		done()
		if err != nil {
			return err
		}
		now := m.clock.Now()
		ours := session != 0 && string(life) == string(m.life)
		if session == 0 || ours || beat == old && old != 0 && now-since >= m.self.TTL {
			return m.begin(ctx, session, beat)
		}
		if beat != old {
			if old != 0 {
				m.logger.Error("another process runs as this node", "node", m.id)
			}
			old, since = beat, now
		}
		m.pause(ctx, m.self.TTL/8)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (m *Member) begin(ctx context.Context, session, beat int64) error {
	record, err := m.self.encode()
	if err != nil {
		return err
	}
	ask, done := m.ask(ctx)
	defer done()
	sent := m.clock.Now()
	revision, err := m.engine.Commit(ask, []Condition{{sessionKey(m.id), session}, {beatKey(m.id), beat}, {removedKey(m.id), 0}},
		[]Write{{sessionKey(m.id), m.life}, {memberKey(m.id), record}, {beatKey(m.id), record}})
	if errors.Is(err, ErrConflict) {
		err = errors.Join(err, m.removed(ctx))
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.session++
	m.revision, m.beat, m.lastErr = revision, revision, nil
	m.extend(sent)
	return nil
}

// extend makes the lease run from a moment on. It needs m.mu.
func (m *Member) extend(sent time.Duration) {
	m.until = max(m.until, sent+held(m.self.TTL))
	now := m.clock.Now()
	// While the engine answers nobody, others could not beat either: their silence
	// until now says little.
	if now-m.beaten > m.self.TTL/2 {
		for _, s := range m.nodes {
			s.at = max(s.at, now-s.node.TTL/2)
		}
	}
	m.beaten = now
}

// beats keeps the session up until it is gone or ctx ends.
func (m *Member) beats(ctx context.Context, o Observer) {
	record, err := m.self.encode()
	if err != nil {
		m.note(err)
		return
	}
	pause := m.self.TTL / 5
	for {
		m.pause(ctx, pause)
		if ctx.Err() != nil {
			return
		}
		pause = m.self.TTL / 5
		m.mu.Lock()
		session := m.revision
		m.mu.Unlock()
		ask, done := m.ask(ctx)
		sent := m.clock.Now()
		revision, err := m.engine.Commit(ask, []Condition{{sessionKey(m.id), session}}, []Write{{beatKey(m.id), record}})
		done()
		m.note(err)
		if errors.Is(err, ErrConflict) {
			m.logger.Error("this node's session is over: others may answer for its daemons", "node", m.id)
			m.mu.Lock()
			m.revision, m.until = 0, 0
			m.mu.Unlock()
			m.tellLease(o)
			return
		}
		if err != nil {
			pause = m.self.TTL / 16
			continue
		}
		m.mu.Lock()
		m.beat = revision
		m.extend(sent)
		m.mu.Unlock()
		m.tellLease(o)
	}
}

// watchLease tells when the lease ends by itself.
func (m *Member) watchLease(ctx context.Context, o Observer) {
	for ctx.Err() == nil {
		m.pause(ctx, m.self.TTL/16)
		m.tellLease(o)
	}
}

func (m *Member) tellLease(o Observer) {
	m.telling.Lock()
	defer m.telling.Unlock()
	_, holds := m.Lease()
	if m.told == holds {
		return
	}
	m.told = holds
	o.LeaseChanged(holds)
}

// watchOthers removes the sessions of nodes that are silent for their lease.
func (m *Member) watchOthers(ctx context.Context) {
	for ctx.Err() == nil {
		m.pause(ctx, m.self.TTL/16)
		for id, s := range m.silent() {
			m.evict(ctx, id, s)
		}
	}
}

// silent returns the nodes whose lease has ended; none while this node's own
// does not hold.
func (m *Member) silent() map[identity.NodeID]seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	if m.revision == 0 || now >= m.until {
		return nil
	}
	out := make(map[identity.NodeID]seen)
	for id, s := range m.nodes {
		if id != m.id && s.session != 0 && s.beat != 0 && now-s.at >= s.node.TTL {
			out[id] = *s
		}
	}
	return out
}

func (m *Member) evict(ctx context.Context, id identity.NodeID, s seen) {
	m.mu.Lock()
	own := m.revision
	m.mu.Unlock()
	ask, done := m.ask(ctx)
	defer done()
	_, err := m.engine.Commit(ask, []Condition{{sessionKey(m.id), own}, {sessionKey(id), s.session}, {beatKey(id), s.beat}},
		[]Write{{Key: sessionKey(id)}, {Key: beatKey(id)}})
	switch {
	case err == nil:
		m.logger.Warn("a node's lease has ended", "node", id, "name", s.node.Name)
	case errors.Is(err, ErrConflict): // another was faster, or it spoke
	default:
		m.note(err)
	}
}

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

// watch follows the directory for one session.
func (m *Member) watch(ctx context.Context, o Observer) {
	began := false
	for ctx.Err() == nil {
		l := &listing{m: m, o: o, fresh: make(map[string]*Change)}
		err := m.engine.Watch(ctx, "", func(c *Change) {
			l.take(c)
			if l.fresh == nil && !began {
				began = true
				m.mu.Lock()
				session := m.session
				m.mu.Unlock()
				m.telling.Lock()
				o.SessionBegan(session)
				m.telling.Unlock()
				m.tellLease(o)
			}
		})
		if ctx.Err() == nil {
			m.note(err)
			m.pause(ctx, m.self.TTL/16)
		}
	}
}

// listing gathers all keys, and then hands on changes.
type listing struct {
	m     *Member
	o     Observer
	fresh map[string]*Change // nil: all are there
}

func (l *listing) take(c *Change) {
	switch {
	case c == nil:
		fresh := l.fresh
		l.fresh = nil
		l.m.mu.Lock()
		var gone []string
		for id, e := range l.m.daemons {
			if k := daemonKey(e.Entity); fresh[k] == nil {
				gone = append(gone, daemonKey(id))
			}
		}
		for id, s := range l.m.nodes {
			if s.session != 0 && fresh[sessionKey(id)] == nil {
				gone = append(gone, sessionKey(id))
			}
		}
		for id := range l.m.members {
			if fresh[memberKey(id)] == nil {
				gone = append(gone, memberKey(id))
			}
		}
		for id := range l.m.grants {
			if fresh[grantedKey(id)] == nil {
				gone = append(gone, grantedKey(id))
			}
		}
		for id := range l.m.gone {
			if fresh[goneKey(id)] == nil {
				gone = append(gone, goneKey(id))
			}
		}
		for name := range l.m.groups {
			if fresh[groupKey(name)] == nil {
				gone = append(gone, groupKey(name))
			}
		}
		l.m.mu.Unlock()
		for _, k := range gone {
			l.m.see(l.o, &Change{Key: k})
		}
		for turn := range turns {
			for k, c := range fresh {
				if turnOf(k) == turn {
					l.m.see(l.o, c)
				}
			}
		}
	case l.fresh != nil:
		l.fresh[c.Key] = &Change{Key: c.Key, Value: c.Value, Revision: c.Revision}
	default:
		l.m.see(l.o, c)
	}
}

// turns is how many turns the keys of a listing come in.
const turns = 3

// turnOf returns in which turn a listing's key is taken in: what a node was granted
// before the node itself, and removals once all daemons are known.
func turnOf(key string) int {
	switch {
	case strings.HasPrefix(key, "granted/"):
		return 0
	case strings.HasPrefix(key, "gone/"):
		return 2
	default:
		return 1
	}
}

// see takes one change into what is known, and tells of it.
func (m *Member) see(o Observer, c *Change) {
	kind, name, _ := strings.Cut(c.Key, "/")
	switch kind {
	case "daemon":
		m.seeDaemon(o, name, c)
		return
	case "gone":
		m.seeRemoval(o, name, c)
		return
	case "group":
		m.seeGroup(name, c)
		return
	case "name", "life":
		return // it is asked for when it matters
	}
	id, err := identity.ParseNodeID(name)
	if err != nil {
		m.logger.Warn("the directory holds a key that is none of ours", "key", c.Key)
		return
	}
	switch kind {
	case "removed":
		m.seeRemoved(o, id, c)
		return
	case "granted":
		m.seeGrant(id, c)
		return
	}
	m.mu.Lock()
	s := m.nodes[id]
	if s == nil {
		s = &seen{}
		m.nodes[id] = s
	}
	was := s.session != 0 && s.node.TTL != 0
	switch kind {
	case "session":
		if s.session = c.Revision; c.Value == nil {
			s.session = 0
		}
		s.at = m.clock.Now()
	case "beat", "member":
		n, err := Node{}, error(nil)
		if c.Value != nil {
			if n, err = decodeNode(c.Value); err == nil && n.ID() != id {
				err = ErrBadRecord
			}
		}
		if err != nil {
			m.mu.Unlock()
			m.logger.Error("the directory's record of a node", "node", id, "error", err)
			return
		}
		if kind == "member" {
			if m.members[id] = n; c.Value == nil {
				delete(m.members, id)
			}
			break
		}
		if c.Value == nil {
			s.beat = 0
		} else if c.Revision != s.beat {
			s.node, s.beat, s.at = n, c.Revision, m.clock.Now()
		}
	}
	is, node := s.session != 0 && s.node.TTL != 0, s.node
	if s.session == 0 && s.beat == 0 {
		delete(m.nodes, id)
	}
	m.mu.Unlock()
	if was == is {
		return
	}
	m.telling.Lock()
	defer m.telling.Unlock()
	if is {
		o.NodeCame(node)
	} else {
		o.NodeGone(id)
	}
}

func (m *Member) seeRemoved(o Observer, id identity.NodeID, c *Change) {
	m.mu.Lock()
	if m.left[id] = true; c.Value == nil {
		delete(m.left, id)
	}
	m.mu.Unlock()
	if c.Value == nil {
		return // let in again, it shows by its session
	}
	n, err := decodeNode(c.Value)
	if err != nil || removedKey(n.ID()) != c.Key {
		m.logger.Error("the directory's record of a node that was removed", "key", c.Key, "error", errors.Join(err, ErrBadRecord))
		return
	}
	m.telling.Lock()
	defer m.telling.Unlock()
	o.NodeRemoved(n)
}

func (m *Member) seeDaemon(o Observer, name string, c *Change) {
	id, err := identity.ParseEntityID(name)
	var e *Entry
	if err == nil && c.Value != nil {
		var d Daemon
		if d, err = decodeDaemon(c.Value); err == nil && d.Entity != id {
			err = ErrBadRecord
		}
		e = &Entry{d, c.Revision}
	}
	if err != nil {
		m.logger.Error("the directory's record of a daemon", "key", c.Key, "error", err)
		return
	}
	m.mu.Lock()
	if old, ok := m.daemons[id]; ok && e != nil && old.Revision >= e.Revision {
		m.mu.Unlock()
		return
	}
	m.disown(id)
	if e != nil {
		m.daemons[id] = *e
		m.owned[e.Owner]++
	}
	m.mu.Unlock()
	m.telling.Lock()
	defer m.telling.Unlock()
	o.DaemonChanged(id, e)
}

// disown forgets a daemon. It needs m.mu.
func (m *Member) disown(id identity.EntityID) {
	old, ok := m.daemons[id]
	if !ok {
		return
	}
	delete(m.daemons, id)
	if m.owned[old.Owner]--; m.owned[old.Owner] == 0 {
		delete(m.owned, old.Owner)
	}
}

package subscriber

import (
	"context"
	"fmt"
	"sync"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

type subscriptionKey struct {
	publisher identity.NodeID
	name      string
}

// subscription is one channel's stream of events to this node. Its newest events are kept in a
// ring, from which the daemons take them at their own pace; whoever is behind
// the ring fetches what it lacks. The ring takes more as the fastest goes on.
type subscription struct {
	of   *Subscriber
	key  subscriptionKey
	kick chan struct{} // something is to be tried at once

	sending sync.Mutex // one goroutine sends at a time

	mu      sync.Mutex
	at      identity.NodeID // whom the feed comes from
	conn    channel.Conn    // nil: there is none
	members map[identity.EntityID]*member
	ring    []ringEntry
	bytes   int
	next    uint64 // the event that the feed brings next; 0: not known
	owed    int    // bytes of room that the publisher has not been told of
	head    uint64
	changed chan struct{} // closed, and replaced, when any of this changes
	ended   bool
}

// memberState is where a member stands with the publisher.
type memberState int

const (
	memberConnecting memberState = iota
	memberLive
	memberRefused
)

// String returns the state as users see it.
func (s memberState) String() string { return [...]string{"connecting", "live", "refused"}[s] }

// member is a daemon that a subscription is for. Its fields are guarded by the
// subscription's lock.
type member struct {
	in      *subscription
	entity  identity.EntityID
	token   []byte
	source  identity.EntityID // zero: it is new
	cursor  uint64
	state   memberState
	err     error // why it is not live
	expires time.Time
	begun   bool              // its events are delivered
	gone    bool              // it is no member any more
	lingers bool              // its daemon has moved on, and is not bound there yet
	leaving bool              // it is to be let go of
	answer  chan memberAnswer // to whoever waits for one; else nil
	renewed *channel.Accepted // the channel is another now
	retry   time.Time         // when a refused one is to ask again
	pause   time.Duration     // until it asks once more after that

	reported uint64      // cursor that the publisher knows
	settled  uint64      // cursor once durable is
	durable  func() bool // reports whether settled is; nil: it is
}

type memberAnswer struct {
	accepted *channel.Accepted
	err      error
}

// Bounds and pauses of subscriptions.
const (
	ringBytes     = channel.WindowBytes
	grantBytes    = ringBytes / 16
	refusedFirst  = 5 * time.Second
	refusedMost   = time.Minute
	reportEvery   = time.Second
	answerTimeout = 15 * time.Second
	maxMoves      = 8 // in a row, before it waits
)

// streamRetry spaces the tries to connect a feed again, or to give a daemon its next event.
var streamRetry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

// enlist returns the daemon's membership, making it, and the subscription, where
// needed. fresh says that it was made.
func (s *Subscriber) enlist(id identity.EntityID, b channel.Binding) (m *member, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := subscriptionKey{b.Publisher, b.Channel}
	in := s.subscriptions[key]

	if in == nil {
		in = &subscription{of: s, key: key, at: b.Publisher, members: make(map[identity.EntityID]*member),
			kick: make(chan struct{}, 1), changed: make(chan struct{})}
		if !s.env.Background(in.run) {
			return nil, false, daemon.ErrShuttingDown
		}
		s.subscriptions[key] = in
	}

	in.mu.Lock()
	defer in.mu.Unlock()
	if m = in.members[id]; m != nil && !m.lingers {
		return m, false, nil
	}

	m = &member{in: in, entity: id, token: b.Token, source: b.Source, cursor: b.Cursor}
	in.members[id] = m
	return m, true, nil
}

// join asks the publisher to accept the daemon with the binding's token, and
// waits for its answer. A daemon that was a member stays one, whatever that is.
func (s *Subscriber) join(ctx context.Context, id identity.EntityID, b channel.Binding) (*member, *channel.Accepted, error) {
	m, fresh, err := s.enlist(id, b)
	if err != nil {
		return nil, nil, err
	}

	in := m.in
	in.mu.Lock()
	old := m.token
	m.token = b.Token
	in.mu.Unlock()
	a := in.ask(ctx, m)
	if a.err != nil {
		if fresh {
			s.leave(m)
		} else {
			in.mu.Lock()
			m.token = old
			in.mu.Unlock()
		}
		return nil, nil, fmt.Errorf("subscribing to %q of node %s: %w", b.Channel, b.Publisher, a.err)
	}

	return m, a.accepted, nil
}

// release has the publisher let go of the daemon. One that is no member is
// let go of already.
func (s *Subscriber) release(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string) error {
	in := s.get(publisher, name)
	if in == nil {
		return nil
	}

	in.mu.Lock()
	m := in.members[id]
	if m != nil {
		m.leaving = true
	}
	in.mu.Unlock()

	if m == nil {
		return nil
	}

	if a := in.ask(ctx, m); a.err != nil {
		in.mu.Lock()
		m.leaving = false
		in.mu.Unlock()
		in.resubscribe(m)
		return fmt.Errorf("unsubscribing from %q of node %s: %w", name, publisher, a.err)
	}

	s.leave(m)
	return nil
}

// begin delivers the member's events from now on.
func (m *member) begin() {
	in := m.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if !m.begun && !m.gone {
		m.begun = in.of.env.Background(m.pump)
	}
}

// leave takes the member off its subscription, which ends with its last one. The
// publisher is told where that is possible.
func (s *Subscriber) leave(m *member) {
	in := m.in
	s.mu.Lock()
	in.mu.Lock()
	if in.members[m.entity] == m {
		delete(in.members, m.entity)
	}

	m.gone = true
	m.reply(memberAnswer{err: ErrNotSubscribed})
	conn := in.conn
	if len(in.members) == 0 && s.subscriptions[in.key] == in {
		delete(s.subscriptions, in.key)
		in.ended = true
	}

	ended := in.ended
	in.wake()
	in.mu.Unlock()
	s.mu.Unlock()
	in.poke()

	if conn != nil && !ended {
		go func() {
			err := in.sendIf(conn, &channel.Unsubscribe{Entity: m.entity}, func() bool { return in.members[m.entity] == nil })
			if err != nil {
				in.of.env.Logger.Debug("unsubscribing", "channel", in.key.name, "error", err)
			}
		}()
	}
}

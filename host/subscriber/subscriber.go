package subscriber

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/identity"
)

// Ledgers keep which channels this node's daemons are subscribed to, and where
// they stand. Methods are called concurrently.
type Ledgers interface {
	// Change begins to change the daemon's subscriptions, which one caller does at a time:
	// it calls end. b is that to the channel; nil: there is none. Errors: *NotFoundError,
	// *MovedError, that the node takes no requests; channel.ErrLedgerFull where one is to
	// be added and may not be.
	Change(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string, add bool) (b *channel.Binding, end func(), err error)

	// Bind records a subscription, durably, in a change. With keep, one that has gone on
	// meanwhile from the same source keeps its cursor.
	Bind(ctx context.Context, id identity.EntityID, b channel.Binding, keep bool) error

	// Unbind forgets a subscription, durably, in a change.
	Unbind(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string) error

	// Bindings returns the daemon's subscriptions, or what they were when the daemon was
	// last not busy.
	Bindings(id identity.EntityID) ([]channel.Binding, error)

	// Residence returns the daemon's word that it is on this node; nil where its key is
	// not here.
	Residence(ctx context.Context, id identity.EntityID) ([]byte, error)
}

// Daemons take the events of channels. cursor is the last event that the daemon has now,
// or failed on; 0 with an error: it took none. durable reports whether that is durable;
// nil: it is. ErrNotSubscribed where the daemon is not subscribed to the source. Methods
// are called by one goroutine for each daemon and channel.
type Daemons interface {
	// Deliver has the daemon process events that follow one another, from the first on,
	// without those that it has, as many as its turn takes.
	Deliver(ctx context.Context, id, source identity.EntityID, first uint64, events []byte) (cursor uint64, durable func() bool, err error)

	// DeliverGap tells the daemon that the events up to the last are lost.
	DeliverGap(ctx context.Context, id, source identity.EntityID, last uint64) (cursor uint64, durable func() bool, err error)

	// Rebind goes on with a channel that was made anew, from where its publisher
	// accepted the daemon, and tells the daemon that it missed something.
	Rebind(ctx context.Context, id, old identity.EntityID, a *channel.Accepted) error
}

// Peers are the nodes that publish, this one included.
type Peers interface {
	// OpenChannel opens a stream to a node. The caller aborts it.
	OpenChannel(ctx context.Context, node identity.NodeID) (channel.Conn, error)
}

// ErrNotSubscribed says that a daemon is not, or no longer, subscribed.
var ErrNotSubscribed = errors.New("the daemon is not subscribed to the channel")

// Subscriber has the subscriptions of this node's daemons. For each channel there is one
// subscription, whatever the number of daemons: its events come to the node once. It is
// safe for concurrent use.
type Subscriber struct {
	env     *env.Env
	ledgers Ledgers
	daemons Daemons
	peers   Peers

	mu            sync.Mutex // before subscription.mu
	subscriptions map[subscriptionKey]*subscription
}

// New returns a subscriber without subscriptions.
func New(e *env.Env, l Ledgers, d Daemons, p Peers) *Subscriber {
	return &Subscriber{env: e, ledgers: l, daemons: d, peers: p, subscriptions: make(map[subscriptionKey]*subscription)}
}

// Info is one of a daemon's subscriptions, and where it stands.
type Info struct {
	Publisher identity.NodeID
	Channel   string
	Token     []byte // as it was presented; empty: none
	Cursor    uint64 // sequence of the last event that the daemon applied, or failed on
	Head      uint64 // sequence of the channel's newest event, as far as is known
	State     string // live, connecting or refused
	Reason    string // why it is not live
	Code      channel.Code
	Expires   time.Time // when the token expires; zero: never
}

// Lag returns how many events the daemon has still to get, as far as is known.
func (s *Info) Lag() uint64 { return s.Head - min(s.Cursor, s.Head) }

// Subscribe subscribes the daemon to a channel of a node, this one
// included, from the next event on. token is what identity.TokenChain.Bytes
// gives; nil for a channel that asks for none. It is recorded once the channel's
// node has accepted it; a subscription that is there goes on from where it is,
// with the new token. On an error nothing has changed. Errors: *NotFoundError,
// *MovedError, those of malformed tokens and names, mesh.ErrUnreachable,
// mesh.ErrUnknownNode, and the channel's: a *channel.Refusal.
func (s *Subscriber) Subscribe(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string, token []byte) error {
	old, end, err := s.ledgers.Change(ctx, id, publisher, name, true)
	if err != nil {
		return err
	}

	defer end()
	if len(token) > 0 {
		if _, err := identity.ParseTokenChain(token); err != nil {
			return err
		}
	}

	b := channel.Binding{Publisher: publisher, Channel: name, Token: bytes.Clone(token)}
	if old != nil {
		b.Source, b.Cursor = old.Source, old.Cursor
	}

	m, accepted, err := s.join(ctx, id, b)
	if err != nil {
		return err
	}

	fresh := old == nil
	if fresh {
		b.Cursor = accepted.After
	}

	b.Source = accepted.Source
	if err := s.ledgers.Bind(ctx, id, b, !fresh); err != nil {
		if fresh {
			s.leave(m)
		}
		return err
	}

	m.begin()
	return nil
}

// Unsubscribe ends a subscription. It is forgotten once the channel's
// node has let go of it; on an error nothing has changed. One that is not there
// is no error.
func (s *Subscriber) Unsubscribe(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string) error {
	b, end, err := s.ledgers.Change(ctx, id, publisher, name, false)
	if err != nil {
		return err
	}

	defer end()
	if b == nil {
		return nil
	}

	if err := s.release(ctx, id, publisher, name); err != nil {
		return err
	}
	return s.ledgers.Unbind(ctx, id, publisher, name)
}

// Of returns the daemon's subscriptions, by publisher and channel. *NotFoundError,
// *MovedError.
func (s *Subscriber) Of(id identity.EntityID) ([]Info, error) {
	list, err := s.ledgers.Bindings(id)
	if err != nil {
		return nil, err
	}

	out := make([]Info, 0, len(list))
	for _, b := range list {
		one := Info{Publisher: b.Publisher, Channel: b.Channel, Token: bytes.Clone(b.Token), Cursor: b.Cursor, Head: b.Cursor, State: memberConnecting.String()}
		s.describe(id, &one)
		out = append(out, one)
	}

	return out, nil
}

// describe says where a subscription stands.
func (s *Subscriber) describe(id identity.EntityID, one *Info) {
	in := s.get(one.Publisher, one.Channel)
	if in == nil {
		return
	}

	in.mu.Lock()
	defer in.mu.Unlock()
	m := in.members[id]
	if m == nil {
		return
	}

	one.Cursor = max(one.Cursor, m.cursor)
	one.State, one.Head, one.Expires = m.state.String(), max(in.head, one.Cursor), m.expires
	if m.err != nil {
		one.Reason, one.Code = m.err.Error(), channel.CodeOf(m.err)
	}
}

// get returns the subscription to a channel; nil: there is none.
func (s *Subscriber) get(publisher identity.NodeID, name string) *subscription {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subscriptions[subscriptionKey{publisher, name}]
}

// Start goes on with the daemon's subscriptions. The caller may have the daemon's lock.
func (s *Subscriber) Start(id identity.EntityID, list []channel.Binding) {
	for _, b := range list {
		m, _, err := s.enlist(id, b)
		if err != nil {
			return // the runtime is shutting down
		}
		m.begin()
		m.in.poke()
		m.in.resubscribe(m)
	}
}

// LeaveAll ends what a daemon hears that is gone from here. The caller may have the
// daemon's lock.
func (s *Subscriber) LeaveAll(id identity.EntityID) {
	for _, m := range s.members(id, func(*member) {}) {
		s.leave(m)
	}
}

// Linger stops what the daemon hears here, and leaves it on its streams until leave is
// called: once it is bound where it went. One that comes back meanwhile goes on.
func (s *Subscriber) Linger(id identity.EntityID) (leave func()) {
	list := s.members(id, func(m *member) {
		m.lingers = true
		m.in.wake()
	})
	return func() {
		for _, m := range list {
			s.leave(m)
		}
	}
}

// members returns the daemon's memberships, once do was called for each with its
// subscription's lock.
func (s *Subscriber) members(id identity.EntityID, do func(*member)) []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*member

	for _, in := range s.subscriptions {
		in.mu.Lock()
		if m := in.members[id]; m != nil {
			do(m)
			out = append(out, m)
		}
		in.mu.Unlock()
	}

	return out
}

package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost/host/backoff"
	"wasmhost/host/channel"
	"wasmhost/host/daemon"
	"wasmhost/host/internal/env"
	"wasmhost/host/mesh"
	"wasmhost/identity"
)

// subscriptions is what this node's daemons hear. For each channel there is one
// hearing, whatever the number of daemons: its events come to the node once.
type subscriptions struct {
	rt  *Runtime
	env *env.Env

	mu       sync.Mutex
	hearings map[hearingKey]*hearing
}

type hearingKey struct {
	publisher identity.NodeID
	name      string
}

func newSubscriptions(r *Runtime) *subscriptions {
	return &subscriptions{rt: r, env: r.env, hearings: make(map[hearingKey]*hearing)}
}

// hearing is one channel's feed to this node. Its newest events are kept in a
// ring, from which the daemons take them at their own pace; whoever is behind
// the ring fetches what it lacks. The ring takes more as the fastest goes on.
type hearing struct {
	subs *subscriptions
	rt   *Runtime
	env  *env.Env
	key  hearingKey
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

// ringEntry is some events, or a gap.
type ringEntry struct {
	first, last uint64
	events      []byte // nil: they are lost
}

// States of a member.
const (
	memberConnecting = iota
	memberLive
	memberRefused
)

var subscriptionStates = [...]string{"connecting", "live", "refused"}

// member is a daemon that a hearing is for. Its fields are guarded by the
// hearing's lock.
type member struct {
	in      *hearing
	entity  identity.EntityID
	token   []byte
	source  identity.EntityID // zero: it is new
	cursor  uint64
	state   int
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

	reported uint64 // cursor that the publisher knows
	settled  uint64 // cursor once durable is
	durable  *ticket
}

type memberAnswer struct {
	accepted *channel.Accepted
	err      error
}

// Bounds and pauses of hearings.
const (
	ringBytes     = channel.WindowBytes
	grantBytes    = ringBytes / 16
	refusedFirst  = 5 * time.Second
	refusedMost   = time.Minute
	reportEvery   = time.Second
	answerTimeout = 15 * time.Second
	mostHops      = 8 // in a row, before it waits
)

// hearingRetry spaces the tries to connect a feed again, or to give a daemon its next event.
var hearingRetry = backoff.Policy{First: 50 * time.Millisecond, Most: 5 * time.Second}

// enlist returns the daemon's membership, making it, and the hearing, where
// needed. fresh says that it was made.
func (s *subscriptions) enlist(id identity.EntityID, b channel.Binding) (m *member, fresh bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := hearingKey{b.Publisher, b.Channel}
	in := s.hearings[key]
	if in == nil {
		if !s.env.Work.Begin() {
			return nil, false, daemon.ErrShuttingDown
		}
		in = &hearing{subs: s, rt: s.rt, env: s.env, key: key, at: b.Publisher, members: make(map[identity.EntityID]*member),
			kick: make(chan struct{}, 1), changed: make(chan struct{})}
		s.hearings[key] = in
		go func() {
			defer s.env.Work.Done()
			in.run(s.env.Context)
		}()
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
func (s *subscriptions) join(ctx context.Context, id identity.EntityID, b channel.Binding) (*member, *channel.Accepted, error) {
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

// unsubscribe has the publisher let go of the daemon. One that is no member is
// let go of already.
func (s *subscriptions) unsubscribe(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string) error {
	s.mu.Lock()
	in := s.hearings[hearingKey{publisher, name}]
	s.mu.Unlock()
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

// ask sends what the member has to say and waits for the answer.
func (in *hearing) ask(ctx context.Context, m *member) memberAnswer {
	answer := make(chan memberAnswer, 1)
	in.mu.Lock()
	m.answer = answer
	conn := in.conn
	in.mu.Unlock()
	if conn != nil {
		go in.say(conn, m)
	} else {
		in.poke()
	}
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	var a memberAnswer
	select {
	case a = <-answer:
		return a
	case <-ctx.Done():
		a.err = context.Cause(ctx)
	case <-in.env.Context.Done():
		a.err = daemon.ErrShuttingDown
	case <-timer.C:
		a.err = fmt.Errorf("%w: node %s does not answer", mesh.ErrUnreachable, in.key.publisher)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if m.answer == answer {
		m.answer = nil
	}
	return a
}

// reply answers whoever waits. It needs in.mu.
func (m *member) reply(a memberAnswer) {
	if m.answer != nil {
		m.answer <- a
		m.answer = nil
	}
}

func (in *hearing) poke() {
	select {
	case in.kick <- struct{}{}:
	default:
	}
}

// wake needs in.mu.
func (in *hearing) wake() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// resubscribe says again what the member has to say, where there is a
// connection.
func (in *hearing) resubscribe(m *member) {
	in.mu.Lock()
	conn := in.conn
	in.mu.Unlock()
	if conn != nil {
		go in.say(conn, m)
	}
}

// begin delivers the member's events from now on.
func (m *member) begin() {
	in := m.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if m.begun || m.gone || !in.env.Work.Begin() {
		return
	}
	m.begun = true
	go func() {
		defer in.env.Work.Done()
		m.pump(in.env.Context)
	}()
}

// leave takes the member off its hearing, which ends with its last one. The
// publisher is told where that is possible.
func (s *subscriptions) leave(m *member) {
	in := m.in
	s.mu.Lock()
	in.mu.Lock()
	if in.members[m.entity] == m {
		delete(in.members, m.entity)
	}
	m.gone = true
	m.reply(memberAnswer{err: errUnbound})
	conn := in.conn
	if len(in.members) == 0 && s.hearings[in.key] == in {
		delete(s.hearings, in.key)
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
				in.env.Logger.Debug("unsubscribing", "channel", in.key.name, "error", err)
			}
		}()
	}
}

// leaveAll takes a daemon that is gone from here off everything.
func (s *subscriptions) leaveAll(id identity.EntityID) {
	s.mu.Lock()
	var out []*member
	for _, in := range s.hearings {
		in.mu.Lock()
		if m := in.members[id]; m != nil {
			out = append(out, m)
		}
		in.mu.Unlock()
	}
	s.mu.Unlock()
	for _, m := range out {
		s.leave(m)
	}
}

// linger stops what the daemon hears here, and leaves it on its feeds: the
// members are to be taken off them when it is bound where it went. One that
// comes back meanwhile takes their place.
func (s *subscriptions) linger(id identity.EntityID) []*member {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*member
	for _, in := range s.hearings {
		in.mu.Lock()
		if m := in.members[id]; m != nil {
			m.lingers = true
			in.wake()
			out = append(out, m)
		}
		in.mu.Unlock()
	}
	return out
}

// start goes on with what a ledger has.
func (s *subscriptions) start(id identity.EntityID, list []channel.Binding) {
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

// startAll goes on with the subscriptions of all daemons that serve here.
func (s *subscriptions) startAll() {
	s.rt.mu.RLock()
	all := make([]*hosted, 0, len(s.rt.daemons))
	for _, d := range s.rt.daemons {
		all = append(all, d)
	}
	s.rt.mu.RUnlock()
	for _, d := range all {
		if d.unread.Load() {
			continue // they go on when it is read
		}
		d.mu.Lock()
		list := d.ledger.All()
		serves := d.life.State().Serves()
		d.mu.Unlock()
		if serves {
			s.start(d.id, list)
		}
	}
}

// describe says where a subscription stands.
func (s *subscriptions) describe(id identity.EntityID, sub *Subscription) {
	s.mu.Lock()
	in := s.hearings[hearingKey{sub.Publisher, sub.Channel}]
	s.mu.Unlock()
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	m := in.members[id]
	if m == nil {
		return
	}
	sub.Cursor = max(sub.Cursor, m.cursor)
	sub.State, sub.Head, sub.Expires = subscriptionStates[m.state], max(in.head, sub.Cursor), m.expires
	if m.err != nil {
		sub.Reason, sub.Code = m.err.Error(), channel.CodeOf(m.err)
	}
}

func (in *hearing) send(conn channel.Conn, m channel.Message) error {
	in.sending.Lock()
	defer in.sending.Unlock()
	return errors.Join(conn.Send(m), conn.Flush())
}

// sendIf sends the message where cond, which is called with in.mu, still holds:
// what is said of one daemon by several goroutines comes in an order that ends
// in what is so.
func (in *hearing) sendIf(conn channel.Conn, m channel.Message, cond func() bool) error {
	in.sending.Lock()
	defer in.sending.Unlock()
	in.mu.Lock()
	ok := cond()
	in.mu.Unlock()
	if !ok {
		return nil
	}
	return errors.Join(conn.Send(m), conn.Flush())
}

// say tells the publisher what the member wants of it.
func (in *hearing) say(conn channel.Conn, m *member) {
	if !in.env.Work.Begin() {
		return
	}
	defer in.env.Work.Done()
	in.mu.Lock()
	leaving, gone := m.leaving, m.gone
	sub := &channel.Subscribe{Entity: m.entity, Token: m.token, Source: m.source, After: m.cursor}
	in.mu.Unlock()
	var err error
	switch {
	case gone:
		return
	case leaving:
		err = in.sendIf(conn, &channel.Unsubscribe{Entity: m.entity}, func() bool { return in.members[m.entity] == m && m.leaving })
	default:
		if len(sub.Token) > 0 {
			if sub.Residence, err = in.rt.residence(in.env.Context, m.entity); err != nil {
				in.mu.Lock()
				m.reply(memberAnswer{err: err})
				m.err = err
				in.mu.Unlock()
				return
			}
		}
		err = in.sendIf(conn, sub, func() bool { return in.members[m.entity] == m && !m.leaving })
	}
	if err != nil {
		in.env.Logger.Debug("a channel's connection broke", "channel", in.key.name, "error", err)
	}
}

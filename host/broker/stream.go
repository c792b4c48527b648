package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// Stream is one channel's events on their way to one node: whatever the number
// of its daemons that hear them, each event is sent once. One goroutine receives, one sends.
type Stream struct {
	broker *Broker
	from   identity.NodeID
	may    mesh.ChannelAccess
	name   string
	src    source

	sending sync.Mutex // one goroutine sends at a time
	conn    channel.Conn

	mu      sync.Mutex
	members map[identity.EntityID]*subscriber
	next    uint64        // the event that is sent next; 0: nobody was accepted yet
	room    int64         // bytes of events that may still be sent
	stale   bool          // tokens are to be checked again
	poke    chan struct{} // one of these has changed
}

// subscriber is a daemon that a feed is for.
type subscriber struct {
	permission
	cursor uint64
}

// ServeOpen sends a channel's events to a node until its stream ends.
func (b *Broker) ServeOpen(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, conn channel.Conn, m *channel.Open) error {
	src, err := b.sourceOf(m.Channel)
	if err != nil {
		return err
	}

	defer src.close()
	s := &Stream{broker: b, from: from, may: may, name: m.Channel, src: src, conn: conn, members: make(map[identity.EntityID]*subscriber),
		room: channel.WindowBytes, poke: make(chan struct{}, 1)}
	b.mu.Lock()
	b.streams[s] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.streams, s)
		b.mu.Unlock()
	}()

	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		err := s.send(ctx)
		if ctx.Err() == nil {
			s.end(err)
			cancel(err)
		}
	}()

	err = s.receive()
	conn.Abort()
	cancel(err)
	<-done
	b.env.Logger.Debug("a feed ended", "channel", m.Channel, "node", from, "error", context.Cause(ctx))
	return nil
}

// end says why nothing more comes, and leaves the other side some time to read
// it.
func (s *Stream) end(why error) {
	if err := s.tell(s.broker.cfg.LastWord(why)); err != nil {
		s.broker.env.Logger.Debug("ending a feed", "node", s.from, "error", err)
	}
	time.AfterFunc(closeTimeout, s.conn.Abort)
}

// closeTimeout is how long who was told that a stream is over has to close it.
const closeTimeout = 5 * time.Second

func (s *Stream) tell(m channel.Message) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return errors.Join(s.conn.Send(m), s.conn.Flush())
}

// receive answers what the subscribing node says.
func (s *Stream) receive() error {
	for {
		msg, err := s.conn.Recv()
		if err != nil {
			return err
		}

		switch msg := msg.(type) {
		case *channel.Subscribe:
			err = s.subscribe(msg)
		case *channel.Unsubscribe:
			s.mu.Lock()
			delete(s.members, msg.Entity)
			s.mu.Unlock()
			err = s.tell(&channel.Released{Entity: msg.Entity})

		case *channel.Cursors:
			s.mu.Lock()
			for _, c := range msg.List {
				if m := s.members[c.Entity]; m != nil {
					m.cursor = max(m.cursor, c.Sequence)
				}
			}
			s.mu.Unlock()

		case *channel.Window:
			s.mu.Lock()
			s.room = min(s.room+int64(msg.Bytes), channel.WindowBytes)
			s.mu.Unlock()
			s.wake()

		default:
			err = fmt.Errorf("%w: a %T on a feed", channel.ErrBadMessage, msg)
		}

		if err != nil {
			return err
		}
	}
}

func (s *Stream) wake() {
	select {
	case s.poke <- struct{}{}:
	default:
	}
}

// subscribe puts a daemon on the feed, or says why not.
func (s *Stream) subscribe(m *channel.Subscribe) error {
	p, err := s.admit(m)
	if err != nil {
		return s.tell(channel.Refuse(m.Entity, err)) // where it was accepted before, that holds as long as its token does
	}

	after := m.After
	switch source := s.src.id(); {
	case m.Source.IsZero():
		after = s.src.head()
	case m.Source != source:
		if log, ok := s.src.(logSource); ok {
			if until, ok := log.c.sameUntil(m.Source[:]); ok { // it heard this one, before the node was restored
				after = min(after, until)
				break
			}
		}
		after = s.src.first() - 1 // it heard another channel of this name: all of this one is new to it

	default:
		after = min(after, s.src.head())
	}

	reply := &channel.Accepted{Entity: m.Entity, Source: s.src.id(), After: after}
	if p.chain != nil {
		reply.Expires = p.expires.Unix()
	}

	s.broker.supersede(s, m.Entity, p.epoch)
	s.mu.Lock()
	_, known := s.members[m.Entity]
	s.members[m.Entity] = &subscriber{permission: *p, cursor: after}
	if s.next == 0 || len(s.members) == 1 && s.members[m.Entity] != nil && !known {
		s.next = after + 1
	}

	s.stale = true
	reply.Next = s.next
	s.mu.Unlock()
	s.wake()
	return s.tell(reply)
}

func (s *Stream) admit(m *channel.Subscribe) (*permission, error) {
	b := s.broker
	if err := b.Attempt(s.from); err != nil {
		return nil, err
	}

	s.mu.Lock()
	_, known := s.members[m.Entity]
	full := !known && len(s.members) >= maxSubscribers
	s.mu.Unlock()
	if full {
		return nil, fmt.Errorf("%w: %d daemons of node %s", channel.ErrTooMany, maxSubscribers, s.from)
	}

	policy, err := b.policy(s.name)
	if err != nil {
		return nil, err
	}

	may := s.may
	if _, ok := channel.IsOutputs(s.name); ok && len(m.Token) == 0 && may&mesh.AccessOutputs != 0 {
		policy, may = &Policy{}, mesh.AccessChannels
	}

	p, err := b.permit(policy, s.name, s.from, may, m.Entity, m.Token, m.Residence, identity.ScopeSubscribe)
	if err == nil && p.epoch > 0 {
		err = b.notSuperseded(s, m.Entity, p.epoch)
	}

	b.Attempted(s.from, err != nil)
	return p, err
}

// expel takes off the feed whose token holds no longer, and returns when the
// next one expires; zero: none does.
func (s *Stream) expel() (next time.Time, err error) {
	var out []channel.Message
	s.mu.Lock()
	for id, m := range s.members {
		if m.chain == nil {
			continue
		}

		if err := s.broker.verifier.Recheck(m.chain, m.use); err != nil {
			delete(s.members, id)
			out = append(out, channel.Refuse(id, err))
		} else if next.IsZero() || m.expires.Before(next) {
			next = m.expires
		}
	}
	s.mu.Unlock()

	for _, m := range out {
		if err := s.tell(m); err != nil {
			return next, err
		}
	}

	return next, nil
}

// send sends events while there is anybody to hear them.
func (s *Stream) send(ctx context.Context) error {
	var expires time.Time
	for {
		s.mu.Lock()
		stale := s.stale
		s.stale = false
		s.mu.Unlock()

		if stale || !expires.IsZero() && !s.broker.env.Clock().Before(expires) {
			var err error
			if expires, err = s.expel(); err != nil {
				return err
			}
		}

		s.mu.Lock()
		next, idle := s.next, s.next == 0 || len(s.members) == 0 || s.room <= 0
		s.mu.Unlock()
		var wait <-chan struct{}

		if !idle {
			var err error
			if wait, err = s.sendNext(ctx, next); err != nil {
				return err
			}
			if wait == nil {
				continue
			}
		}

		if err := s.flush(); err != nil {
			return err
		}
		if err := s.sleep(ctx, wait, expires); err != nil {
			return err
		}
	}
}

// sleep waits until there may be something to do, or a token expires.
func (s *Stream) sleep(ctx context.Context, wait <-chan struct{}, expires time.Time) error {
	var alarm <-chan time.Time
	if !expires.IsZero() {
		timer := time.NewTimer(max(expires.Sub(s.broker.env.Clock()), time.Millisecond))
		defer timer.Stop()
		alarm = timer.C
	}

	select {
	case <-wait:
	case <-alarm:
	case <-s.poke:
	case <-ctx.Done():
		return ctx.Err()
	}

	return nil
}

func (s *Stream) flush() error {
	s.sending.Lock()
	defer s.sending.Unlock()
	return s.conn.Flush()
}

// sendNext sends the event, and those in its chunk, or returns what to wait for.
func (s *Stream) sendNext(ctx context.Context, next uint64) (<-chan struct{}, error) {
	chunk, lost, wait, err := s.src.read(ctx, next)
	if err != nil || wait != nil {
		return wait, err
	}

	var m channel.Message = &channel.Events{First: chunk.First, Head: s.src.head(), Bytes: chunk.Bytes}
	after := chunk.Last() + 1
	if lost > 0 {
		m, after = &channel.Gap{From: next, To: lost}, lost+1
	}

	s.sending.Lock()
	err = s.conn.Send(m)
	s.sending.Unlock()
	if err != nil {
		return nil, err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next == next { // else a new subscriber has set it back
		s.next = after
	}

	s.room -= int64(len(chunk.Bytes))
	return nil, nil
}

package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host"
	"wasmhost.example/host/backoff"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// Sender sends events to one daemon, in order, wherever it is and goes. What
// was sent and not answered when a connection breaks or the daemon moves is
// sent again under the same number, and the daemon applies it once. A Sender
// is used by one goroutine at a time; tickets may be waited for by others.
type Sender struct {
	node     *Node
	giveBack func() // of a lane; nil: the sender has a name

	id     identity.EntityID
	sender identity.EntityID
	ctx    context.Context
	cancel context.CancelCauseFunc
	window chan struct{}                      // a place for each event that is not answered
	room   *budget.Budget                     // of answers, until their tickets are released; nil: they count nowhere
	wanted *budget.Budget                     // of an answer that its ticket's Wait waits for; nil: as room
	turn   atomic.Pointer[context.CancelFunc] // ends the dialling that is under way
	news   atomic.Pointer[daemon.Moved]       // where the daemon is, that no dialling may begin without

	mu      sync.Mutex
	number  uint64
	at      identity.NodeID // where the daemon is; 0: here
	by      identity.NodeID // who said so; 0: nobody that counts
	remote  *remote         // the stream there; nil: none is open
	unacked []*Ticket       // sent to a remote, in order
	here    []*taken        // by the daemon here, in order; those that it has answered are let go of
	hops    int             // since an event was answered
	tries   *backoff.Tries  // to have the first event answered, by a node that does not yet; nil: it was not tried again
	failed  error
}

// maxHops bounds how often a daemon is followed that is never caught.
const maxHops = 64

// How tries are spaced.
var (
	dialRetry   = backoff.Policy{First: 20 * time.Millisecond, Most: 2 * time.Second, For: 30 * time.Second}        // to reach the daemon's node
	comingRetry = backoff.Policy{First: 20 * time.Millisecond, Most: 20 * time.Millisecond, For: 30 * time.Second}  // while a daemon is on its way to it
	answerRetry = backoff.Policy{First: 20 * time.Millisecond, Most: 500 * time.Millisecond, For: 30 * time.Second} // while it is not ready, or ends streams without an answer
)

// OpenSender makes a sender to the daemon. at is where it is believed to be;
// 0: here, or where it was last heard of. sender names who sends; where it is zero
// the node does, by a lane: ErrTooManySenders. Close it when done.
func (n *Node) OpenSender(ctx context.Context, id identity.EntityID, at identity.NodeID, sender identity.EntityID) (*Sender, error) {
	if at == n.mesh.id {
		at = 0
	}

	s := &Sender{node: n, id: id, sender: sender, at: at, window: make(chan struct{}, inFlight)}
	if sender.IsZero() {
		l, err := n.lanes.take()
		if err != nil {
			return nil, err
		}
		s.sender, s.number = l.sender, l.number
		s.giveBack = sync.OnceFunc(func() { n.lanes.give(lane{s.sender, s.number}) })
	}

	s.ctx, s.cancel = context.WithCancelCause(ctx)
	n.opened(s)
	return s, nil
}

// Close ends the sender. Events that are not answered stay so.
func (s *Sender) Close() { s.GiveUp(errors.New("the sender is closed")) }

// GiveUp is Close, with why: what is not answered is answered with it.
func (s *Sender) GiveUp(why error) {
	s.node.closed(s)
	s.cancel(why)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hangUp()
	s.fail(context.Cause(s.ctx))
	if s.giveBack != nil {
		s.giveBack() // the next to have the lane goes on above the last number
	}
}

// From sets the number of the event that a named sender's Submit sends next. A new
// sender begins with 1.
func (s *Sender) From(number uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.number = number - 1
}

// Submit sends the payload as the sender's next event. It blocks while too many
// events are not answered. The payload must not change before the ticket is
// done.
func (s *Sender) Submit(ctx context.Context, payload []byte) (*Ticket, error) {
	s.mu.Lock()
	s.number++
	n := s.number
	s.mu.Unlock()
	return s.SubmitEvent(ctx, daemon.Event{Sender: s.sender, Number: n, Payload: payload})
}

// SubmitEvent sends an event that has its sender and number.
func (s *Sender) SubmitEvent(ctx context.Context, ev daemon.Event) (*Ticket, error) {
	select {
	case s.window <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-s.ctx.Done():
		return nil, context.Cause(s.ctx)
	}

	once := sync.Once{}
	t := &Ticket{event: ev, sender: s, done: make(chan struct{}), release: func() { once.Do(func() { <-s.window }) }}
	t.event.Answers = s.room
	if s.wanted != nil {
		t.await = make(chan struct{})
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		t.release()
		return nil, s.failed
	}
	if err := s.push(ctx, t); err != nil {
		t.release()
		return nil, err
	}

	return t, nil
}

// push sends t to where the daemon is, following it. It needs s.mu.
func (s *Sender) push(ctx context.Context, t *Ticket) error {
	for tries := dialRetry.Start(); ; {
		err := s.pushOnce(ctx, t)
		var moved *daemon.MovedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &moved):
			if err := s.follow(moved.Moved); err != nil {
				return err
			}
			continue

		case !errors.Is(err, mesh.ErrUnreachable) && !errors.Is(err, daemon.ErrComing):
			return err
		}

		if waited := s.pause(ctx, tries); errors.Is(waited, backoff.ErrSpent) {
			return err
		} else if waited != nil {
			return waited
		}

		if m, ok := s.node.route(s.id); ok && m.Node != s.where() && errors.Is(err, mesh.ErrUnreachable) {
			if err := s.follow(m); err != nil {
				return err
			}
		}
	}
}

// where is the node that the daemon is believed to be at. It needs s.mu.
func (s *Sender) where() identity.NodeID {
	if s.at == 0 {
		return s.node.mesh.id
	}
	return s.at
}

// elsewhere turns to where the daemon is now, and sends what is not answered there.
func (s *Sender) elsewhere(m daemon.Moved) {
	s.news.Store(&m) // before: who begins to dial meanwhile sees it, or is stopped
	if stop := s.turn.Load(); stop != nil {
		(*stop)()
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.news.CompareAndSwap(&m, nil)
	if s.failed != nil || m.Node == s.where() || s.ctx.Err() != nil {
		return
	}

	s.again(&daemon.MovedError{Moved: m})
}

// pause waits until the next try is due; an error says that none is.
func (s *Sender) pause(ctx context.Context, tries *backoff.Tries) error {
	err := tries.Wait(ctx, s.ctx.Done())
	if errors.Is(err, backoff.ErrStopped) {
		return context.Cause(s.ctx)
	}
	return err
}

// later sends what is not answered again after a pause; false: that was tried for long
// enough. It needs s.mu, and that the stream r, which ended, is let go of.
func (s *Sender) later(r *remote, p backoff.Policy) bool {
	if s.tries == nil || time.Since(r.began) > p.For {
		s.tries = p.Start()
	}

	err := s.pause(s.ctx, s.tries)
	if errors.Is(err, backoff.ErrSpent) {
		return false
	}
	if err == nil {
		s.again(nil)
	}

	return true
}

// follow turns to another node. It needs s.mu.
func (s *Sender) follow(m daemon.Moved) error {
	if s.hops++; s.hops > maxHops {
		return fmt.Errorf("daemon %s moved %d times before it answered: %w", s.id.Origin(), s.hops, &daemon.MovedError{Moved: m})
	}

	here := s.at == 0
	s.by = s.where()
	s.at = m.Node
	if s.at == s.node.mesh.id {
		s.at = 0
	}

	s.hangUp()
	if here && s.at != 0 {
		return s.sendOnAll()
	}
	return nil
}

// settled lets go of the first events that a daemon here has taken, as far as what
// became of them is durable. An error: of one it never will be, so that none after it
// may be taken; a *host.MovedError says where it is to be sent on to. It does not block.
func settled[T any](ctx context.Context, list []T, of func(T) *host.Pending) ([]T, error) {
	for len(list) > 0 {
		select {
		case <-of(list[0]).Ready():
		default:
			return list, nil
		}

		if err := of(list[0]).Durable(ctx); err != nil {
			return list, err
		}

		list = list[1:]
	}
	return list, nil
}

// sendOnAll sends on what the daemon gave up that was here, in order and before all
// else, so that no event overtakes one before it. It needs s.mu.
func (s *Sender) sendOnAll() error {
	here := s.here
	s.here = nil
	for _, g := range here {
		var moved *daemon.MovedError
		err := g.pending.Durable(s.ctx)
		if err == nil {
			continue
		}
		if errors.As(err, &moved) {
			g.on, g.ticket.sent = true, true // whoever waits for it waits for what is heard of it now
			if err = s.push(s.ctx, g.ticket); err == nil {
				continue
			}
			g.ticket.finish(daemon.Result{}, err)
		}

		s.fail(err)
		return err
	}

	return nil
}

// sendOn sees to it that what the daemon here gave up goes to where it is now; false: the
// sender has ended.
func (s *Sender) sendOn(g *taken, m daemon.Moved) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !g.on && s.failed == nil && s.ctx.Err() == nil && s.at == 0 {
		if err := s.follow(m); err != nil {
			s.fail(err)
		}
	}
	return g.on
}

func (s *Sender) pushOnce(ctx context.Context, t *Ticket) error {
	if s.at == 0 && len(s.unacked) == 0 {
		var err error
		if s.here, err = settled(s.ctx, s.here, func(g *taken) *host.Pending { return g.pending }); err != nil {
			return err
		}

		p, err := s.node.local.Submit(ctx, s.id, t.event)
		if errors.Is(err, daemon.ErrNotFound) {
			if m, ok := s.node.route(s.id); ok && m.Node != s.node.mesh.id {
				return &daemon.MovedError{Moved: m}
			}
		}

		if err != nil {
			return err
		}
		if s.room != nil {
			t.onRelease(p.Release)
		}

		s.hops = 0
		g := &taken{ticket: t, pending: p}
		if t.sent { // to a remote before, and the daemon came here
			go g.answer(s.ctx)
		} else {
			t.given = g
		}

		s.here = append(s.here, g)
		return nil
	}

	if s.remote == nil {
		if err := s.dial(); err != nil {
			return err
		}
	}

	s.unacked, t.sent = append(s.unacked, t), true
	if err := s.remote.send(&t.event); err != nil {
		s.remote.abort() // its reader will send again what is not answered
	}
	return nil
}

// dial opens a stream to where the daemon is and sends again what is not
// answered. It needs s.mu.
func (s *Sender) dial() error {
	dial, stop := context.WithCancel(s.ctx)
	defer stop()
	s.turn.Store(&stop)
	defer s.turn.Store(nil)
	if m := s.news.Load(); m != nil && m.Node != s.where() {
		return &daemon.MovedError{Moved: *m}
	}

	stream, err := s.openProven(dial)
	if err != nil {
		if s.ctx.Err() == nil && dial.Err() != nil {
			err = fmt.Errorf("%w: %s: the daemon is elsewhere", mesh.ErrUnreachable, s.where())
		}
		return err
	}

	r := newRemote(stream)
	if err := r.write(&openEvents{Entity: s.id}); err != nil {
		r.abort()
		return fmt.Errorf("%w: %w", mesh.ErrUnreachable, err)
	}

	for _, t := range s.unacked {
		t.again = true
		if err := r.send(&t.event); err != nil {
			r.abort()
			return fmt.Errorf("%w: %w", mesh.ErrUnreachable, err)
		}
	}

	s.remote = r
	go s.readReplies(r)
	return nil
}

// openProven opens a stream to where the daemon is said to be, once that node has proven
// that it has it. A *host.MovedError says that it is elsewhere. It needs s.mu.
func (s *Sender) openProven(ctx context.Context) (*quic.Stream, error) {
	at := s.where()
	if at != s.node.mesh.id {
		p, err := s.node.local.Believe(ctx, s.id, at, s.by)
		var refused *channel.Refusal
		switch {
		case errors.As(err, &refused):
			return nil, notThere(s.id, refused)
		case err != nil:
			return nil, err
		case p.Node != at:
			return nil, &daemon.MovedError{Moved: p.Moved}
		}

		s.node.learn(p.Moved)
	}

	return s.node.mesh.open(ctx, at, purposeEvents)
}

// notThere is what a node's refusal to prove that it has the daemon means to a sender.
func notThere(id identity.EntityID, refused *channel.Refusal) error {
	switch {
	case errors.Is(refused, channel.ErrNoReceiver):
		return &daemon.NotFoundError{Entity: id}
	case errors.Is(refused, channel.ErrBusy):
		return fmt.Errorf("%w: %w", daemon.ErrComing, refused)
	case errors.Is(refused, channel.ErrNotReady):
		return fmt.Errorf("%w: %w", mesh.ErrUnreachable, refused)
	}
	return refused
}

// hangUp leaves the stream. It needs s.mu.
func (s *Sender) hangUp() {
	if s.remote != nil {
		s.remote.abort()
		s.remote = nil
	}
}

// broken goes on after the stream r, which ended with err: at once, unless it was of no
// use. It needs s.mu.
func (s *Sender) broken(r *remote, err error) {
	if r.answered || len(s.unacked) == 0 {
		s.again(nil)
		return
	}
	if !s.later(r, answerRetry) {
		s.fail(fmt.Errorf("%w: %s answers no event: %w", mesh.ErrUnreachable, s.where(), err))
	}
}

// again sends what is not answered to where the daemon is now. It needs s.mu.
func (s *Sender) again(moved *daemon.MovedError) {
	waiting := s.unacked
	s.unacked = nil
	if moved != nil {
		if err := s.follow(moved.Moved); err != nil {
			s.unacked = append(s.unacked, waiting...)
			s.fail(err)
			return
		}
	}

	for _, t := range waiting {
		t.again = true
	}

	for i, t := range waiting {
		if err := s.push(s.ctx, t); err != nil {
			s.unacked = append(s.unacked, waiting[i:]...)
			s.fail(fmt.Errorf("sending event %d again: %w", t.event.Number, err))
			return
		}
	}
}

// fail ends the sender: nothing that is not answered will be. It needs s.mu.
func (s *Sender) fail(err error) {
	if s.failed == nil {
		s.failed = err
	}
	for _, t := range s.unacked {
		t.finish(daemon.Result{}, err)
	}
	s.unacked = nil
}

package query

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/sandbox"
)

// MaxCopies is how many copies of daemons answer queries on a node at a time, and
// daemonCopies how many of one daemon: others wait.
const (
	MaxCopies    = 16
	daemonCopies = 2
)

// Copies is what a daemon was between two events, for copies to be made of it that answer
// queries while the daemon goes on.
type Copies struct {
	view   *guest.View
	grants effect.Grants
	answer daemon.Answer // but for the payload
	call   daemon.Call
	ticket *pending.Ticket // that what it follows from is durable
	leader leaderLog

	mu   lock.Mutex[lock.Leaf]
	idle []*guest.Daemon
	over bool // copies are not kept any more
}

// leaderLog is the log of a cluster's daemon.
type leaderLog interface {
	// Barrier has finish called once the node may answer for the daemon.
	Barrier(finish func(error))
}

// NewCopies makes a glimpse of a view: answer and call are of what it shows, ticket says when
// that is durable, leader is nil where the daemon is no cluster's. Where once is set it is for
// one query, and keeps no copies.
func NewCopies(v *guest.View, grants effect.Grants, answer daemon.Answer, call daemon.Call, ticket *pending.Ticket, leader leaderLog, once bool) *Copies {
	return &Copies{view: v, grants: grants, answer: answer, call: call, ticket: ticket, leader: leader, over: once}
}

// Answer has a copy of the daemon answer a query, when there is a place for it among
// those of the node. It needs no lock.
func (s *Queue) Answer(ctx context.Context, q *Question, places chan struct{}, log *slog.Logger) error {
	who := q.By.call.Self.Origin()
	leave, err := s.placeForCopy(ctx, places)
	if err != nil {
		return fmt.Errorf("waiting for a copy of daemon %s: %w", who, err)
	}
	defer leave()

	g := q.By
	c, err := g.open()
	if err != nil {
		return fmt.Errorf("making a copy of daemon %s: %w", who, err)
	}
	call := g.call
	payload, err := c.Query(&call, q.Payload, 0)
	if closeErr := g.giveBack(c, errors.Is(err, sandbox.ErrBroken)); closeErr != nil {
		log.Warn("closing a copy of a daemon", "daemon", who, "error", closeErr)
	}

	q.Answer, q.Err, q.Tied = g.answer, err, true
	q.Answer.Payload = payload
	if q.Ticket = g.ticket; g.leader == nil {
		return nil
	}
	if err := g.ticket.Wait(ctx); err != nil { // what a turn gathers is not submitted yet
		return err
	}
	q.Ticket = pending.NewTicket()
	g.leader.Barrier(q.Ticket.Finish)
	return nil
}

// placeForCopy waits for a place for one more copy, of the daemon's and of the node's.
func (s *Queue) placeForCopy(ctx context.Context, places chan struct{}) (leave func(), err error) {
	s.mu.Lock()
	if s.slots == nil {
		s.slots = make(chan struct{}, daemonCopies)
	}
	own := s.slots
	s.mu.Unlock()

	select {
	case own <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case places <- struct{}{}:
	case <-ctx.Done():
		<-own
		return nil, context.Cause(ctx)
	}
	return func() { <-places; <-own }, nil
}

// Retire says that the event is over beside which copies answered. It needs d.mu.
func (s *Queue) Retire() {
	g := s.beside
	s.mu.Lock()
	s.beside = nil
	s.mu.Unlock()

	g.mu.Lock()
	idle := g.idle
	g.idle, g.over = nil, true
	g.mu.Unlock()
	for _, c := range idle {
		_ = c.Close() // a copy's: nothing is lost
	}
}

// open returns a copy, which giveBack takes.
func (g *Copies) open() (*guest.Daemon, error) {
	g.mu.Lock()
	if n := len(g.idle); n > 0 {
		c := g.idle[n-1]
		g.idle = g.idle[:n-1]
		g.mu.Unlock()
		return c, nil
	}
	g.mu.Unlock()
	return g.view.Open(Granted{Grants: &g.grants})
}

// giveBack keeps a copy for other queries, or closes it.
func (g *Copies) giveBack(c *guest.Daemon, broken bool) error {
	g.mu.Lock()
	if !g.over && !broken && len(g.idle) < daemonCopies {
		g.idle = append(g.idle, c)
		g.mu.Unlock()
		return nil
	}
	g.mu.Unlock()
	return c.Close()
}

package engine

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/abi"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/identity"
)

// MaxCopies is how many copies of daemons answer queries on a node at a time, and
// daemonCopies how many of one daemon: others wait.
const (
	MaxCopies    = 16
	daemonCopies = 2
)

// glimpse is what a daemon was between two events, for copies to be made of it that answer
// queries while the daemon goes on.
type glimpse struct {
	view   *guest.View
	grants effect.Grants
	answer daemon.Answer // but for the payload
	call   daemon.Call
	ticket *pending.Ticket // that what it follows from is durable
	leader Log

	mu   lock.Mutex[lock.Leaf]
	idle []*guest.Daemon
	over bool // copies are not kept any more
}

// glance gives what the daemon was before the event that it processes to the queries that
// wait. It is daemon.Env.Pause: it runs under d.mu, in the event.
func (d *Daemon) glance() {
	s := &d.queries
	if s.queued.Load() == 0 {
		return
	}
	code, ok := d.daemon.(*guest.Daemon)
	if !ok {
		return
	}

	g := d.glimpseBy(code.ViewBefore())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.beside = g
	for _, q := range s.queue {
		q.by = g
		close(q.done)
	}
	s.queue = nil
	s.queued.Store(0)
}

// retire says that the event is over beside which copies answered. It needs d.mu.
func (s *queries) retire() {
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

// glimpseOf returns what the daemon is, for one query. It needs d.mu.
func (d *Daemon) glimpseOf() (*glimpse, error) {
	code, ok := d.daemon.(*guest.Daemon)
	if !ok {
		return nil, fmt.Errorf("%w than its code may take", daemon.ErrPatience)
	}
	v, err := code.View()
	if err != nil {
		return nil, err
	}
	g := d.glimpseBy(v)
	g.over = true
	return g, nil
}

// glimpseBy is the glimpse of a view of the state that d's fields tell of. It needs d.mu.
func (d *Daemon) glimpseBy(v *guest.View) *glimpse {
	g := &glimpse{view: v, call: *d.queryCall(), ticket: d.last, leader: d.leader,
		answer: daemon.Answer{Applied: d.applied, Sequence: d.chain.Sequence(), Epoch: d.epoch}}
	if d.gathered != nil && d.gathered.any {
		g.ticket = d.gathered.ticket
	}
	if d.effects != nil {
		g.grants = d.effects.Grants().Clone()
	}
	return g
}

// answerByCopy has a copy of the daemon answer. It needs no lock.
func (d *Daemon) answerByCopy(ctx context.Context, q *question) error {
	leave, err := d.placeForCopy(ctx)
	if err != nil {
		return err
	}
	defer leave()

	g := q.by
	c, err := g.open()
	if err != nil {
		return fmt.Errorf("making a copy of daemon %s: %w", d.id.Origin(), err)
	}
	call := g.call
	payload, err := c.Query(&call, q.payload, 0)
	if closeErr := g.giveBack(c, errors.Is(err, sandbox.ErrBroken)); closeErr != nil {
		d.env.Logger.Warn("closing a copy of a daemon", "daemon", d.id.Origin(), "error", closeErr)
	}

	q.answer, q.err, q.tied = g.answer, err, true
	q.answer.Payload = payload
	if q.ticket = g.ticket; g.leader == nil {
		return nil
	}
	if err := g.ticket.Wait(ctx); err != nil { // what a turn gathers is not submitted yet
		return err
	}
	q.ticket = pending.NewTicket()
	g.leader.Barrier(q.ticket.Finish)
	return nil
}

// placeForCopy waits for a place for one more copy.
func (d *Daemon) placeForCopy(ctx context.Context) (leave func(), err error) {
	d.queries.mu.Lock()
	if d.queries.slots == nil {
		d.queries.slots = make(chan struct{}, daemonCopies)
	}
	own := d.queries.slots
	d.queries.mu.Unlock()

	late := func() error {
		return fmt.Errorf("waiting for a copy of daemon %s: %w", d.id.Origin(), context.Cause(ctx))
	}
	select {
	case own <- struct{}{}:
	case <-ctx.Done():
		return nil, late()
	}
	select {
	case d.node.Copies <- struct{}{}:
	case <-ctx.Done():
		<-own
		return nil, late()
	}
	return func() { <-d.node.Copies; <-own }, nil
}

// open returns a copy, which giveBack takes.
func (g *glimpse) open() (*guest.Daemon, error) {
	g.mu.Lock()
	if n := len(g.idle); n > 0 {
		c := g.idle[n-1]
		g.idle = g.idle[:n-1]
		g.mu.Unlock()
		return c, nil
	}
	g.mu.Unlock()
	return g.view.Open(granted{&g.grants})
}

// giveBack keeps a copy for other queries, or closes it.
func (g *glimpse) giveBack(c *guest.Daemon, broken bool) error {
	g.mu.Lock()
	if !g.over && !broken && len(g.idle) < daemonCopies {
		g.idle = append(g.idle, c)
		g.mu.Unlock()
		return nil
	}
	g.mu.Unlock()
	return c.Close()
}

// granted are the rules of a copy, whose calls are only ever made again: they answer as the
// daemon's did.
type granted struct{ grants *effect.Grants }

func (r granted) Publish(name string) int32 {
	_, outputs := channel.IsOutputs(name)
	switch {
	case outputs || identity.ValidChannel(name) != nil:
		return abi.EffectInvalid
	case r.grants.MayPublish(name) == nil:
		return abi.EffectDenied
	}
	return abi.EffectDone
}

func (r granted) Send(to [32]byte) int32 {
	if !r.grants.MaySend(to) {
		return abi.EffectDenied
	}
	return abi.EffectDone
}

func (granted) Cost(payload int) int { return effect.Cost(payload) }

func (granted) Room() abi.EffectRoom { return (&effect.State{}).Room() }

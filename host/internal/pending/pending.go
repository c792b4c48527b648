// Package pending is what waits for a record to be durable: tickets of records, and events
// whose answers wait for that.
package pending

import (
	"context"
	"fmt"

	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
)

// Event is an event that its daemon has applied, or failed on, and that is
// not yet durable.
type Event struct {
	Result daemon.Result
	Err    error
	Ticket *Ticket
	Hold   *budget.Hold // of the result, where the event's caller has a budget
}

// Release says that the result is passed on: its bytes no longer count in the budget
// that the event was given. It must be called for every event that has a budget.
func (p *Event) Release() { p.Hold.Done() }

// Drop is Release for a caller whom alone Wait serves: Wait returns an empty result
// from then on, and nothing keeps its bytes.
func (p *Event) Drop() {
	p.Release()
	p.Result = daemon.Result{}
}

// NewPending returns an event that something else than a Runtime has taken, and what
// answers it, which is called once.
func NewPending() (*Event, func(daemon.Result, error)) {
	p := &Event{Ticket: NewTicket()}
	return p, func(res daemon.Result, err error) {
		p.Result = res
		p.Ticket.Finish(err)
	}
}

// Wait returns what became of the event, once it is durable. An event that the
// daemon failed on is a *GuestError or the native daemon's error. When ctx ends
// first the event may be applied all the same.
func (p *Event) Wait(ctx context.Context) (daemon.Result, error) {
	if err := p.Ticket.Wait(ctx); err != nil {
		return daemon.Result{}, err
	}
	return p.Result, p.Err
}

// Durable returns nil once what became of the event is durable, and else why it is not:
// a *MovedError where another node has the daemon. What it became, Wait says.
func (p *Event) Durable(ctx context.Context) error { return p.Ticket.Wait(ctx) }

// Ready returns a channel that is closed when Wait no longer blocks.
func (p *Event) Ready() <-chan struct{} {
	if p.Ticket == nil {
		return closedChan
	}
	return p.Ticket.Done
}

var closedChan = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Ticket waits for a record to be durable. A nil ticket never waits.
type Ticket struct {
	Done chan struct{}
	Err  error

	// Of a cluster's daemon, which answers later: closed once the record is on disk
	// here, or storedErr says why not. nil: as done.
	stored    chan struct{}
	storedErr error
}

// NewTicket makes a ticket of a record that is about to be submitted.
func NewTicket() *Ticket { return &Ticket{Done: make(chan struct{})} }

// InTwo has the ticket of a cluster's daemon answered in two steps, before anybody waits:
// here is called once, when this node's disk has answered, and then finish.
func (t *Ticket) InTwo() (here func(error)) {
	t.stored = make(chan struct{})
	return func(err error) {
		t.storedErr = err
		close(t.stored)
	}
}

// Finish answers who waits. It is called once.
func (t *Ticket) Finish(err error) {
	t.Err = err
	close(t.Done)
}

// IsDone reports whether wait would not block, and give no error.
func (t *Ticket) IsDone() bool {
	if t == nil {
		return true
	}
	select {
	case <-t.Done:
		return t.Err == nil
	default:
		return false
	}
}

// WaitStored waits for the record to be on disk here, which says nothing of
// standbys.
func (t *Ticket) WaitStored(ctx context.Context) error {
	if t == nil || t.stored == nil {
		return t.Wait(ctx)
	}
	select {
	case <-t.stored:
		return t.storedErr
	case <-ctx.Done():
		return fmt.Errorf("waiting for the event to be durable: %w", context.Cause(ctx))
	}
}

// Wait returns nil once the record is durable, or why it is not; where ctx ends first it
// says nothing of the record.
func (t *Ticket) Wait(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case <-t.Done:
		return t.Err
	default:
	}
	select {
	case <-t.Done:
		return t.Err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the event to be durable: %w", context.Cause(ctx))
	}
}

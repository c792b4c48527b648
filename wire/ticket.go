package wire

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
)

// taken is an event that the daemon here has taken.
type taken struct {
	ticket  *Ticket
	pending *host.Pending
	on      bool // the daemon gave it up, for another node has it, and it was sent on there
}

// Ticket is an event that was sent.
type Ticket struct {
	event   daemon.Event
	sender  *Sender
	given   *taken        // to a local daemon, first; nil: to a remote one
	done    chan struct{} // closed when res and err are set, where it was sent to a remote
	res     daemon.Result
	err     error
	release func()
	sent    bool // to a remote: done says when it is answered
	again   bool // more than once

	await  chan struct{} // closed once Wait was called; nil: nobody needs to know
	begun  sync.Once
	waited bool // Wait has returned what the daemon here answered

	freeing  sync.Mutex
	frees    []func() // give back what the answer holds
	released bool
}

// Release says that the event's result is passed on, so that its bytes no longer
// count. It is called for each ticket of a sender that Hold was called of, by the
// goroutine that called Wait, or instead of it.
func (t *Ticket) Release() {
	t.freeing.Lock()
	frees := t.frees
	t.frees, t.released = nil, true
	t.freeing.Unlock()
	for _, free := range frees {
		free()
	}

	if t.waited { // it is durable: nobody sends the event again
		t.given.pending.Drop()
		t.event.Payload = nil
	}
}

// onRelease has Release call free, which is called at once where Release was.
func (t *Ticket) onRelease(free func()) {
	t.freeing.Lock()
	released := t.released
	if !released {
		t.frees = append(t.frees, free)
	}
	t.freeing.Unlock()
	if released {
		free()
	}
}

// Hold makes the bytes of answers count in room until their tickets are released:
// events wait while their answers have none. An answer that comes while Wait waits for
// it counts in wanted, where that is not nil: what others hold does not keep it away.
// It is called before the first event.
func (s *Sender) Hold(room, wanted *budget.Budget) { s.room, s.wanted = room, wanted }

// Wait returns what became of the event once it is durable.
func (t *Ticket) Wait(ctx context.Context) (daemon.Result, error) {
	if t.await != nil {
		t.begun.Do(func() { close(t.await) })
	}

	if t.given != nil {
		res, err := t.given.pending.Wait(ctx)
		var moved *daemon.MovedError
		if !errors.As(err, &moved) || !t.sender.sendOn(t.given, moved.Moved) {
			t.release()
			t.waited = err == nil
			return res, err
		}
	}

	select {
	case <-t.done:
		return t.res, t.err
	case <-ctx.Done():
		return daemon.Result{}, fmt.Errorf("waiting for an event to be answered: %w", context.Cause(ctx))
	}
}

// SentAgain reports whether the event was sent more than once, so that an answer which
// denies it may not be its first. It is called once Wait has returned.
func (t *Ticket) SentAgain() bool { return t.again }

// Ready returns a channel that is closed when Wait no longer blocks.
func (t *Ticket) Ready() <-chan struct{} {
	if t.given != nil {
		return t.given.pending.Ready()
	}
	return t.done
}

func (t *Ticket) finish(res daemon.Result, err error) {
	t.res, t.err = res, err
	t.release()
	close(t.done)
}

// answer answers a ticket whose event is applied here after all.
func (g *taken) answer(ctx context.Context) {
	res, err := g.pending.Wait(ctx)
	var moved *daemon.MovedError
	if errors.As(err, &moved) && g.ticket.sender.sendOn(g, moved.Moved) {
		return
	}
	g.ticket.finish(res, err)
}

package engine

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/history"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/identity"
)

// retryOf is the failed event once more.
func retryOf(q *history.Failed) *Input {
	return &Input{Event: daemon.Event{Kind: q.Kind, Sender: q.Sender, From: q.From, Number: q.Number, Channel: q.Channel, Payload: q.Payload},
		senderEpoch: q.Epoch, Once: true, retry: q.Index}
}

// wallTries is how often an event may go over its wall time, which can be the
// machine's fault, before its failure is recorded. Any other failure would
// repeat itself, and is recorded at once.
const wallTries = 3

// FailedEvents returns what Runtime.Quarantine does.
func (x Upkeep) FailedEvents(ctx context.Context) ([]history.Failed, error) {
	d := x.d
	if d.env.Store == nil {
		return nil, fmt.Errorf("%w: of daemon %s", daemon.ErrNoHistory, d.id.Origin())
	}
	if err := d.Peek(ctx); err != nil {
		return nil, err
	}
	last := d.last
	d.mu.Unlock()
	if err := last.Wait(ctx); err != nil {
		return nil, err
	}
	out, err := history.FailedEvents(d.env.Store, d.id)
	if err != nil {
		return nil, fmt.Errorf("looking for failed events of daemon %s: %w", d.id.Origin(), err)
	}
	return out, nil
}

// ApplyAgain needs d.mu.
func (x Upkeep) ApplyAgain(q *history.Failed, p *pending.Event) error {
	d := x.d
	if len(q.Payload) > d.Limits().EventBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrTooLarge, len(q.Payload), d.Limits().EventBytes)
	}
	if err := errors.Join(d.Turns().Going(), d.veil()); err != nil {
		return err
	}
	return d.Turns().Process(retryOf(q), max(q.Time.UnixNano(), 1), p)
}

// wallRetry counts how often one event went over its wall time.
type wallRetry struct {
	sender identity.EntityID
	number uint64
	count  int
}

// again reports whether the failed event may come again under its number.
func (d *Daemon) again(ev *Input, fault *daemon.GuestError) bool {
	if fault.Limit != abi.LimitWall {
		return false
	}
	w := &d.wallRetries
	if w.sender != ev.Sender || w.number != ev.Number {
		*w = wallRetry{sender: ev.Sender, number: ev.Number}
	}
	w.count++
	return w.count < wallTries
}

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// FailedEvent is an event that the daemon failed on, as it is tried again.
type FailedEvent struct {
	daemon.Quarantined
	epoch uint64 // of a daemon's event
}

func failedOf(index uint64, f *journal.Failure) FailedEvent {
	q := FailedEvent{daemon.Quarantined{Index: index, Kind: f.Event, Sender: f.Sender, From: f.From, Number: f.Number, Time: time.Unix(0, f.Time),
		Channel: f.Channel, Payload: f.Payload, Fault: f.Fault()}, f.SenderEpoch}
	switch {
	case q.Kind >= daemon.EventTimer:
		q.From = q.Sender
	case q.Kind == daemon.EventDirect && q.Channel != "": // of a history from before failures said so
		q.Kind = daemon.EventChannel
	}
	return q
}

// event is the event once more.
func (q *FailedEvent) event() *Input {
	return &Input{Event: daemon.Event{Kind: q.Kind, Sender: q.Sender, From: q.From, Number: q.Number, Channel: q.Channel, Payload: q.Payload},
		senderEpoch: q.epoch, Once: true, retry: q.Index}
}

// wallTries is how often an event may go over its wall time, which can be the
// machine's fault, before its failure is recorded. Any other failure would
// repeat itself, and is recorded at once.
const wallTries = 3

// FailedEvents returns what Runtime.Quarantine does.
func (x Upkeep) FailedEvents(ctx context.Context) ([]FailedEvent, error) {
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
	var out []FailedEvent
	settled := make(map[uint64]bool)
	depth := 0
	err := d.env.Store.ReadHistoryBackward(d.id, func(index uint64, b []byte) error {
		if depth++; depth > recordedDepth {
			return store.ErrStop
		}
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		switch rec := rec.(type) {
		case *journal.Settled:
			settled[rec.Index] = true
		case *journal.Event:
			settled[rec.Retry] = true // 0 is the index of no failure
		case *journal.Failure:
			if !settled[index] {
				out = append(out, failedOf(index, rec))
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for failed events of daemon %s: %w", d.id.Origin(), err)
	}
	return out, nil
}

// ApplyAgain needs d.mu.
func (x Upkeep) ApplyAgain(q *FailedEvent, p *pending.Event) error {
	d := x.d
	if len(q.Payload) > d.Limits().EventBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrTooLarge, len(q.Payload), d.Limits().EventBytes)
	}
	if err := errors.Join(d.Turns().Going(), d.veil()); err != nil {
		return err
	}
	return d.Turns().Process(q.event(), max(q.Time.UnixNano(), 1), p)
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

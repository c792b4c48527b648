package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Quarantined is a numbered event that the daemon failed on. It changed
// nothing; the history keeps it, so that it can be tried again.
type Quarantined struct {
	Index   uint64 // of its record in the daemon's history; names it
	Kind    daemon.EventKind
	Sender  identity.EntityID
	From    identity.EntityID // whom the guest sees as the sender, as in an Event
	Number  uint64
	Time    time.Time
	Channel string
	Payload []byte
	Fault   *daemon.GuestError
}

// failedEvent is an event that the daemon failed on, as it is tried again.
type failedEvent struct {
	Quarantined
	epoch uint64 // of a daemon's event
}

func failedOf(index uint64, f *journal.Failure) failedEvent {
	q := failedEvent{Quarantined{Index: index, Kind: f.Event, Sender: f.Sender, From: f.From, Number: f.Number, Time: time.Unix(0, f.Time),
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
func (q *failedEvent) event() *input {
	return &input{Event: daemon.Event{Kind: q.Kind, Sender: q.Sender, From: q.From, Number: q.Number, Channel: q.Channel, Payload: q.Payload},
		senderEpoch: q.epoch, once: true, retry: q.Index}
}

// wallTries is how often an event may go over its wall time, which can be the
// machine's fault, before its failure is recorded. Any other failure would
// repeat itself, and is recorded at once.
const wallTries = 3

// List returns the failed events that nobody has dealt with, the latest
// first, as far as the last 65,536 history records go.
func (r Quarantine) List(ctx context.Context, id identity.EntityID) ([]Quarantined, error) {
	d, err := r.rt.find(id)
	if err != nil {
		return nil, err
	}
	failed, err := d.failedEvents(ctx)
	if err != nil {
		return nil, err
	}
	var out []Quarantined
	for i := range failed {
		out = append(out, failed[i].Quarantined)
	}
	return out, nil
}

// failedEvents returns what Runtime.Quarantine does.
func (d *hosted) failedEvents(ctx context.Context) ([]failedEvent, error) {
	if d.env.Store == nil {
		return nil, fmt.Errorf("%w: of daemon %s", daemon.ErrNoHistory, d.id.Origin())
	}
	if err := d.peek(ctx); err != nil {
		return nil, err
	}
	last := d.last
	d.mu.Unlock()
	if err := last.wait(ctx); err != nil {
		return nil, err
	}
	var out []failedEvent
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

// Retry has the daemon process the failed event again, as what it was: of its
// kind, sender, number and channel, and at its time. Success settles it, in the same
// record; failure leaves it. ErrNotQuarantined where there is no such event.
func (r Quarantine) Retry(ctx context.Context, id identity.EntityID, index uint64) (daemon.Result, error) {
	d, q, err := r.rt.quarantined(ctx, id, index)
	if err != nil {
		return daemon.Result{}, err
	}
	if err := d.enter(ctx, len(q.Payload)); err != nil {
		return daemon.Result{}, err
	}
	var p Pending
	err = d.applyAgain(&q, &p)
	d.Unlock()
	if err != nil {
		return daemon.Result{}, err
	}
	return p.Wait(ctx)
}

// applyAgain needs d.mu.
func (d *hosted) applyAgain(q *failedEvent, p *Pending) error {
	if len(q.Payload) > d.limits().EventBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrTooLarge, len(q.Payload), d.limits().EventBytes)
	}
	if err := errors.Join(d.going(), d.veil()); err != nil {
		return err
	}
	return d.process(q.event(), max(q.Time.UnixNano(), 1), p)
}

// Skip settles the failed event without trying it again.
func (r Quarantine) Skip(ctx context.Context, id identity.EntityID, index uint64) error {
	d, _, err := r.rt.quarantined(ctx, id, index)
	if err != nil {
		return err
	}
	rec, err := journal.Encode(&journal.Settled{Index: index})
	if err != nil {
		return err
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	t := d.record(rec)
	d.Unlock()
	return t.wait(ctx)
}

func (r *Runtime) quarantined(ctx context.Context, id identity.EntityID, index uint64) (*hosted, failedEvent, error) {
	if err := r.ready(); err != nil {
		return nil, failedEvent{}, err
	}
	d, err := r.find(id)
	if err != nil {
		return nil, failedEvent{}, err
	}
	list, err := d.failedEvents(ctx)
	if err != nil {
		return nil, failedEvent{}, err
	}
	for _, q := range list {
		if q.Index == index {
			return d, q, nil
		}
	}
	return nil, failedEvent{}, fmt.Errorf("%w: %d, of daemon %s", daemon.ErrNotQuarantined, index, id.Origin())
}

// lastWall counts how often one event went over its wall time.
type lastWall struct {
	sender identity.EntityID
	number uint64
	count  int
}

// again reports whether the failed event may come again under its number.
func (d *hosted) again(ev *input, fault *daemon.GuestError) bool {
	if fault.Limit != abi.LimitWall {
		return false
	}
	w := &d.wall
	if w.sender != ev.Sender || w.number != ev.Number {
		*w = lastWall{sender: ev.Sender, number: ev.Number}
	}
	w.count++
	return w.count < wallTries
}

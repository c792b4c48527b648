package host

import (
	"context"
	"errors"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// Deliver applies a channel's events that follow one another, without those
// that the daemon has, as many as a turn takes. It returns the last event that the
// daemon has now, and what reports whether that is durable.
func (o subscriberOf) Deliver(ctx context.Context, id, source identity.EntityID, first uint64, events []byte) (cursor uint64, durable func() bool, err error) {
	r := o.rt
	var t *pending.Ticket
	err = r.hear(ctx, id, source, func(d *engine.Daemon, b *channel.Binding, turn *fair.Turn) error {
		d.Turns().Gather()
		before, internal := b.Cursor, false
		err := channel.Each(first, events, func(ev channel.Event) error {
			switch {
			case ev.Sequence != b.Cursor+1:
				return nil // it has it, or is behind by more
			case b.Cursor > before && d.Turns().TurnOver(turn):
				return errTurnOver
			}

			internal = internal || r.isDaemon(ev.From)
			return d.Subscriptions().ApplyChannel(b, &engine.Input{Event: daemon.Event{Sender: source, Number: ev.Sequence, Channel: b.Channel, Kind: daemon.EventChannel, From: ev.From, Payload: ev.Payload}})
		})
		if errors.Is(err, errTurnOver) {
			err = nil // the caller comes again with what is left
		}
		cursor, t = b.Cursor, d.Turns().Flush()
		if internal {
			d.Turns().CountTurn()
		}
		return err
	})

	return cursor, t.IsDone, err
}

// errTurnOver ends a run of events: others are to have their turn.
var errTurnOver = errors.New("the daemon's turn is over")

// DeliverGap tells the daemon that a channel's events up to the last are lost.
func (o subscriberOf) DeliverGap(ctx context.Context, id, source identity.EntityID, last uint64) (cursor uint64, durable func() bool, err error) {
	r := o.rt
	var t *pending.Ticket
	err = r.hear(ctx, id, source, func(d *engine.Daemon, b *channel.Binding, _ *fair.Turn) error {
		if b.Cursor >= last {
			cursor, t = b.Cursor, d.Position().Last
			return nil
		}
		d.Turns().Gather()
		err := d.Subscriptions().ApplyChannel(b, &engine.Input{Event: daemon.Event{Sender: source, Number: last, Channel: b.Channel, Kind: daemon.EventGap, Payload: gapPayload(b.Cursor+1, last)}})
		cursor, t = b.Cursor, d.Turns().Flush()
		return err
	})

	return cursor, t.IsDone, err
}

// Rebind goes on with a channel that was made anew: its sequences are others,
// and what was lost of the earlier one is not known. Both are written as one, so
// that the daemon cannot miss that it missed something.
func (o subscriberOf) Rebind(ctx context.Context, id, old identity.EntityID, accepted *channel.Accepted) error {
	return o.rt.hear(ctx, id, old, func(d *engine.Daemon, b *channel.Binding, _ *fair.Turn) error {
		b.Source, b.Cursor = accepted.Source, accepted.After
		rec, err := journal.Encode(&journal.Bind{Binding: *b, Time: d.Turns().Now()})
		if err != nil {
			return err
		}
		d.Turns().Gather()
		d.Subscriptions().RecordLedger(rec)
		err = d.Turns().Process(&engine.Input{Event: daemon.Event{Sender: b.Source, Number: b.Cursor, Channel: b.Channel, Kind: daemon.EventGap, Payload: gapPayload(0, 0)}, Once: true}, d.Turns().Now(), new(pending.Event))
		d.Turns().Flush()
		return err
	})
}

// hear runs fn in a turn of a daemon that is subscribed.
func (r *Runtime) hear(ctx context.Context, id identity.EntityID, source identity.EntityID, fn func(*engine.Daemon, *channel.Binding, *fair.Turn) error) error {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return err
	}
	d, err := r.find(id)
	if err != nil {
		return err
	}
	if err := fair.Sleep(ctx, min(d.Turns().OwesBytes(), longestDebt)); err != nil {
		return err
	}
	return d.Turns().Turn(ctx, func(t *fair.Turn) error {
		if err := d.Turns().Going(); err != nil {
			return err
		}
		b := d.Position().Ledger.From(source)
		if b == nil {
			return subscriber.ErrNotSubscribed
		}
		return fn(d, b, t)
	})
}

// gapPayload is what a daemon gets in place of lost events.
func gapPayload(first, last uint64) []byte {
	var p [16]byte
	for i := range 8 {
		p[i], p[8+i] = byte(first>>(8*i)), byte(last>>(8*i))
	}
	return p[:]
}

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost/host/channel"
	"wasmhost/host/daemon"
	"wasmhost/host/fair"
	"wasmhost/host/store"
	"wasmhost/identity"
)

// Subscription is one of a daemon's subscriptions, and where it stands.
type Subscription struct {
	Publisher identity.NodeID
	Channel   string
	Token     []byte // as it was presented; empty: none
	Cursor    uint64 // sequence of the last event that the daemon applied, or failed on
	Head      uint64 // sequence of the channel's newest event, as far as is known
	State     string // live, connecting or refused
	Reason    string // why it is not live
	Code      channel.Code
	Expires   time.Time // when the token expires; zero: never
}

// Lag returns how many events the daemon has still to get, as far as is known.
func (s *Subscription) Lag() uint64 { return s.Head - min(s.Cursor, s.Head) }

// SubscribeChannel subscribes the daemon to a channel of a node, this one
// included, from the next event on. token is what identity.TokenChain.Bytes
// gives; nil for a channel that asks for none. It is recorded once the channel's
// node has accepted it; a subscription that is there goes on from where it is,
// with the new token. On an error nothing has changed. Errors: *NotFoundError,
// *MovedError, those of malformed tokens and names, ErrUnreachable,
// ErrUnknownNode, and the channel's: a *channel.Refusal.
func (r *Runtime) SubscribeChannel(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string, token []byte) error {
	d, err := r.subscribable(id, name)
	if err != nil {
		return err
	}
	if len(token) > 0 {
		if _, err := identity.ParseTokenChain(token); err != nil {
			return err
		}
	}
	if err := r.room(); err != nil {
		return err
	}
	d.binding.Lock() // one at a time changes the daemon's ledger
	defer d.binding.Unlock()
	if err := d.look(ctx); err != nil {
		return err
	}
	b := channel.Binding{Publisher: publisher, Channel: name, Token: bytes.Clone(token)}
	old := d.ledger.Get(publisher, name)
	if old != nil {
		b.Source, b.Cursor = old.Source, old.Cursor
	} else if d.ledger.Len() >= channel.MaxBindings {
		d.mu.Unlock()
		return fmt.Errorf("%w: %d", channel.ErrLedgerFull, channel.MaxBindings)
	}
	fresh := old == nil
	d.mu.Unlock()
	m, accepted, err := r.subs.join(ctx, id, b)
	if err != nil {
		return err
	}
	if fresh {
		b.Cursor = accepted.After
	}
	b.Source = accepted.Source
	t, err := d.bind(ctx, b, !fresh)
	if err == nil {
		err = t.wait(ctx)
	}
	if err != nil {
		if fresh {
			r.subs.leave(m)
		}
		return err
	}
	m.begin()
	return nil
}

func (r *Runtime) subscribable(id identity.EntityID, name string) (*hosted, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return d, identity.ValidChannel(name)
}

// UnsubscribeChannel ends a subscription. It is forgotten once the channel's
// node has let go of it; on an error nothing has changed. One that is not there
// is no error.
func (r *Runtime) UnsubscribeChannel(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string) error {
	d, err := r.subscribable(id, name)
	if err != nil {
		return err
	}
	if err := r.room(); err != nil {
		return err
	}
	d.binding.Lock()
	defer d.binding.Unlock()
	if err := d.look(ctx); err != nil {
		return err
	}
	b := d.ledger.Get(publisher, name)
	d.mu.Unlock()
	if b == nil {
		return nil
	}
	if err := r.subs.unsubscribe(ctx, id, publisher, name); err != nil {
		return err
	}
	if err := d.attend(ctx); err != nil {
		return err
	}
	rec, err := encodeRecord(&unbindRecord{Publisher: publisher, Channel: name, Time: d.now()})
	if err != nil {
		d.mu.Unlock()
		return err
	}
	d.ledger.Forget(publisher, name)
	d.seen()
	t := d.recordLedger(rec)
	d.mu.Unlock()
	return t.wait(ctx)
}

// bind records a subscription. One that was there before has gone on meanwhile:
// keep leaves it its cursor, unless the source is another.
func (d *hosted) bind(ctx context.Context, b channel.Binding, keep bool) (*ticket, error) {
	if err := d.attend(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if old := d.ledger.Get(b.Publisher, b.Channel); keep && old != nil && old.Source == b.Source {
		b.Cursor = old.Cursor
	}
	rec, err := encodeRecord(&bindRecord{Binding: b, Time: d.now()})
	if err != nil {
		return nil, err
	}
	if err := d.ledger.Record(b); err != nil {
		return nil, err
	}
	d.seen()
	return d.recordLedger(rec), nil
}

// resource goes on with a channel that was made anew: its sequences are others,
// and what was lost of the earlier one is not known. Both are written as one, so
// that the daemon cannot miss that it missed something.
func (r *Runtime) resource(ctx context.Context, id identity.EntityID, old identity.EntityID, accepted *channel.Accepted) error {
	return r.hear(ctx, id, old, func(d *hosted, b *channel.Binding, _ *fair.Turn) error {
		b.Source, b.Cursor = accepted.Source, accepted.After
		rec, err := encodeRecord(&bindRecord{Binding: *b, Time: d.now()})
		if err != nil {
			return err
		}
		d.gather()
		d.recordLedger(rec)
		err = d.process(&input{Event: daemon.Event{Sender: b.Source, Number: b.Cursor, Channel: b.Channel, Kind: daemon.EventGap, Payload: gapPayload(0, 0)}, once: true}, d.now(), new(Pending))
		d.flush()
		return err
	})
}

// recordLedger writes a change of the ledger. It needs d.mu.
func (d *hosted) recordLedger(rec []byte) *ticket {
	if !d.recording() {
		return nil
	}
	return d.record(rec)
}

// putLedger adds the ledger to a batch, where it is found while the daemon is
// passive. It needs d.mu.
func (d *hosted) putLedger(b *store.Batch) error {
	enc, err := d.ledger.Encode()
	switch {
	case err != nil:
		return err
	case len(enc) == 0:
		b.Delete(store.Bound, d.id[:])
	default:
		b.Put(store.Bound, d.id[:], enc)
	}
	return nil
}

// Subscriptions returns the daemon's subscriptions, by publisher and channel.
func (r *Runtime) Subscriptions(id identity.EntityID) ([]Subscription, error) {
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	list, err := d.bindings()
	if err != nil {
		return nil, err
	}
	out := make([]Subscription, 0, len(list))
	for _, b := range list {
		s := Subscription{Publisher: b.Publisher, Channel: b.Channel, Token: bytes.Clone(b.Token), Cursor: b.Cursor, Head: b.Cursor, State: subscriptionStates[memberConnecting]}
		r.subs.describe(id, &s)
		out = append(out, s)
	}
	return out, nil
}

// bindings returns the ledger, or what it was when the daemon was last not busy.
func (d *hosted) bindings() ([]channel.Binding, error) {
	seen := d.bound.Load()
	if seen == nil {
		if err := d.peek(d.env.Context); err != nil {
			return nil, err
		}
	} else if !d.mu.TryLock() {
		return *seen, nil
	}
	defer d.mu.Unlock()
	d.seen()
	return *d.bound.Load(), nil
}

// seen notes the ledger for those who ask while the daemon is busy. It needs
// d.mu.
func (d *hosted) seen() {
	list := d.ledger.All()
	d.bound.Store(&list)
}

// errUnbound says that a daemon is not, or no longer, subscribed.
var errUnbound = errors.New("the daemon is not subscribed to the channel")

// errAgain says that an event is to be delivered again.
var errAgain = errors.New("the event is to come again")

// deliverRun applies a channel's events that follow one another, without those
// that the daemon has, as many as a turn takes. It returns the last event that the
// daemon has now, and the ticket of the last record.
func (r *Runtime) deliverRun(ctx context.Context, id identity.EntityID, source identity.EntityID, first uint64, events []byte) (cursor uint64, t *ticket, err error) {
	err = r.hear(ctx, id, source, func(d *hosted, b *channel.Binding, turn *fair.Turn) error {
		d.gather()
		before, internal := b.Cursor, false
		err := channel.Each(first, events, func(ev channel.Event) error {
			switch {
			case ev.Sequence != b.Cursor+1:
				return nil // it has it, or is behind by more
			case b.Cursor > before && d.over(turn):
				return errTurnOver
			}
			internal = internal || r.isDaemon(ev.From)
			return d.applyChannel(b, &input{Event: daemon.Event{Sender: source, Number: ev.Sequence, Channel: b.Channel, Kind: daemon.EventChannel, From: ev.From, Payload: ev.Payload}})
		})
		if errors.Is(err, errTurnOver) {
			err = nil // the caller comes again with what is left
		}
		cursor, t = b.Cursor, d.flush()
		if internal {
			d.share.Made(0, int64(d.flown))
		}
		return err
	})
	return cursor, t, err
}

// errTurnOver ends a run of events: others are to have their turn.
var errTurnOver = errors.New("the daemon's turn is over")

// deliverGap tells the daemon that a channel's events up to the last are lost.
func (r *Runtime) deliverGap(ctx context.Context, id identity.EntityID, source identity.EntityID, last uint64) (cursor uint64, t *ticket, err error) {
	err = r.hear(ctx, id, source, func(d *hosted, b *channel.Binding, _ *fair.Turn) error {
		if b.Cursor >= last {
			cursor, t = b.Cursor, d.last
			return nil
		}
		d.gather()
		err := d.applyChannel(b, &input{Event: daemon.Event{Sender: source, Number: last, Channel: b.Channel, Kind: daemon.EventGap, Payload: gapPayload(b.Cursor+1, last)}})
		cursor, t = b.Cursor, d.flush()
		return err
	})
	return cursor, t, err
}

// hear runs fn in a turn of a daemon that is subscribed.
func (r *Runtime) hear(ctx context.Context, id identity.EntityID, source identity.EntityID, fn func(*hosted, *channel.Binding, *fair.Turn) error) error {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return err
	}
	d, err := r.find(id)
	if err != nil {
		return err
	}
	if err := fair.Sleep(ctx, min(d.share.OwesBytes(), longestDebt)); err != nil {
		return err
	}
	return d.turn(ctx, func(t *fair.Turn) error {
		if err := d.going(); err != nil {
			return err
		}
		b := d.ledger.From(source)
		if b == nil {
			return errUnbound
		}
		return fn(d, b, t)
	})
}

// applyChannel has the daemon process one event of a channel. One that it fails
// on is recorded, and passed over as every failed event. It needs d.mu.
func (d *hosted) applyChannel(b *channel.Binding, ev *input) error {
	before := b.Cursor
	var err error
	if at := d.after(d.used); len(ev.Payload) > d.limits().EventBytes {
		_, err = d.failed(ev, at, &daemon.GuestError{Kind: "limit", Call: "process", Limit: "event-bytes",
			Text: fmt.Sprintf("the event has %d bytes, at most %d", len(ev.Payload), d.limits().EventBytes)})
	} else {
		err = d.process(ev, at, new(Pending))
	}
	if err == nil && b.Cursor == before {
		err = errAgain
	}
	return err
}

// gapPayload is what a daemon gets in place of lost events.
func gapPayload(first, last uint64) []byte {
	var p [16]byte
	for i := range 8 {
		p[i], p[8+i] = byte(first>>(8*i)), byte(last>>(8*i))
	}
	return p[:]
}

// residence is the daemon's word that it is on this node; nil where its key is
// not here.
func (r *Runtime) residence(ctx context.Context, id identity.EntityID) ([]byte, error) {
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if err := d.attend(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if !d.key.CanSign() {
		return nil, nil
	}
	return channel.NewResidence(d.key, r.env.Self, d.epoch)
}

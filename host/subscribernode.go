package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/store"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// Subscriptions returns the subscriptions of this node's daemons.
func (r *Runtime) Subscriptions() *subscriber.Subscriber { return r.subscriber }

// subscriberOf gives the subscriber of a runtime its daemons.
type subscriberOf struct{ rt *Runtime }

// Change begins to change the daemon's subscriptions.
func (o subscriberOf) Change(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string, add bool) (*channel.Binding, func(), error) {
	r := o.rt
	if err := r.ready(); err != nil {
		return nil, nil, err
	}
	d, err := r.find(id)
	if err != nil {
		return nil, nil, err
	}
	if err := errors.Join(identity.ValidChannel(name), r.room()); err != nil {
		return nil, nil, err
	}

	return d.beginBinding(ctx, publisher, name, add)
}

// beginBinding returns the subscription, nil where there is none, and what lets the next
// change of the daemon's subscriptions begin: there is one at a time.
func (d *hosted) beginBinding(ctx context.Context, publisher identity.NodeID, name string, add bool) (*channel.Binding, func(), error) {
	d.binding.Lock()
	if err := d.look(ctx); err != nil {
		d.binding.Unlock()
		return nil, nil, err
	}
	defer d.mu.Unlock()
	b := d.ledger.Get(publisher, name)
	if b == nil && add && d.ledger.Len() >= channel.MaxBindings {
		d.binding.Unlock()
		return nil, nil, fmt.Errorf("%w: %d", channel.ErrLedgerFull, channel.MaxBindings)
	}
	return b, d.binding.Unlock, nil
}

// Bind records a subscription, durably.
func (o subscriberOf) Bind(ctx context.Context, id identity.EntityID, b channel.Binding, keep bool) error {
	d, err := o.rt.find(id)
	if err != nil {
		return err
	}
	t, err := d.bind(ctx, b, keep)
	if err != nil {
		return err
	}
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
	rec, err := journal.Encode(&journal.Bind{Binding: b, Time: d.now()})
	if err != nil {
		return nil, err
	}
	if err := d.ledger.Record(b); err != nil {
		return nil, err
	}
	d.seen()
	return d.recordLedger(rec), nil
}

// Unbind forgets a subscription, durably.
func (o subscriberOf) Unbind(ctx context.Context, id identity.EntityID, publisher identity.NodeID, name string) error {
	d, err := o.rt.find(id)
	if err != nil {
		return err
	}
	t, err := d.unbind(ctx, publisher, name)
	if err != nil {
		return err
	}
	return t.wait(ctx)
}

func (d *hosted) unbind(ctx context.Context, publisher identity.NodeID, name string) (*ticket, error) {
	if err := d.attend(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	rec, err := journal.Encode(&journal.Unbind{Publisher: publisher, Channel: name, Time: d.now()})
	if err != nil {
		return nil, err
	}
	d.ledger.Forget(publisher, name)
	d.seen()
	return d.recordLedger(rec), nil
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

// Bindings returns the daemon's subscriptions.
func (o subscriberOf) Bindings(id identity.EntityID) ([]channel.Binding, error) {
	d, err := o.rt.find(id)
	if err != nil {
		return nil, err
	}
	return d.bindings()
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

// Residence is the daemon's word that it is on this node; nil where its key is
// not here.
func (o subscriberOf) Residence(ctx context.Context, id identity.EntityID) ([]byte, error) {
	d, err := o.rt.find(id)
	if err != nil {
		return nil, err
	}
	if err := d.attend(ctx); err != nil {
		return nil, err
	}
	defer d.Unlock()
	if !d.Key().CanSign() {
		return nil, nil
	}
	return channel.NewResidence(d.Key(), o.rt.env.Self, d.Epoch())
}

// startAllSubscriptions goes on with those of all daemons that serve here.
func (r *Runtime) startAllSubscriptions() {
	all := r.table.Daemons()

	for _, d := range all {
		if d.IsUnread() {
			continue // they go on when it is read
		}
		d.Lock()
		list := d.Ledger().All()
		serves := d.State().Serves()
		d.Unlock()
		if serves {
			r.subscriber.Start(d.Entity(), list)
		}
	}
}

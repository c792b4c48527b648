package engine

import (
	"context"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// BeginBinding returns the subscription, nil where there is none, and what lets the next
// change of the daemon's subscriptions begin: there is one at a time.
func (x Subscriptions) BeginBinding(ctx context.Context, publisher identity.NodeID, name string, add bool) (*channel.Binding, func(), error) {
	d := x.d
	d.binding.Lock()
	if err := d.Look(ctx); err != nil {
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

// Bind records a subscription. One that was there before has gone on meanwhile:
// keep leaves it its cursor, unless the source is another.
func (x Subscriptions) Bind(ctx context.Context, b channel.Binding, keep bool) (*pending.Ticket, error) {
	d := x.d
	if err := d.Attend(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	if old := d.ledger.Get(b.Publisher, b.Channel); keep && old != nil && old.Source == b.Source {
		b.Cursor = old.Cursor
	}
	rec, err := journal.Encode(&journal.Bind{Binding: b, Time: d.Turns().Now()})
	if err != nil {
		return nil, err
	}
	if err := d.ledger.Record(b); err != nil {
		return nil, err
	}
	d.seen()
	return x.RecordLedger(rec), nil
}

func (x Subscriptions) Unbind(ctx context.Context, publisher identity.NodeID, name string) (*pending.Ticket, error) {
	d := x.d
	if err := d.Attend(ctx); err != nil {
		return nil, err
	}
	defer d.mu.Unlock()
	rec, err := journal.Encode(&journal.Unbind{Publisher: publisher, Channel: name, Time: d.Turns().Now()})
	if err != nil {
		return nil, err
	}
	d.ledger.Forget(publisher, name)
	d.seen()
	return x.RecordLedger(rec), nil
}

// RecordLedger writes a change of the ledger. It needs d.mu.
func (x Subscriptions) RecordLedger(rec []byte) *pending.Ticket {
	if !x.d.recording() {
		return nil
	}
	return x.d.Turns().Record(rec)
}

// putLedger adds the ledger to a batch, where it is found while the daemon is
// passive. It needs d.mu.
func (d *Daemon) putLedger(b *store.Batch) error {
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

// Bindings returns the ledger, or what it was when the daemon was last not busy.
func (x Subscriptions) Bindings() ([]channel.Binding, error) {
	d := x.d
	seen := d.bound.Load()
	if seen == nil {
		if err := d.Peek(d.env.Context); err != nil {
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
func (d *Daemon) seen() {
	list := d.ledger.All()
	d.bound.Store(&list)
}

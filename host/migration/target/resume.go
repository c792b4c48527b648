package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Recover finds the daemons that were prepared before a crash, and gives each to put:
// whether they are ours only the source knows.
func (t *Arrivals) Recover(ctx context.Context, put func(*Arrival)) error {
	records := make(map[identity.EntityID]*Kept)
	err := t.env.Store.Scan(store.Incoming, func(k, v []byte) error {
		var id identity.EntityID
		rec, err := DecodeKept(bytes.Clone(v))
		if err := errors.Join(id.UnmarshalBinary(k), err); err != nil {
			return fmt.Errorf("%w: prepared daemon %x: %w", store.ErrCorrupt, k, err)
		}
		records[id] = rec
		return nil
	})
	if err != nil {
		return err
	}
	for id, rec := range records {
		in := &Arrival{of: t, env: t.env, from: rec.From, offer: rec.Offer, done: make(chan struct{}), at: migration.ResumeTarget(), named: rec.Named}
		d := engine.New(t.daemons, id, rec.Offer.Kind, canon.OrNil(rec.Offer.Module))
		d.Making().Identify(rec.Offer.Name, identity.PublicOnly(id))
		in.d = d
		d.Lock()
		err := d.Making().StoredLimits()
		if err == nil {
			in.lasting, err = stored.Facts(t.env.Store, id)
		}
		if err == nil {
			d.Making().TakeFacts(in.lasting)
			err = d.Making().RebuildWith(ctx, nil)
		}
		d.Unlock()
		if err != nil {
			t.env.Logger.Error("a prepared daemon cannot be brought back; its record is kept", "daemon", id.Origin(), "error", err)
			continue
		}
		put(in)
	}
	return nil
}

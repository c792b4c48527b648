package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/migration/source"
	"wasmhost.example/host/migration/target"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// recoverOutgoing finds the daemons that were released before a crash: they
// are the target's, and are held here until it confirms.
func (r *Runtime) recoverOutgoing() error {
	return r.env.Store.Scan(store.Outgoing, func(k, v []byte) error {
		var id identity.EntityID
		rec, err := source.DecodeReleased(v)
		if err := errors.Join(id.UnmarshalBinary(k), err); err != nil {
			return fmt.Errorf("%w: release %x: %w", store.ErrCorrupt, k, err)
		}
		d := r.table.Daemon(id)
		if d == nil {
			return fmt.Errorf("%w: daemon %s was released and is not there", store.ErrCorrupt, id.Origin())
		}
		d.Lock()
		if d.Position().State.Serves() {
			d.Pause()
		}
		d.Unlock()
		d.Moves().BeginMove()
		m, err := r.departures.Resume(subjectOf(r, d), rec, r.cluster != nil)
		if err != nil {
			return err
		}
		r.table.Depart(m)
		return nil
	})
}

// recoverIncoming finds the daemons that were prepared before a crash: whether
// they are ours only the source knows.
func (r *Runtime) recoverIncoming(ctx context.Context) error {
	records := make(map[identity.EntityID]*target.Kept)
	err := r.env.Store.Scan(store.Incoming, func(k, v []byte) error {
		var id identity.EntityID
		rec, err := target.DecodeKept(bytes.Clone(v))
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
		in := &incoming{rt: r, env: r.env, from: rec.From, offer: rec.Offer, done: make(chan struct{}), at: migration.ResumeTarget(), named: rec.Named}
		d := engine.New(r.daemons, id, rec.Offer.Kind, canon.OrNil(rec.Offer.Module))
		d.Making().Identify(rec.Offer.Name, identity.PublicOnly(id))
		in.d = d
		d.Lock()
		err := d.Making().StoredLimits()
		if err == nil {
			in.lasting, err = stored.Facts(r.env.Store, id)
		}
		if err == nil {
			d.Making().TakeFacts(in.lasting)
			err = d.Making().RebuildWith(ctx, nil)
		}
		d.Unlock()
		if err != nil {
			r.env.Logger.Error("a prepared daemon cannot be brought back; its record is kept", "daemon", id.Origin(), "error", err)
			continue
		}
		r.table.PutArrival(in)
	}
	return nil
}

// resumeMigrations goes on with what recover found.
func (r *Runtime) resumeMigrations() {
	if r.mesh == nil {
		return
	}
	departures, arrivals := r.table.Moving()
	for _, m := range departures {
		m.Continue()
	}
	for _, in := range arrivals {
		go in.inDoubt()
	}
}

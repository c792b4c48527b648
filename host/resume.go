package host

import (
	"errors"
	"fmt"

	"wasmhost.example/host/migration/source"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
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
		go in.InDoubt()
	}
}

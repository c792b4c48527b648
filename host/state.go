package host

import (
	"context"

	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// Snapshot returns the daemon's state, signed by the daemon, with its identity
// sealed to this node where it has a private key. A stateless daemon has no
// snapshot: nil, nil. ErrNotPortable where the state cannot be captured.
func (r *Runtime) Snapshot(ctx context.Context, id identity.EntityID) (*snapshot.Snapshot, error) {
	return r.snapshotAs(ctx, id, func(d *engine.Daemon) snapshot.Form { return d.Image().Form() })
}

// SnapshotGiven is Snapshot with the state as the daemon's own code gives it
// (wasmhost_snapshot), which other versions of the code can read.
// ErrNotPortable where the code gives none.
func (r Daemons) SnapshotGiven(ctx context.Context, id identity.EntityID) (*snapshot.Snapshot, error) {
	return r.rt.snapshotAs(ctx, id, func(*engine.Daemon) snapshot.Form { return snapshot.FormGiven })
}

func (r *Runtime) snapshotAs(ctx context.Context, id identity.EntityID, form func(*engine.Daemon) snapshot.Form) (*snapshot.Snapshot, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if err := d.Look(ctx); err != nil {
		return nil, err
	}
	s, last, err := d.Image().SignedSnapshot(form(d))
	d.Unlock()
	if err != nil || s == nil {
		return nil, err
	}
	return s, last.Wait(ctx) // what it contains must not be lost after it was given away
}

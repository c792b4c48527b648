package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// ErrNotFailed says that a daemon needs no mending.
var ErrNotFailed = errors.New("the daemon is neither failed nor diverged")

// MendDaemon brings a failed or diverged daemon back. Where that does not work
// the daemon stays as it was, and the error says why. Errors: *NotFoundError,
// *MovedError, ErrNotFailed, and those of reading the daemon.
func (r *Runtime) MendDaemon(ctx context.Context, id identity.EntityID, how chain.Mend) (chain.Mended, error) {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return chain.Mended{}, err
	}
	old, err := r.find(id)
	if err != nil {
		return chain.Mended{}, err
	}
	if !old.Moves().BeginMove() {
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, id.Origin())
	}
	defer old.Moves().EndMove()
	old.Lock()
	defer old.Unlock()
	if r.env.Store == nil || !old.Position().State.Broken() {
		return chain.Mended{}, fmt.Errorf("%w: %s", ErrNotFailed, id.Origin())
	}
	encoded, err := r.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return chain.Mended{}, err
	}
	d := engine.FromRecord(r.daemons, id, encoded)
	d.Lock()
	defer d.Unlock()
	if d.Position().State != lifecycle.Migrating {
		return chain.Mended{}, d.Position().Gone
	}
	d.Making().CountErrors(old.Position().Errors)
	fact, err := d.Upkeep().Repair(ctx, how)
	if err != nil {
		d.End(lifecycle.Leave, err)
		return chain.Mended{}, fmt.Errorf("mending daemon %s by %s: %w", id.Origin(), how, err)
	}
	if r.cluster.Replaced(old, d) {
		defer r.cluster.LookSoon()
	}
	r.table.Put(d)
	d.Meter().CameBack(how.String(), lifecycle.Running)
	d.Notify(daemon.WasMended, how.String())
	d.Resume()
	r.subscriber.Start(d.Entity(), d.Position().Ledger.All())
	d.Effects().StartEffects()
	d.Memory().AccountMemory()
	r.env.Logger.Warn("a daemon was mended", "daemon", id.Origin(), "how", how, "count", fact.Count, "epoch", fact.Epoch)
	return fact, nil
}

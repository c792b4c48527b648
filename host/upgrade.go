package host

import (
	"context"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Upgrade makes the module of that digest the daemon's code. The state goes
// through the hooks of both (wasmhost_snapshot, wasmhost_restore); identity,
// chain and waiting events stay. An error that wraps ErrCannotUpgrade, or is
// the *GuestError of a hook, says why it did not happen: the daemon goes on
// with the code that it had.
func (r *Runtime) Upgrade(ctx context.Context, id identity.EntityID, digest [32]byte) (daemon.Info, error) {
	if err := r.ready(); err != nil {
		return daemon.Info{}, err
	}
	d, err := r.find(id)
	if err != nil {
		return daemon.Info{}, err
	}
	m, err := r.registry.Compiled(ctx, store.Digest(digest))
	if err != nil {
		return daemon.Info{}, err
	}
	if !d.Moves().BeginMove() {
		return daemon.Info{}, fmt.Errorf("%w: it is on its way to another node", daemon.ErrCannotUpgrade)
	}
	defer d.Moves().EndMove()
	if err := d.Look(ctx); err != nil {
		return daemon.Info{}, err
	}
	err = d.Upkeep().Upgrade(ctx, guest.NewFactory(m))
	last := d.Position().Last
	d.Unlock()
	if err == nil {
		err = last.Wait(ctx) // until its standbys have it
	}
	if err != nil {
		return daemon.Info{}, fmt.Errorf("upgrading daemon %s to module %x: %w", id.Origin(), digest[:6], err)
	}
	return d.Info(), nil
}

// RollBack is Upgrade to the module that the daemon had before its last one.
func (r *Runtime) RollBack(ctx context.Context, id identity.EntityID) (daemon.Info, error) {
	d, err := r.find(id)
	if err != nil {
		return daemon.Info{}, err
	}
	if err := d.Peek(ctx); err != nil {
		return daemon.Info{}, err
	}
	previous := d.Position().Previous
	d.Unlock()
	if len(previous) != 32 {
		return daemon.Info{}, fmt.Errorf("%w: it was not upgraded", daemon.ErrCannotUpgrade)
	}
	return r.Upgrade(ctx, id, [32]byte(previous))
}

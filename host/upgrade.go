package host

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"

	"wasmhost.example/abi"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/journal"
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
	m, err := r.module(ctx, store.Digest(digest))
	if err != nil {
		return daemon.Info{}, err
	}
	if !d.BeginMove() {
		return daemon.Info{}, fmt.Errorf("%w: it is on its way to another node", daemon.ErrCannotUpgrade)
	}
	defer d.EndMove()
	if err := d.look(ctx); err != nil {
		return daemon.Info{}, err
	}
	err = d.upgrade(ctx, guest.NewFactory(m))
	last := d.LastTicket()
	d.Unlock()
	if err == nil {
		err = last.wait(ctx) // until its standbys have it
	}
	if err != nil {
		return daemon.Info{}, fmt.Errorf("upgrading daemon %s to module %x: %w", id.Origin(), digest[:6], err)
	}
	return d.info(), nil
}

// RollBack is Upgrade to the module that the daemon had before its last one.
func (r *Runtime) RollBack(ctx context.Context, id identity.EntityID) (daemon.Info, error) {
	d, err := r.find(id)
	if err != nil {
		return daemon.Info{}, err
	}
	if err := d.peek(ctx); err != nil {
		return daemon.Info{}, err
	}
	previous := d.PreviousModule()
	d.Unlock()
	if len(previous) != 32 {
		return daemon.Info{}, fmt.Errorf("%w: it was not upgraded", daemon.ErrCannotUpgrade)
	}
	return r.Upgrade(ctx, id, [32]byte(previous))
}

// LatestModule names the module that a kind has now.
const LatestModule = "latest"

// ModuleNamed returns the digest of the kind's module that version names: its whole
// digest in hexadecimal, or "latest". ErrModuleNotFound where there is no such module.
func (r Kinds) ModuleNamed(kind, version string) ([32]byte, error) {
	if version == LatestModule {
		r.rt.mu.RLock()
		k := r.rt.kinds[kind]
		r.rt.mu.RUnlock()
		if k == nil || len(k.digest) != 32 {
			return [32]byte{}, &daemon.KindError{Kind: kind, Err: daemon.ErrKindNotFound}
		}
		return [32]byte(k.digest), nil
	}
	var want [32]byte
	if n, err := hex.Decode(want[:], []byte(version[:min(len(version), 2*len(want))])); err != nil || n != len(want) || len(version) != 2*n {
		return [32]byte{}, fmt.Errorf("%w: %q; write its whole digest, 64 hexadecimal digits, or latest", daemon.ErrModuleNotFound, version)
	}
	r.rt.mu.RLock()
	_, known := r.rt.modules[want]
	r.rt.mu.RUnlock()
	if !known && r.rt.env.Store != nil {
		stored, err := r.rt.env.Store.Modules()
		if err != nil {
			return [32]byte{}, err
		}
		known = slices.ContainsFunc(stored, func(d store.Digest) bool { return d == store.Digest(want) })
	}
	if !known {
		return [32]byte{}, fmt.Errorf("%w: %q", daemon.ErrModuleNotFound, version)
	}
	return want, nil
}

// upgrade needs d.mu.
func (d *hosted) upgrade(ctx context.Context, f *guest.Factory) error {
	digest := f.Module().Digest()
	old, ok := d.daemon.(*guest.Daemon)
	switch {
	case !ok:
		return fmt.Errorf("%w: its code is native", daemon.ErrCannotUpgrade)
	case d.effects != nil && len(d.effects.Calls()) > 0:
		return fmt.Errorf("%w: %d calls of the daemon have not ended, and new code cannot go on where they wait; upgrade when inspect shows none", daemon.ErrCannotUpgrade, len(d.effects.Calls()))
	case bytes.Equal(d.module, digest[:]):
		return fmt.Errorf("%w: it runs that module already", daemon.ErrCannotUpgrade)
	case d.stateless() && f.Module().Report().State != abi.StateStateless, !d.stateless() && f.Module().Report().State == abi.StateStateless:
		return fmt.Errorf("%w: one of the two keeps state and the other says that it keeps none", daemon.ErrCannotUpgrade)
	case !d.stateless() && (old.Report().State != abi.StateHooks || f.Module().Report().State != abi.StateHooks):
		return fmt.Errorf("%w: captured memory is of one module only; to pass state on, both must export wasmhost_snapshot and wasmhost_restore", daemon.ErrCannotUpgrade)
	}
	state, err := old.Snapshot(d.stateCall())
	if err != nil {
		return err
	}
	fresh, err := f.New(ctx, d.factoryEnv())
	if err != nil {
		return err
	}
	if d.stateless() {
		err = fresh.(daemon.Initer).Init(d.stateCall(), d.config)
	} else {
		err = fresh.Restore(d.stateCall(), state)
	}
	if err == nil {
		err = d.become(fresh, digest[:])
	}
	if err != nil {
		return errors.Join(err, fresh.(io.Closer).Close())
	}
	if err := old.Close(); err != nil {
		d.env.Logger.Warn("closing a daemon's old code", "daemon", d.id.Origin(), "error", err)
	}
	d.notify(daemon.WasUpgraded, fmt.Sprintf("%x", digest))
	d.env.Logger.Info("upgraded", "daemon", d.id.Origin(), "module", fmt.Sprintf("%x", digest[:6]))
	return nil
}

// become durably makes fresh the daemon's code: record, snapshot and table
// entry in one batch.
func (d *hosted) become(fresh daemon.Daemon, module []byte) error {
	old, from, previous := d.daemon, d.module, d.previous
	d.daemon, d.module, d.previous = fresh, module, from
	err := d.storeUpgrade(from)
	if err != nil {
		d.daemon, d.module, d.previous = old, from, previous
	}
	return err
}

func (d *hosted) storeUpgrade(from []byte) error {
	if d.env.Store == nil || d.kind == "" {
		return nil
	}
	check := d.checkpointFor(chain.PurposeUpgrade, d.epoch)
	check.State = chain.CodeHash(d.kind, d.module)
	if err := check.Sign(d.key); err != nil {
		return err
	}
	rec, err := journal.Encode(&journal.Upgrade{From: from, To: d.module, Time: d.now(), Checkpoint: *check})
	if err != nil {
		return err
	}
	s, err := d.snapshot(false)
	if err != nil {
		return err
	}
	entry, err := d.record0()
	if err != nil {
		return err
	}
	b := &store.Batch{}
	b.Append(d.id, d.index, rec)
	b.Put(store.Daemons, d.id[:], entry)
	if err := putSnapshot(d.env.Store, b, d.id, d.index+1, s); err != nil {
		return err
	}
	b.Generation = d.under
	if err := d.env.Store.Commit(b); err != nil {
		return err
	}
	d.index++
	if d.leader != nil {
		d.renew()
	}
	d.kept, d.saved = d.index, saved{tried: d.env.Clock().UnixNano()}
	return nil
}

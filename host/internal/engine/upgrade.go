package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"wasmhost.example/abi"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
)

// Upgrade needs d.mu.
func (x Upkeep) Upgrade(ctx context.Context, f *guest.Factory) error {
	d := x.d
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
	state, err := old.Snapshot(d.Image().StateCall())
	if err != nil {
		return err
	}
	fresh, err := f.New(ctx, d.factoryEnv())
	if err != nil {
		return err
	}
	if d.stateless() {
		err = fresh.(daemon.Initer).Init(d.Image().StateCall(), d.config)
	} else {
		err = fresh.Restore(d.Image().StateCall(), state)
	}
	if err == nil {
		err = d.install(fresh, digest[:])
	}
	if err != nil {
		return errors.Join(err, fresh.(io.Closer).Close())
	}
	if err := old.Close(); err != nil {
		d.env.Logger.Warn("closing a daemon's old code", "daemon", d.id.Origin(), "error", err)
	}
	d.Notify(daemon.WasUpgraded, fmt.Sprintf("%x", digest))
	d.env.Logger.Info("upgraded", "daemon", d.id.Origin(), "module", fmt.Sprintf("%x", digest[:6]))
	return nil
}

// install durably makes fresh the daemon's code: record, snapshot and table
// entry in one batch.
func (d *Daemon) install(fresh daemon.Daemon, module []byte) error {
	old, from, previous := d.daemon, d.module, d.previous
	d.daemon, d.module, d.previous = fresh, module, from
	err := d.storeUpgrade(from)
	if err != nil {
		d.daemon, d.module, d.previous = old, from, previous
	}
	return err
}

func (d *Daemon) storeUpgrade(from []byte) error {
	if d.env.Store == nil || d.kind == "" {
		return nil
	}
	check := d.Image().CheckpointFor(chain.PurposeUpgrade, d.epoch)
	check.State = chain.CodeHash(d.kind, d.module)
	if err := check.Sign(d.key); err != nil {
		return err
	}
	rec, err := journal.Encode(&journal.Upgrade{From: from, To: d.module, Time: d.Turns().Now(), Checkpoint: *check})
	if err != nil {
		return err
	}
	s, err := d.snapshot(false)
	if err != nil {
		return err
	}
	entry, err := d.Making().EncodeRecord()
	if err != nil {
		return err
	}
	b := &store.Batch{}
	b.Append(d.id, d.index, rec)
	b.Put(store.Daemons, d.id[:], entry)
	if err := stored.Put(d.env.Store, b, d.id, d.index+1, s); err != nil {
		return err
	}
	b.Generation = d.generation
	if err := d.env.Store.Commit(b); err != nil {
		return err
	}
	d.index++
	if d.leader != nil {
		d.renew()
	}
	d.snapshotIndex, d.saved = d.index, stored.At(d.env.Clock().UnixNano())
	return nil
}

package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/store"
	"wasmhost.example/internal/canon"
)

// recover brings back kinds, daemons and migrations from the
// store. A daemon that cannot be brought back is kept as failed or diverged,
// with the reason, and stops no other.
func (r *Runtime) recover(ctx context.Context) error {
	if r.env.Store == nil {
		return nil
	}
	if err := r.recoverDraining(); err != nil {
		return err
	}
	if err := r.recoverIncarnation(); err != nil {
		return err
	}
	if err := r.evidence.Recover(); err != nil {
		return err
	}
	if err := r.losses.Recover(); err != nil {
		return err
	}
	if err := r.holds.Recover(); err != nil {
		return err
	}
	if err := r.recoverKinds(ctx); err != nil {
		return err
	}
	if err := r.broker.Recover(); err != nil {
		return err
	}
	if err := r.recoverDaemons(ctx); err != nil {
		return err
	}
	if r.cluster != nil {
		if err := errors.Join(r.cluster.recoverLife(), r.cluster.copies.Recover(), r.cluster.recoverMemory()); err != nil {
			return err
		}
		for _, d := range r.table.Daemons() {
			r.cluster.attach(d, leader.Beginning{Uncompared: true, Unread: d.IsUnread()})
		}
	}
	if err := r.recoverOutgoing(); err != nil {
		return err
	}
	return r.recoverIncoming(ctx)
}

func (r *Runtime) recoverKinds(ctx context.Context) error {
	records := make(map[string]kindRecord)
	err := r.env.Store.Scan(store.Kinds, func(k, v []byte) error {
		var rec kindRecord
		if err := canon.Unmarshal(v, &rec); err != nil || len(rec.Digest) != 32 {
			return fmt.Errorf("%w: kind %q: %w", store.ErrCorrupt, k, err)
		}
		records[string(k)] = rec
		return nil
	})
	if err != nil {
		return err
	}
	for name, rec := range records {
		m, err := r.module(ctx, store.Digest(rec.Digest))
		if err != nil {
			r.env.Logger.Error("a kind cannot be brought back", "kind", name, "error", err)
			continue
		}
		own, err := daemon.StoredLimits(rec.Limits)
		if err != nil {
			return fmt.Errorf("%w: kind %q: %w", store.ErrCorrupt, name, err)
		}
		r.mu.Lock()
		if _, ok := r.kinds[name]; !ok {
			r.meters.of(name)
			r.kinds[name] = &kind{name: name, factory: guest.NewFactory(m), digest: rec.Digest, size: rec.Size,
				pushed: time.Unix(0, rec.Pushed), report: m.Report(), limits: own}
		}
		r.mu.Unlock()
	}
	return nil
}

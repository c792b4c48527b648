package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// MayMove says what stands in the way of moving the daemon, and else its epoch. A key
// that is to travel must be here: that it is not is never passed over.
func (x Moves) MayMove(ctx context.Context, withKey bool) (epoch uint64, err error) {
	d := x.d
	d.want()
	d.mu.Lock()
	defer d.mu.Unlock()

	if err := d.node.Permits.MayServe(d.id); err != nil {
		return 0, err
	}
	if err := d.Memory().Wake(ctx); err != nil {
		return 0, err
	}
	if err := d.runs(); err != nil {
		return 0, err
	}
	if withKey && !d.key.CanSign() {
		return 0, migration.Failf(migration.IdentityTransportFailed, "daemon %s: %v; it can only move without, public-only or to a node that has the key", d.id.Origin(), identity.ErrReadOnly)
	}
	return d.epoch, d.Image().Portable()
}

// runs returns nil where the daemon takes events now. It needs d.mu.
func (d *Daemon) runs() error {
	if d.life.State() != lifecycle.Running {
		return fmt.Errorf("daemon %s takes no events: %w", d.id.Origin(), d.gone)
	}
	return nil
}

// Capture implements source.Serving.
func (x Moves) Capture(ctx context.Context) (*moving.View, error) {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()

	if err := d.Memory().Wake(ctx); err != nil {
		return nil, err
	}
	if err := d.runs(); err != nil {
		return nil, err
	}

	v := &moving.View{Epoch: d.epoch, Module: d.module, Previous: d.previous, Limits: d.OwnLimits().Map(), Index: d.index, Stored: d.last.Wait}
	var err error
	if of, ok := d.daemon.(moving.Memory); ok && d.Image().Form() == snapshot.FormMemory {
		v.Hash = of.Follow()
		if v.Memory, err = of.Freeze(nil); err == nil {
			v.Snapshot, err = d.Image().Header(snapshot.FormBlocks)
		}
	} else {
		v.Snapshot, err = d.snapshot(false)
	}
	if err != nil {
		return nil, err
	}
	if v.Facts, err = d.Image().EncodeFacts(); err != nil {
		return nil, err
	}
	d.beginTail()
	return v, nil
}

// Seal implements source.Serving.
func (x Moves) Seal(s *snapshot.Snapshot, manifest []byte) error {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()

	if err := d.runs(); err != nil {
		return err
	}
	if manifest == nil {
		return s.Seal(d.key)
	}
	return s.Describe(manifest, d.key)
}

// Held implements source.Serving.
func (x Moves) Held() moving.Held {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()

	return d.tail.Held()
}

// Cut implements source.Serving.
func (x Moves) Cut(since *sandbox.Frozen, pause bool) (moving.Cut, error) {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()

	if err := d.runs(); err != nil {
		return moving.Cut{}, err
	}
	if pause {
		d.Pause()
	}

	c, err := d.tail.Take()
	if err != nil {
		return c, err
	}
	if c.Records == nil {
		c.Stored = d.last.Wait
	}
	if of, ok := d.daemon.(moving.Memory); ok && since != nil {
		if c.Memory, err = of.Freeze(since); err != nil {
			return c, err
		}
	}
	c.Head = moving.Head{Sequence: d.chain.Head().Sequence, Applied: d.applied, Hash: d.chain.HeadHash()}
	return c, nil
}

// Slow implements source.Serving. It takes no lock.
func (x Moves) Slow(every time.Duration) { x.d.pacer.Set(every) }

// Stay implements source.Serving.
func (x Moves) Stay() {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()

	x.EndTail()
	d.Resume()
	if of, ok := d.daemon.(moving.Memory); ok {
		of.Thaw()
	}
}

// HandOver implements source.Leaving.
func (x Moves) HandOver(r *migration.Release, states []byte, seal *identity.SealKey) error {
	d := x.d
	d.mu.Lock()
	defer d.mu.Unlock()

	check := d.Image().CheckpointFor(chain.PurposeHandover, r.Epoch)
	check.State = states
	err := check.Sign(d.key)
	if err == nil {
		r.Checkpoint, err = canon.Marshal(check)
	}
	if err != nil || seal == nil {
		return err
	}

	head := d.chain.Head()
	env, err := identity.Seal(d.key, *seal, head.Bytes())
	if err != nil {
		return migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	r.Envelope = env.Bytes()
	return nil
}

// Release implements source.Leaving, of a daemon with a store.
func (x Moves) Release(record []byte, keepKey bool) (unsure bool, err error) {
	d := x.d
	b, err := d.releaseBatch(record, keepKey)
	if err != nil {
		return false, err
	}

	err = d.env.Store.Commit(b)
	switch {
	case errors.Is(err, store.ErrRefused):
		return false, migration.Failf(migration.StoreFailed, "writing the release: %v", err)
	case err != nil:
		d.fail(err)
		return true, err
	}
	return false, nil
}

// releaseBatch is what is written of a release.
func (d *Daemon) releaseBatch(record []byte, keepKey bool) (*store.Batch, error) {
	d.mu.Lock()
	defer d.mu.Unlock()

	b := &store.Batch{Generation: d.generation}
	b.Put(store.Outgoing, d.id[:], record)
	if keepKey {
		return b, d.Moves().KeepKey(b)
	}
	return b, nil
}

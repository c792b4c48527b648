package source

import (
	"context"
	"errors"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Released is how the store keeps a release until the target confirms.
type Released struct {
	_       struct{} `cbor:",toarray"`
	Target  identity.NodeID
	Release migration.Release
}

// DecodeReleased reads it.
func DecodeReleased(b []byte) (*Released, error) {
	rec := &Released{}
	return rec, canon.Unmarshal(b, rec)
}

// Resume returns the migration of a daemon that was released before the node started.
// asks says that another, a cluster's directory, knows whether it was taken. It goes on
// with Continue.
func (t *Departures) Resume(d *Subject, rec *Released, asks bool) (*Migration, error) {
	m, err := t.newMigration(d.Entity, d, rec.Target, Options{OmitIdentity: true})
	if err != nil {
		return nil, err
	}

	m.resuming, m.cancel = context.WithCancelCause(t.env.Context)
	m.id, m.release, m.epoch, m.above = rec.Release.Migration, &rec.Release, rec.Release.Epoch, rec.Release.Epoch-1
	m.at = migration.ResumeSource(asks)
	return m, nil
}

// Continue goes on with a migration that Resume returned, as work of the node. Of
// another it does nothing.
func (m *Migration) Continue() {
	if m.resuming == nil {
		return
	}
	m.env.Work.Go(func() {
		defer m.cancel(nil)
		m.finish(m.resume(m.resuming))
	})
}

// resume goes on with a migration that was released before a restart.
func (m *Migration) resume(ctx context.Context) *migration.Error {
	if m.Status().Phase == migration.InDoubt {
		err := m.d.Commit(ctx, m.target, m.release.Epoch)
		if err == nil {
			err = m.signal(migration.Released, migration.Source)
		}
		if err != nil {
			return exchange.ErrorOf(ctx, err)
		}
	}
	peer, err := m.of.mesh.Peer(m.target)
	for tries := exchange.Retry.Start(); err != nil; {
		m.env.Logger.Warn("a daemon was released to a node that is not trusted any more: trust it again, or see wasmhost migrations",
			"daemon", m.entity.Origin(), "to", m.target, "error", err)
		switch err := tries.Wait(ctx, m.takenBack); {
		case errors.Is(err, backoff.ErrStopped):
			return errTakenBack
		case err != nil:
			return exchange.ErrorOf(ctx, ctx.Err())
		}
		peer, err = m.of.mesh.Peer(m.target)
	}
	s := &sourceWalk{m: m, d: m.d, ctx: ctx, peer: peer}
	if err := s.leave(s.deliver()); err != nil {
		return exchange.ErrorOf(ctx, err)
	}
	return nil
}

package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// StartMigration is StartMigrationWith: the identity travels, and a target that
// is not ready is asked again for 30 s.
func (r *Runtime) StartMigration(ctx context.Context, id identity.EntityID, target identity.NodeID) (*Migration, error) {
	return r.StartMigrationWith(ctx, id, target, MigrationOptions{RetryNotReady: 30 * time.Second})
}

// StartMigrationWith begins to move the daemon to the target and returns at
// once. The daemon serves until the target has all of it; its senders then wait
// for a moment, and find it there. An error is a *migration.Error, or says that
// the runtime is not ready; nothing has changed then.
func (r *Runtime) StartMigrationWith(caller context.Context, id identity.EntityID, target identity.NodeID, o MigrationOptions) (*Migration, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.Source != 0 && o.Source != r.env.Self {
		if o.PublicOnly {
			return nil, migration.Failf(migration.IdentityTransportFailed, "a public-only migration is begun on the node that has the daemon, which keeps its key")
		}
		return r.order(caller, id, target, o)
	}
	d, err := r.find(id)
	if err != nil {
		var moved *daemon.MovedError
		if errors.As(err, &moved) {
			return nil, err
		}
		return nil, migration.Failf(migration.DaemonNotFound, "%v", err)
	}
	if r.mesh == nil {
		return nil, migration.Failf(migration.TargetUnavailable, "this node has no peers")
	}
	if target == r.env.Self {
		return nil, migration.Failf(migration.TargetUnavailable, "daemon %s is on node %s already", id.Origin(), target)
	}
	peer, err := r.mesh.Peer(target)
	if err != nil {
		return nil, migration.Failf(migration.TargetUnavailable, "%v", err)
	}
	if err := r.room(); err != nil {
		return nil, migration.Failf(migration.StoreFailed, "%v", err)
	}
	if d.kind == "" {
		return nil, migration.Failf(migration.NotPortable, "daemon %s is of no kind, so that no other node can make it", id.Origin())
	}
	if !d.BeginMove() {
		return nil, migration.Failf(migration.AlreadyMigrating, "daemon %s is migrating already", id.Origin())
	}
	m, err := r.newMigration(id, d, target, o)
	if err == nil {
		m.above, err = d.mayMove(r.env.Context, !o.OmitIdentity && !o.PublicOnly)
	}
	if err == nil {
		err = r.cluster.movable(r.env.Context, d, target)
	}
	if err != nil {
		d.EndMove()
		return nil, exchange.ErrorOf(r.env.Context, err)
	}
	ctx, cancel := context.WithCancelCause(r.env.Context)
	m.cancel = cancel
	if o.Deadline > 0 {
		late := time.AfterFunc(o.Deadline, func() {
			cancel(migration.Failf(migration.Cancelled, "the migration was given up: the daemon could not be released within %v", o.Deadline))
		})
		context.AfterFunc(ctx, func() { late.Stop() })
	}
	if o.watch != nil {
		m.watched = m.Watch(o.watch)
	}
	if !r.env.Work.Begin() {
		cancel(nil)
		d.EndMove()
		return nil, daemon.ErrShuttingDown
	}
	r.table.Depart(m)
	ctx = m.trace(ctx, caller, "migrate")
	go func() {
		defer r.env.Work.Done()
		defer cancel(nil)
		m.finish(m.run(ctx, peer))
	}()
	return m, nil
}

// mayMove says what stands in the way of moving the daemon, and else its epoch. A key
// that is to travel must be here: that it is not is never passed over.
func (d *hosted) mayMove(ctx context.Context, withKey bool) (epoch uint64, err error) {
	d.want()
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.node.Permits.MayServe(d.id); err != nil {
		return 0, err
	}
	if err := d.wake(ctx); err != nil {
		return 0, err
	}
	if d.life.State() != lifecycle.Running {
		return 0, fmt.Errorf("daemon %s takes no events: %w", d.id.Origin(), d.gone)
	}
	if withKey && !d.key.CanSign() {
		return 0, migration.Failf(migration.IdentityTransportFailed, "daemon %s: %v; it can only move without, public-only or to a node that has the key", d.id.Origin(), identity.ErrReadOnly)
	}
	return d.epoch, d.portable()
}

// run is the source's walk: it asks until the target is ready or the budget is
// spent; it asks for the last time when the budget ends.
func (m *Migration) run(ctx context.Context, peer mesh.Peer) *migration.Error {
	budget := m.options.RetryNotReady
	tries := backoff.Policy{First: 500 * time.Millisecond, Most: 16 * time.Second, For: budget}.Since(m.started)
	for attempt := 1; ; attempt++ {
		m.mu.Lock()
		m.attempts = attempt
		if attempt == 1 {
			m.notify(daemon.MigrationPhase, nil, "") // the first phase, which nothing enters
		}
		m.mu.Unlock()
		err := m.attempt(ctx, peer)
		if err == nil {
			return nil
		}
		e := exchange.ErrorOf(ctx, err)
		if !e.Code.Retriable() || budget == 0 {
			return e
		}
		switch err := tries.Wait(ctx, nil); {
		case errors.Is(err, backoff.ErrSpent):
			return &migration.Error{Code: migration.NotReadyTimeout, Text: e.Text, Attempts: attempt}
		case err != nil:
			return exchange.ErrorOf(ctx, ctx.Err())
		}
		if err := m.again(); err != nil {
			return exchange.ErrorOf(ctx, err)
		}
	}
}

// attempt walks through the phases once, a line per step. What fails before
// the release leaves the daemon serving here.
func (m *Migration) attempt(ctx context.Context, peer mesh.Peer) (err error) {
	s := &sourceWalk{m: m, d: m.d, ctx: ctx, peer: peer}
	defer func() { err = s.leave(err) }()
	steps := []func() error{
		s.capture,  // Snapshot: the daemon goes on serving
		s.offer,    // Transfer
		s.transfer, // module, history, memory, snapshot; Restore; Replay
		s.catchUp,  // what happened meanwhile
		s.pause,    // the daemon holds its events
		s.prepared, // the heads agree
		s.release,  // Cutover: the point of no return
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return s.deliver() // Complete
}

// failed is how a migration that failed is told of.
func (m *Migration) failed(err error) MigrationInfo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return MigrationInfo{Entity: m.entity, Name: m.d.name, Peer: m.target, Source: true, State: MoveFailed, Phase: m.at.Phase().Shown(), Epoch: m.above + 1,
		Bytes: m.bytes, Done: m.parts, Whole: m.whole, Rounds: len(m.passes), Began: time.Unix(0, m.startedAt), Ended: m.env.Clock(), Err: err}
}

// finish ends the migration, one way or the other.
func (m *Migration) finish(err *migration.Error) {
	committed := m.committed()
	if err != nil {
		if !committed {
			if sigErr := m.signal(migration.Failed, migration.Source); sigErr != nil {
				m.env.Logger.Error("aborting a migration", "error", sigErr)
			}
			m.d.EndMove()
			m.rt.cluster.stays(m.d)
		}
		m.rt.failures.add(m.failed(err))
		m.env.Logger.Warn("migration failed", "daemon", m.d.id.Origin(), "to", m.target, "reason", err)
	} else {
		m.env.Logger.Info("migrated", "daemon", m.d.id.Origin(), "to", m.target, "epoch", m.epoch, "downtime", m.downtime)
	}
	m.ended(err)
	m.mu.Lock()
	reason := ""
	if err != nil {
		m.err, reason = err, err.Error()
	}
	m.notify(daemon.MigrationEnded, nil, reason)
	m.traceEnd(m.err)
	m.mu.Unlock()
	if err == nil || !committed { // else it stays, to answer a target that asks: to be told that we keep the daemon, it would drop it
		m.rt.table.EndDeparture(m.d.id)
	}
	m.changes.Close()
	m.progress.Close()
	close(m.done)
}

func (s *sourceWalk) close() {
	if s.conn != nil {
		s.conn.Abort()
		s.conn = nil
	}
}

// leave ends the attempt: on failure before the release, the daemon goes on
// here as if nothing had happened.
func (s *sourceWalk) leave(err error) error {
	committed := s.m.committed()
	if err == nil {
		if s.conn != nil {
			err = s.conn.Close()
			if err != nil {
				s.m.env.Logger.Debug("closing a migration stream", "error", err)
			}
		}
		return nil
	}
	s.d.Pacer().Set(0)
	if !committed {
		s.d.mu.Lock()
		s.d.endTail()
		s.d.resume()
		s.d.mu.Unlock()
		if s.memory != nil {
			s.memory.of.Thaw()
		}
	}
	if s.conn != nil {
		var refused *exchange.Refusal
		if !committed && !errors.As(err, &refused) { // who hears a refusal drops the daemon
			if sendErr := s.conn.Send(migration.NewRefuse(exchange.ErrorOf(s.ctx, err))); sendErr == nil {
				sendErr = s.conn.Close()
				if sendErr == nil {
					return err
				}
			}
		}
		s.close()
	}
	return err
}

// send sends m. Where that fails because the target refused meanwhile, the
// error is its refusal.
func (s *sourceWalk) send(m migration.Message) error {
	err := s.conn.Send(m)
	if err == nil {
		return nil
	}
	var refused *exchange.Refusal
	if _, recvErr := exchange.Receive[*migration.Arrived](s.conn); errors.As(recvErr, &refused) {
		return refused
	}
	return exchange.CutOff(err)
}

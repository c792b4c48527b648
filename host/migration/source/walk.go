package source

import (
	"context"
	"errors"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
)

// run is the source's walk: it asks until the target is ready or the budget is
// spent; it asks for the last time when the budget ends.
func (m *Migration) run(ctx context.Context, peer mesh.Peer) *migration.Error {
	budget := m.options.retryNotReady()
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

// finish ends the migration, one way or the other.
func (m *Migration) finish(err *migration.Error) {
	if err != nil {
		if !m.committed() {
			if sigErr := m.signal(migration.Failed, migration.Source); sigErr != nil {
				m.env.Logger.Error("aborting a migration", "error", sigErr)
			}
		}
		m.env.Logger.Warn("migration failed", "daemon", m.entity.Origin(), "to", m.target, "reason", err)
	} else {
		m.env.Logger.Info("migrated", "daemon", m.entity.Origin(), "to", m.target, "epoch", m.epoch, "downtime", m.downtime)
	}
	m.d.Ended(m, err)

	m.mu.Lock()
	reason := ""
	if err != nil {
		m.err, reason = err, err.Error()
	}
	m.notify(daemon.MigrationEnded, nil, reason)
	m.traceEnd(m.err)
	m.mu.Unlock()
	m.changes.Close()
	m.progress.Close()
	close(m.done)
}

// sendsIdentity reports whether the daemon's key goes along.
func (m *Migration) sendsIdentity() bool { return !m.options.OmitIdentity && !m.options.PublicOnly }

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
	s.d.Slow(0)
	if !committed {
		s.d.Stay()
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

package source

import (
	"context"
	"errors"
	"io"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// The end of the source's walk: the release, which is the point of no return,
// and its way to the target.

// release signs the hand-over, seals the identity and writes both durably.
func (s *sourceWalk) release() error {
	rel := &migration.Release{Migration: s.m.id, Entity: s.m.entity, Epoch: s.view.Epoch + 1, Sequence: s.head.Sequence, Head: s.head.Hash[:]}
	states := chain.Handover(s.m.env.Self, s.m.target)
	if s.m.options.PublicOnly {
		states = chain.HandoverPublic(s.m.env.Self, s.m.target)
	}
	var seal *identity.SealKey
	if s.m.sendsIdentity() {
		seal = &s.seal
	}
	if err := s.d.HandOver(rel, states, seal); err != nil {
		return err
	}

	s.m.mu.Lock()
	err := s.m.step(migration.Agreed, migration.Source)
	if err == nil {
		s.m.release = rel
	}
	s.m.mu.Unlock()
	if err != nil {
		return err
	}
	return s.m.commit(s.ctx, rel)
}

// commit is the point of no return: once the record is durable, the target
// owns the daemon.
func (m *Migration) commit(ctx context.Context, rel *migration.Release) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	rec, err := canon.Marshal(&Released{Target: m.target, Release: *rel})
	if err != nil {
		return err
	}

	switch unsure, err := m.d.Release(rec, m.options.PublicOnly); {
	case unsure:
		// Whether the record is on disk is not known, so neither side may
		// serve until a restart has read it.
		err = errors.Join(err, m.signal(migration.Unsure, migration.Source))
		return migration.Failf(migration.StoreFailed, "writing the release: %v; restart this node to settle who owns the daemon", err)
	case err != nil:
		return err
	}
	if err := m.d.Commit(m.env.Context, m.target, rel.Epoch); err != nil {
		return errors.Join(err, m.signal(migration.Unsure, migration.Source))
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch, m.queued = rel.Epoch, m.d.Waiting()
	return m.step(migration.Released, migration.Source)
}

// deliver brings the release to the target, again and again until it confirms,
// and then leaves a tombstone. Only the runtime's end stops it; the next start
// goes on.
func (s *sourceWalk) deliver() error {
	tries := exchange.Retry.Start()
	var done *migration.Done
	for {
		var err error
		if done, err = s.m.hand(s.conn); err == nil {
			break
		}
		s.m.env.Logger.Warn("the target has not confirmed a release yet", "daemon", s.m.entity.Origin(), "to", s.m.target, "error", err)
		s.close()
		switch err := tries.Wait(s.m.env.Context, s.m.takenBack); {
		case errors.Is(err, backoff.ErrStopped):
			return errTakenBack
		case err != nil:
			return migration.Failf(migration.SourceUnavailable, "this node shut down before the target confirmed that it has the daemon; it goes on when it starts again")
		}
		if s.conn, err = s.peer.OpenMigration(s.m.env.Context); err != nil {
			s.conn = nil
		}
	}
	s.m.mu.Lock()
	if err := s.m.step(migration.Confirmed, migration.Target); err != nil {
		s.m.mu.Unlock()
		return errTakenBack
	}
	if !s.paused.IsZero() {
		s.m.downtime = time.Since(s.paused)
	}
	s.m.mu.Unlock()
	rec := s.m.countersign(done)
	s.m.mu.Lock()
	s.m.receipt = rec
	s.m.mu.Unlock()

	bound := s.d.Leave(s.m.target, s.m.release.Epoch, rec)
	err := s.m.signal(migration.Activated, migration.Target)
	s.rebound(bound)
	s.give(rec)
	return err
}

// hand sends the release and waits for Done.
func (m *Migration) hand(conn migration.Conn) (*migration.Done, error) {
	if conn == nil {
		return nil, mesh.ErrUnreachable
	}
	heard := make(chan struct{})
	defer close(heard)
	go func() {
		select {
		case <-m.takenBack: // who takes it back waits for nobody
			conn.Abort()
		case <-heard:
		}
	}()
	if err := conn.Send(m.release); err != nil {
		return nil, err
	}
	done, err := exchange.Receive[*migration.Done](conn)
	if err != nil {
		return nil, err
	}
	if done.Epoch < m.release.Epoch {
		return nil, migration.Failf(migration.StaleEpoch, "the target serves epoch %d, not %d", done.Epoch, m.release.Epoch)
	}
	return done, nil
}

// countersign makes the receipt whole; nil where the target said nothing, or
// what is not so.
func (m *Migration) countersign(done *migration.Done) *chain.Receipt {
	if len(done.Receipt) == 0 {
		return nil
	}
	rec, err := m.signMove(done.Receipt)
	if err != nil {
		m.env.Logger.Error("the target's receipt is not of this migration", "daemon", m.entity.Origin(), "to", m.target, "error", err)
		return nil
	}
	return rec
}

// give sends the target the receipt, and waits for a moment until it has it: who
// asks it when the migration is done finds the whole. Where this fails it is tried
// again for resumeFor, while the migration is over.
func (s *sourceWalk) give(rec *chain.Receipt) {
	if rec == nil {
		return
	}
	err := s.m.giveOver(s.conn, rec)
	if err == nil || !s.m.env.Work.Begin() {
		return
	}
	go func() {
		defer s.m.env.Work.Done()
		s.m.giveLater(s.peer, rec, err)
	}()
}

func (m *Migration) giveLater(peer mesh.Peer, rec *chain.Receipt, err error) {
	tries := backoff.Policy{First: exchange.Retry.First, Most: exchange.Retry.Most, For: exchange.ResumeFor}.Start()
	for err != nil {
		switch waited := tries.Wait(m.env.Context, nil); {
		case errors.Is(waited, backoff.ErrSpent):
			m.env.Logger.Info("the target of a migration has a receipt with its own signature only", "daemon", m.entity.Origin(), "to", m.target, "error", err)
			return
		case waited != nil:
			return
		}
		err = m.giveAgain(peer, rec)
	}
}

// giveAgain brings the receipt over a connection of its own: whoever hears a
// release once more confirms it once more, and then waits for the receipt.
func (m *Migration) giveAgain(peer mesh.Peer, rec *chain.Receipt) error {
	conn, err := peer.OpenMigration(m.env.Context)
	if err != nil {
		return err
	}
	defer conn.Abort()
	defer time.AfterFunc(migration.Patience, conn.Abort).Stop()
	if _, err := m.hand(conn); err != nil {
		return err
	}
	return m.giveOver(conn, rec)
}

// giveOver sends the receipt and waits until the target closes the stream, which
// says that it has it.
func (m *Migration) giveOver(conn migration.Conn, rec *chain.Receipt) error {
	if conn == nil {
		return mesh.ErrUnreachable
	}
	b, err := rec.Encode()
	if err == nil {
		err = conn.Send(&migration.Receipt{Bytes: b})
	}
	const moment = 2 * time.Second
	defer time.AfterFunc(moment, conn.Abort).Stop()
	for err == nil {
		_, err = conn.Recv() // which subscriptions are bound, perhaps
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

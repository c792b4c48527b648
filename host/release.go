package host

import (
	"context"
	"errors"
	"io"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// The end of the source's walk: the release, which is the point of no return,
// and its way to the target.

// release seals the identity, signs the hand-over and writes both durably.
// Nobody else has the lock: the daemon is paused.
func (s *sourceWalk) release() error {
	rel := &migration.Release{Migration: s.m.id, Entity: s.d.id, Epoch: s.d.epoch + 1, Sequence: s.d.chain.Head().Sequence, Head: s.head[:]}
	check := s.d.checkpointFor(chain.PurposeHandover, rel.Epoch)
	check.State = chain.Handover(s.m.env.Self, s.m.target)
	if s.m.options.PublicOnly {
		check.State = chain.HandoverPublic(s.m.env.Self, s.m.target)
	}
	err := check.Sign(s.d.key)
	if err == nil {
		rel.Checkpoint, err = canon.Marshal(check)
	}
	if err == nil && s.sendsIdentity() {
		rel.Envelope, err = s.sealed()
	}
	if err != nil {
		return err
	}
	s.m.mu.Lock()
	if err = s.m.step(migration.Agreed, migration.Source); err == nil {
		s.m.release = rel
	}
	s.m.mu.Unlock()
	if err != nil {
		return err
	}
	return s.m.commit(s.ctx, rel)
}

func (s *sourceWalk) sealed() ([]byte, error) {
	head := s.d.chain.Head()
	env, err := identity.Seal(s.d.key, s.seal, head.Bytes())
	if err != nil {
		return nil, migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	return env.Bytes(), nil
}

// releasedRecord is how the store keeps a release until the target confirms.
type releasedRecord struct {
	_       struct{} `cbor:",toarray"`
	Target  identity.NodeID
	Release migration.Release
}

// commit is the point of no return: once the record is durable, the target
// owns the daemon.
func (m *Migration) commit(ctx context.Context, rel *migration.Release) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.env.Store != nil {
		rec, err := canon.Marshal(&releasedRecord{Target: m.target, Release: *rel})
		if err != nil {
			return err
		}
		b := &store.Batch{}
		b.Put(store.Outgoing, m.d.id[:], rec)
		b.Generation = m.d.under
		if m.options.PublicOnly {
			if err := m.d.keepKey(b); err != nil {
				return err
			}
		}
		if err := m.env.Store.Commit(b); errors.Is(err, store.ErrRefused) {
			return migration.Failf(migration.StoreFailed, "writing the release: %v", err)
		} else if err != nil {
			// Whether the record is on disk is not known, so neither side may
			// serve until a restart has read it.
			m.d.fail(err)
			err = errors.Join(err, m.signal(migration.Unsure, migration.Source))
			return migration.Failf(migration.StoreFailed, "writing the release: %v; restart this node to settle who owns the daemon", err)
		}
	}
	if m.env.Store == nil && m.options.PublicOnly && m.d.key.CanSign() {
		m.rt.mu.Lock()
		m.rt.kept[m.d.id] = m.d.key.Clone()
		m.rt.mu.Unlock()
	}
	if m.d.leader != nil {
		if err := m.rt.cluster.move(m.env.Context, m, rel); err != nil {
			return errors.Join(err, m.signal(migration.Unsure, migration.Source))
		}
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch, m.queued = rel.Epoch, m.d.waiting.Load()
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
		s.m.env.Logger.Warn("the target has not confirmed a release yet", "daemon", s.d.id.Origin(), "to", s.m.target, "error", err)
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
	s.d.mu.Lock()
	bound := s.d.ledger.All()
	s.d.mu.Unlock()
	err := s.m.settle(rec)
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

// settle replaces the daemon by a tombstone: its senders go to the target. They
// need not wait for the disk, which has the release; but until it has the
// tombstone the daemon's place is taken, lest it come back and what is kept of it
// be forgotten.
func (m *Migration) settle(rec *chain.Receipt) error {
	t := table.Tombstone{Name: m.d.name, Node: m.target, Epoch: m.release.Epoch, Time: m.env.Clock().UnixNano()}
	m.d.mu.Lock()
	m.d.endTail()
	grave, err := m.rt.grave(m.d, t)
	m.d.end(lifecycle.Leave, &daemon.MovedError{Moved: movedBy(t, m.d.id)})
	m.d.mu.Unlock()
	if err == nil && rec != nil {
		err = m.rt.evidence.PutReceipts(grave, rec)
	}
	if err == nil {
		err = m.rt.bury(m.d, t, grave)
	}
	if err != nil { // the store is poisoned; the daemon is gone from here all the same
		m.env.Logger.Error("storing where a daemon went", "daemon", m.d.id.Origin(), "error", err)
		m.rt.forgetHere(m.d, t, false)
	}
	return m.signal(migration.Activated, migration.Target)
}

// countersign makes the receipt whole; nil where the target said nothing, or
// what is not so.
func (m *Migration) countersign(done *migration.Done) *chain.Receipt {
	if len(done.Receipt) == 0 {
		return nil
	}
	rec, err := m.signMove(done.Receipt)
	if err != nil {
		m.env.Logger.Error("the target's receipt is not of this migration", "daemon", m.d.id.Origin(), "to", m.target, "error", err)
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
			m.env.Logger.Info("the target of a migration has a receipt with its own signature only", "daemon", m.d.id.Origin(), "to", m.target, "error", err)
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

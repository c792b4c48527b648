package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost/host/migration"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/wire/canon"
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
func (r *Runtime) StartMigrationWith(_ context.Context, id identity.EntityID, target identity.NodeID, o MigrationOptions) (*Migration, error) {
	if err := r.ready(); err != nil {
		return nil, err
	}
	if o.Source != 0 && o.Source != r.self {
		return r.order(id, target, o)
	}
	d, err := r.find(id)
	if err != nil {
		var moved *MovedError
		if errors.As(err, &moved) {
			return nil, err
		}
		return nil, migration.Failf(migration.DaemonNotFound, "%v", err)
	}
	if r.mesh == nil {
		return nil, migration.Failf(migration.TargetUnavailable, "this node has no peers")
	}
	if target == r.self {
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
	if !d.moving.CompareAndSwap(false, true) {
		return nil, migration.Failf(migration.AlreadyMigrating, "daemon %s is migrating already", id.Origin())
	}
	m, err := r.newMigration(id, d, target, o)
	if err == nil {
		err = d.mayMove(r.ctx, o)
	}
	if err != nil {
		d.moving.Store(false)
		return nil, asError(r.ctx, err)
	}
	ctx, cancel := context.WithCancelCause(r.ctx)
	m.cancel = cancel
	r.mu.Lock()
	if r.life.Load() == lifeShuttingDown {
		r.mu.Unlock()
		cancel(nil)
		d.moving.Store(false)
		return nil, ErrShuttingDown
	}
	r.outgoing[id] = m
	r.work.Add(1)
	r.mu.Unlock()
	go func() {
		defer r.work.Done()
		defer cancel(nil)
		m.finish(m.run(ctx, peer))
	}()
	return m, nil
}

// mayMove says what stands in the way of moving the daemon as o asks. A key
// that is to travel must be here: that it is not is never passed over.
func (d *hosted) mayMove(ctx context.Context, o MigrationOptions) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.wake(ctx); err != nil {
		return err
	}
	if d.state != stateRunning {
		return fmt.Errorf("daemon %s takes no events: %w", d.id.Origin(), d.gone)
	}
	if !o.OmitIdentity && !d.key.CanSign() {
		return fmt.Errorf("daemon %s: %w; it can only move without", d.id.Origin(), identity.ErrReadOnly)
	}
	return d.portable()
}

// run is the source's walk: it asks until the target is ready or the budget is
// spent.
func (m *Migration) run(ctx context.Context, peer Peer) *migration.Error {
	const first, most = 500 * time.Millisecond, 16 * time.Second
	budget := m.options.RetryNotReady
	pause := first
	for attempt := 1; ; attempt++ {
		m.mu.Lock()
		m.attempts = attempt
		m.mu.Unlock()
		err := m.attempt(ctx, peer)
		if err == nil {
			return nil
		}
		e := asError(ctx, err)
		if !e.Code.Retriable() || budget == 0 {
			return e
		}
		if time.Since(m.started)+pause > budget {
			return &migration.Error{Code: migration.NotReadyTimeout, Text: e.Text, Attempts: attempt}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return asError(ctx, ctx.Err())
		}
		pause = min(2*pause, most)
		m.again()
	}
}

// attempt walks through the phases once, a line per step. What fails before
// the release leaves the daemon serving here.
func (m *Migration) attempt(ctx context.Context, peer Peer) (err error) {
	s := &sourceWalk{m: m, d: m.d, ctx: ctx, peer: peer}
	defer func() { err = s.leave(err) }()
	steps := []func() error{
		s.capture,  // Snapshot: the daemon goes on serving
		s.offer,    // Transfer
		s.transfer, // module, history, snapshot
		s.arrived,  // Restore
		s.restored, // Replay
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
	m.mu.Lock()
	released := m.release != nil || m.doubt
	m.mu.Unlock()
	if err != nil {
		if !released {
			if sigErr := m.signal(migration.Failed, migration.Source); sigErr != nil {
				m.rt.logger.Error("aborting a migration", "error", sigErr)
			}
			m.d.moving.Store(false)
		}
		m.rt.logger.Warn("migration failed", "daemon", m.d.id.Origin(), "to", m.target, "reason", err)
	} else {
		m.rt.logger.Info("migrated", "daemon", m.d.id.Origin(), "to", m.target, "epoch", m.epoch, "downtime", m.downtime)
	}
	m.mu.Lock()
	if err != nil {
		m.err = err
	}
	m.mu.Unlock()
	if err == nil || !released { // else it stays, to answer a target that asks: to be told that we keep the daemon, it would drop it
		m.rt.mu.Lock()
		delete(m.rt.outgoing, m.d.id)
		m.rt.mu.Unlock()
	}
	m.changes.close()
	close(m.done)
}

// sourceWalk is one attempt. Its conn is nil before offer.
type sourceWalk struct {
	m      *Migration
	d      *hosted
	ctx    context.Context
	peer   Peer
	conn   migration.Conn
	seal   identity.SealKey // the target's, where the identity travels
	snap   *Snapshot
	index  uint64  // of the first record after the snapshot
	last   *ticket // of the last record before it
	module []byte
	head   Hash
	paused time.Time
}

func (s *sourceWalk) capture() error {
	if s.d.module != nil {
		var err error
		if s.module, err = s.m.rt.Module(s.ctx, store.Digest(s.d.module)); err != nil && s.m.rt.store != nil {
			return err
		}
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if err := s.d.wake(s.ctx); err != nil {
		return err
	}
	if s.d.state != stateRunning {
		return fmt.Errorf("daemon %s takes no events: %w", s.d.id.Origin(), s.d.gone)
	}
	var err error
	if s.snap, err = s.d.snapshot(false); err != nil {
		return err
	}
	s.index, s.last = s.d.index, s.d.last
	s.d.tail = &tail{limit: s.d.limits.TailBytes, next: s.d.index}
	return s.m.signal(migration.Captured, migration.Source)
}

func (s *sourceWalk) offer() error {
	var err error
	if s.conn, err = s.peer.OpenMigration(s.ctx); err != nil {
		return err
	}
	if s.sendsIdentity() {
		if s.seal, err = s.peer.SealKey(s.ctx); err != nil {
			return migration.Failf(migration.IdentityTransportFailed, "the target's seal key is not known: %v", err)
		}
	}
	history := uint64(0)
	if s.m.rt.store != nil {
		history = s.index
	}
	return s.send(&migration.Offer{Version: migration.Version, Migration: s.m.id, Entity: s.d.id, Name: s.d.name, Kind: s.d.kind,
		Module: s.d.module, ModuleSize: uint64(len(s.module)), Epoch: s.d.epoch, Identity: s.sendsIdentity(), History: history})
}

func (s *sourceWalk) sendsIdentity() bool { return !s.m.options.OmitIdentity }

func (s *sourceWalk) transfer() error {
	accept, err := receive[*migration.Accept](s.conn)
	if err != nil {
		return err
	}
	if accept.NeedModule {
		if s.module == nil {
			return migration.Failf(migration.FactoryNotFound, "the target lacks the module, and this node keeps no copy to send")
		}
		if err := s.chunks(s.module, func(b []byte, _ bool) migration.Message { return &migration.ModuleChunk{Bytes: b} }); err != nil {
			return err
		}
	}
	if err := s.history(); err != nil {
		return err
	}
	encoded, err := s.snap.Encode()
	if err != nil {
		return err
	}
	return s.chunks(encoded, func(b []byte, last bool) migration.Message { return &migration.SnapshotChunk{Bytes: b, Last: last} })
}

func (s *sourceWalk) chunks(b []byte, message func(part []byte, last bool) migration.Message) error {
	for {
		n := min(len(b), migration.MaxChunk)
		if err := s.send(message(b[:n], n == len(b))); err != nil {
			return err
		}
		s.m.sent(n)
		if b = b[n:]; len(b) == 0 {
			return nil
		}
	}
}

// history sends the records before the snapshot, once they are durable.
func (s *sourceWalk) history() error {
	if s.m.rt.store == nil {
		return nil
	}
	if err := s.last.wait(s.ctx); err != nil {
		return err
	}
	batch, size := &migration.HistoryBatch{}, 0
	flush := func() error {
		if len(batch.Records) == 0 {
			return nil
		}
		if err := s.send(batch); err != nil {
			return err
		}
		s.m.sent(size)
		batch, size = &migration.HistoryBatch{}, 0
		return nil
	}
	err := s.m.rt.store.ReadHistory(s.d.id, 0, s.index, func(index uint64, rec []byte) error {
		if len(batch.Records) == 0 {
			batch.From = index
		}
		batch.Records = append(batch.Records, append([]byte(nil), rec...))
		if size += len(rec); size >= migration.MaxBatchBytes || len(batch.Records) >= canon.MaxElements/2 {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

func (s *sourceWalk) arrived() error {
	if _, err := receive[*migration.Arrived](s.conn); err != nil {
		return err
	}
	return s.m.signal(migration.Received, migration.Target)
}

func (s *sourceWalk) restored() error {
	ready, err := receive[*migration.Ready](s.conn)
	if err != nil {
		return err
	}
	if h := s.snap.Checkpoint.Head; Hash(ready.Head) != h || ready.Sequence != s.snap.Header.Through {
		return migration.Failf(migration.StateFailed, "the target restored head %x, the snapshot has %s", ready.Head, h)
	}
	return s.m.signal(migration.Restored, migration.Target)
}

// catchUp sends what the daemon did meanwhile, while it goes on, until little
// is left or it makes more than can be sent.
func (s *sourceWalk) catchUp() error {
	const rounds, little = 16, 64
	for range rounds {
		s.d.mu.Lock()
		from, records, err := s.d.tail.take()
		s.d.mu.Unlock()
		if err != nil {
			return err
		}
		if err := s.tail(from, records, false); err != nil {
			return err
		}
		if len(records) < little {
			return nil
		}
	}
	return nil
}

// tail sends records in messages of bounded size; the last of them with last
// set.
func (s *sourceWalk) tail(from uint64, records [][]byte, last bool) error {
	for {
		n, size := 0, 0
		for n < len(records) && size < migration.MaxBatchBytes && n < canon.MaxElements/2 {
			size += len(records[n])
			n++
		}
		end := n == len(records)
		if n > 0 || last {
			if err := s.send(&migration.Tail{From: from, Records: records[:n], Last: last && end}); err != nil {
				return err
			}
			s.m.sent(size)
		}
		if end {
			return nil
		}
		from, records = from+uint64(n), records[n:]
	}
}

func (s *sourceWalk) pause() error {
	s.d.mu.Lock()
	if s.d.state != stateRunning {
		defer s.d.mu.Unlock()
		return fmt.Errorf("daemon %s takes no events: %w", s.d.id.Origin(), s.d.gone)
	}
	s.d.pause()
	s.paused = time.Now()
	from, records, err := s.d.tail.take()
	s.head = s.d.chain.HeadHash()
	s.d.mu.Unlock()
	if err != nil {
		return err
	}
	return s.tail(from, records, true)
}

// prepared waits for the target while the daemon holds its events, and so not
// for ever.
func (s *sourceWalk) prepared() error {
	impatient := time.AfterFunc(migration.Patience, s.conn.Abort)
	p, err := receive[*migration.Prepared](s.conn)
	if !impatient.Stop() {
		return migration.Failf(migration.TargetUnavailable, "the target did not apply the last events within %v", migration.Patience)
	}
	if err != nil {
		return err
	}
	if Hash(p.Head) != s.head || p.Applied != s.d.applied || p.Sequence != s.d.chain.Head().Sequence {
		return migration.Failf(migration.StateFailed, "the target's head %x after %d events differs from the source's %s after %d",
			p.Head, p.Applied, s.head, s.d.applied)
	}
	return nil
}

// release seals the identity, signs the hand-over and writes both durably.
// Nobody else has the lock: the daemon is paused.
func (s *sourceWalk) release() error {
	rel := &migration.Release{Migration: s.m.id, Entity: s.d.id, Epoch: s.d.epoch + 1, Sequence: s.d.chain.Head().Sequence, Head: s.head[:]}
	check := s.d.checkpointFor(PurposeHandover, rel.Epoch)
	check.State = handover(s.m.rt.self, s.m.target)
	err := check.sign(s.d.key)
	if err == nil {
		rel.Checkpoint, err = canon.Marshal(check)
	}
	if err == nil && s.sendsIdentity() {
		rel.Envelope, err = s.sealed()
	}
	if err != nil {
		return err
	}
	if err := s.m.commit(s.ctx, rel); err != nil {
		return err
	}
	return s.m.signal(migration.Released, migration.Source)
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
	if m.rt.store != nil {
		rec, err := canon.Marshal(&releasedRecord{Target: m.target, Release: *rel})
		if err != nil {
			return err
		}
		b := &store.Batch{}
		b.Put(store.Outgoing, m.d.id[:], rec)
		b.Generation = m.d.under
		if err := m.rt.store.Commit(b); errors.Is(err, store.ErrRefused) {
			return migration.Failf(migration.StoreFailed, "writing the release: %v", err)
		} else if err != nil {
			// Whether the record is on disk is not known, so neither side may
			// serve until a restart has read it.
			m.d.fail(err)
			m.mu.Lock()
			m.doubt = true
			m.mu.Unlock()
			return migration.Failf(migration.StoreFailed, "writing the release: %v; restart this node to settle who owns the daemon", err)
		}
	}
	m.mu.Lock()
	m.release, m.epoch = rel, rel.Epoch
	m.mu.Unlock()
	return nil
}

// deliver brings the release to the target, again and again until it confirms,
// and then leaves a tombstone. Only the runtime's end stops it; the next start
// goes on.
func (s *sourceWalk) deliver() error {
	pause := 50 * time.Millisecond
	for {
		err := s.m.hand(s.conn)
		if err == nil {
			break
		}
		s.m.rt.logger.Warn("the target has not confirmed a release yet", "daemon", s.d.id.Origin(), "to", s.m.target, "error", err)
		s.close()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-s.m.takenBack:
			timer.Stop()
			return errTakenBack
		case <-s.m.rt.ctx.Done():
			timer.Stop()
			return migration.Failf(migration.SourceUnavailable, "this node shut down before the target confirmed that it has the daemon; it goes on when it starts again")
		}
		pause = min(2*pause, 5*time.Second)
		if s.conn, err = s.peer.OpenMigration(s.m.rt.ctx); err != nil {
			s.conn = nil
		}
	}
	s.m.mu.Lock()
	if s.m.taken {
		s.m.mu.Unlock()
		return errTakenBack
	}
	s.m.settling = true
	if !s.paused.IsZero() {
		s.m.downtime = time.Since(s.paused)
	}
	s.m.mu.Unlock()
	return s.m.settle()
}

// hand sends the release and waits for Done.
func (m *Migration) hand(conn migration.Conn) error {
	if conn == nil {
		return ErrUnreachable
	}
	if err := conn.Send(m.release); err != nil {
		return err
	}
	done, err := receive[*migration.Done](conn)
	if err != nil {
		return err
	}
	if done.Epoch < m.release.Epoch {
		return migration.Failf(migration.StaleEpoch, "the target serves epoch %d, not %d", done.Epoch, m.release.Epoch)
	}
	return nil
}

// settle replaces the daemon by a tombstone: its senders go to the target.
func (m *Migration) settle() error {
	t := tombstone{Name: m.d.name, Node: m.target, Epoch: m.release.Epoch, Time: m.rt.clock().UnixNano()}
	m.d.mu.Lock()
	m.d.tail = nil
	err := m.rt.bury(m.d, t, &MovedError{t.moved(m.d.id)})
	if err != nil { // the store is poisoned; the daemon is gone from here all the same
		m.rt.logger.Error("storing where a daemon went", "daemon", m.d.id.Origin(), "error", err)
		m.rt.mu.Lock()
		m.rt.moved[m.d.id] = t
		m.rt.mu.Unlock()
		m.rt.release(m.d)
		m.d.end(stateGone, &MovedError{t.moved(m.d.id)})
	}
	m.d.mu.Unlock()
	return m.signal(migration.Activated, migration.Target)
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
	s.m.mu.Lock()
	released := s.m.release != nil || s.m.doubt
	s.m.mu.Unlock()
	if err == nil {
		if s.conn != nil {
			err = s.conn.Close()
			if err != nil {
				s.m.rt.logger.Debug("closing a migration stream", "error", err)
			}
		}
		return nil
	}
	if !released {
		s.d.mu.Lock()
		s.d.tail = nil
		s.d.resume()
		s.d.mu.Unlock()
	}
	if s.conn != nil {
		var refused *peerRefusal
		if !released && !errors.As(err, &refused) { // who hears a refusal drops the daemon
			if sendErr := s.conn.Send(migration.NewRefuse(asError(s.ctx, err))); sendErr == nil {
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

// peerRefusal is the other side's Refuse.
type peerRefusal struct{ why *migration.Error }

func (p *peerRefusal) Error() string { return p.why.Error() }
func (p *peerRefusal) Unwrap() error { return p.why }

// send sends m. Where that fails because the target refused meanwhile, the
// error is its refusal.
func (s *sourceWalk) send(m migration.Message) error {
	err := s.conn.Send(m)
	if err == nil {
		return nil
	}
	var refused *peerRefusal
	if _, recvErr := receive[*migration.Arrived](s.conn); errors.As(recvErr, &refused) {
		return refused
	}
	return migration.Failf(migration.TargetUnavailable, "the connection broke: %v", err)
}

// receive returns the next message, which must be a T. A Refuse is the error
// that it carries.
func receive[T migration.Message](c migration.Conn) (T, error) {
	var none T
	msg, err := c.Recv()
	if err != nil {
		return none, migration.Failf(migration.TargetUnavailable, "the connection broke: %v", err)
	}
	switch msg := msg.(type) {
	case T:
		return msg, nil
	case *migration.Refuse:
		return none, &peerRefusal{&migration.Error{Code: msg.Code, Text: msg.Text}}
	default:
		return none, migration.Failf(migration.ProtocolError, "the peer sent a %T where a %T should be", msg, none)
	}
}

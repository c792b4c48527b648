package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"wasmhost/abi"
	"wasmhost/host/migration"
	"wasmhost/host/store"
	"wasmhost/identity"
	"wasmhost/wire/canon"
)

// incoming is one daemon on its way here. Until it is prepared it can be
// dropped at any time; from then on only the source can say what becomes of
// it.
type incoming struct {
	rt    *Runtime
	from  identity.NodeID
	offer migration.Offer
	d     *hosted // holds its events; not in the runtime's table yet

	module   []byte
	snapshot []byte
	history  uint64 // records that came
	next     uint64 // index, at the source, of the next record of the tail

	mu       sync.Mutex
	prepared bool
	settled  bool          // activated or discarded
	done     chan struct{} // closed when settled
}

// HandleMigration implements Handler.
func (r *Runtime) HandleMigration(ctx context.Context, from identity.NodeID, c migration.Conn) {
	if !r.startWork() {
		r.answer(c, migration.NewRefuse(migration.Failf(migration.NotReady, "the node is shutting down")))
		return
	}
	defer r.work.Done()
	defer context.AfterFunc(r.ctx, c.Abort)()
	msg, err := c.Recv()
	if err != nil {
		r.logger.Debug("a migration stream broke", "from", from, "error", err)
		return
	}
	switch msg := msg.(type) {
	case *migration.Offer:
		err = r.takeOffer(ctx, from, c, msg)
	case *migration.Release:
		err = r.takeRelease(from, c, msg)
	case *migration.Ask:
		r.answerAsk(from, c, msg)
	default:
		err = migration.Failf(migration.ProtocolError, "a %T where an offer should be", msg)
	}
	if err != nil {
		r.logger.Warn("a migration to this node failed", "from", from, "error", err)
		r.answer(c, migration.NewRefuse(asError(r.ctx, err)))
	}
}

// startWork counts a piece of work that Shutdown waits for; false when it has
// begun.
func (r *Runtime) startWork() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.life.Load() == lifeShuttingDown {
		return false
	}
	r.work.Add(1)
	return true
}

func (r *Runtime) answer(c migration.Conn, m migration.Message) {
	if err := c.Send(m); err != nil {
		r.logger.Debug("answering on a migration stream", "error", err)
	}
}

// takeOffer is the target's walk.
func (r *Runtime) takeOffer(ctx context.Context, from identity.NodeID, c migration.Conn, offer *migration.Offer) (err error) {
	in := &incoming{rt: r, from: from, offer: *offer, done: make(chan struct{})}
	need, err := r.admit(in)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			in.abort()
		}
	}()
	if err := c.Send(&migration.Accept{NeedModule: need}); err != nil {
		return err
	}
	if err := in.receive(c); err != nil {
		return err
	}
	if err := in.addModule(ctx, need); err != nil {
		return err
	}
	if err := c.Send(&migration.Arrived{}); err != nil {
		return err
	}
	if err := in.restore(ctx); err != nil {
		return err
	}
	head := in.d.chain.HeadHash()
	if err := c.Send(&migration.Ready{Sequence: in.d.chain.Head().Sequence, Head: head[:]}); err != nil {
		return err
	}
	if err := in.replay(c); err != nil {
		return err
	}
	if err := in.prepare(); err != nil {
		return err
	}
	head = in.d.chain.HeadHash()
	if err := c.Send(&migration.Prepared{Sequence: in.d.chain.Head().Sequence, Applied: in.d.applied, Head: head[:]}); err != nil {
		in.inDoubt()
		return nil
	}
	return in.awaitRelease(c)
}

// admit decides whether the daemon may come, and reserves its place.
func (r *Runtime) admit(in *incoming) (needModule bool, err error) {
	o := &in.offer
	if o.Version != migration.Version {
		return false, migration.Failf(migration.ProtocolError, "version %d of the migration protocol, this node speaks %d", o.Version, migration.Version)
	}
	if r.notReady.Load() || !r.IsReady() {
		return false, migration.Failf(migration.NotReady, "node %s is not ready", r.self)
	}
	if err := ValidName(o.Name); err != nil {
		return false, migration.Failf(migration.ProtocolError, "%v", err)
	}
	if need, err := r.needsModule(o); err != nil {
		return false, err
	} else if needModule = need; need && r.refuse {
		return false, migration.Failf(migration.FactoryNotFound, "node %s does not have module %x and takes none from peers", r.self, o.Module)
	}
	r.mu.Lock()
	old := r.incoming[o.Entity]
	r.mu.Unlock()
	if old != nil && old.from == in.from {
		if err := old.giveWay(); err != nil {
			return false, migration.Failf(migration.AlreadyMigrating, "an earlier attempt to move daemon %s here is not settled: %v", o.Entity.Origin(), err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.incoming[o.Entity]; ok {
		return false, migration.Failf(migration.AlreadyMigrating, "daemon %s is on its way to node %s already", o.Entity.Origin(), r.self)
	}
	if _, ok := r.daemons[o.Entity]; ok {
		return false, migration.Failf(migration.AlreadyPresent, "node %s has daemon %s", r.self, o.Entity.Origin())
	}
	if _, ok := r.names[o.Name]; ok {
		return false, migration.Failf(migration.AlreadyPresent, "node %s has another daemon named %q", r.self, o.Name)
	}
	if t, ok := r.moved[o.Entity]; ok && (o.Epoch < t.Epoch || t.Stopped && o.Epoch == t.Epoch) {
		return false, migration.Failf(migration.StaleEpoch, "node %s knows epoch %d of daemon %s, the offer is of epoch %d", r.self, t.Epoch, o.Entity.Origin(), o.Epoch)
	}
	r.incoming[o.Entity], r.names[o.Name] = in, o.Entity
	return needModule, nil
}

// needsModule reports whether the source must send the module; an error when
// this node could not make the daemon even so.
func (r *Runtime) needsModule(o *migration.Offer) (bool, error) {
	r.mu.RLock()
	k := r.kinds[o.Kind]
	m := r.modules[store.Digest(pad(o.Module))]
	r.mu.RUnlock()
	if len(o.Module) == 0 {
		if k == nil || k.digest != nil {
			return false, migration.Failf(migration.FactoryNotFound, "node %s has no native kind %q", r.self, o.Kind)
		}
		return false, nil
	}
	if k != nil && k.digest == nil {
		return false, migration.Failf(migration.FactoryNotFound, "kind %q is native on node %s", o.Kind, r.self)
	}
	if m != nil {
		return false, nil
	}
	if r.store != nil {
		if _, err := r.store.Module(store.Digest(o.Module)); err == nil {
			return false, nil
		}
	}
	if o.ModuleSize == 0 {
		return false, migration.Failf(migration.FactoryNotFound, "neither node has module %x at hand", o.Module)
	}
	if o.ModuleSize > uint64(r.limits.ModuleBytes) {
		return false, migration.Failf(migration.ModuleRefused, "the module has %d bytes, node %s takes %d", o.ModuleSize, r.self, r.limits.ModuleBytes)
	}
	return true, nil
}

func pad(b []byte) []byte {
	if len(b) == 32 {
		return b
	}
	return make([]byte, 32)
}

// receive takes module, history and snapshot.
func (in *incoming) receive(c migration.Conn) error {
	if in.rt.store != nil {
		b := &store.Batch{}
		b.DeleteHistory(in.offer.Entity)
		if err := in.rt.store.Commit(b); err != nil {
			return migration.Failf(migration.StoreFailed, "%v", err)
		}
	}
	for {
		msg, err := receive[migration.Message](c)
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *migration.ModuleChunk:
			if uint64(len(in.module)+len(msg.Bytes)) > in.offer.ModuleSize {
				return migration.Failf(migration.ProtocolError, "more of the module came than the %d bytes announced", in.offer.ModuleSize)
			}
			in.module = append(in.module, msg.Bytes...)
		case *migration.HistoryBatch:
			if err := in.addHistory(msg); err != nil {
				return err
			}
		case *migration.SnapshotChunk:
			if int64(len(in.snapshot)+len(msg.Bytes)) > in.rt.limits.StateBytes+16<<20 {
				return migration.Failf(migration.StateFailed, "the snapshot is larger than the limit of %d bytes", in.rt.limits.StateBytes)
			}
			in.snapshot = append(in.snapshot, msg.Bytes...)
			if msg.Last {
				if in.history != in.offer.History {
					return migration.Failf(migration.ProtocolError, "%d history records came, %d were announced", in.history, in.offer.History)
				}
				return nil
			}
		case *migration.Refuse:
			return &peerRefusal{&migration.Error{Code: msg.Code, Text: msg.Text}}
		default:
			return migration.Failf(migration.ProtocolError, "a %T during the transfer", msg)
		}
	}
}

func (in *incoming) addHistory(m *migration.HistoryBatch) error {
	if m.From != in.history || in.history+uint64(len(m.Records)) > in.offer.History {
		return migration.Failf(migration.ProtocolError, "history records from %d came where %d of %d are next", m.From, in.history, in.offer.History)
	}
	if in.rt.store != nil {
		b := &store.Batch{}
		for i, rec := range m.Records {
			b.Append(in.offer.Entity, m.From+uint64(i), rec)
		}
		in.rt.store.Submit(b, func(error) {}) // a failure shows at the Commit in prepare
	}
	in.history += uint64(len(m.Records))
	return nil
}

func (in *incoming) addModule(ctx context.Context, need bool) error {
	o := &in.offer
	if need {
		if sum := sha256.Sum256(in.module); !bytes.Equal(sum[:], o.Module) {
			return migration.Failf(migration.ModuleRefused, "the module that came has digest %x, %x was announced", sum, o.Module)
		}
	}
	if len(o.Module) == 0 {
		return nil
	}
	var compiled interface{ Report() *abi.Report }
	if need {
		m, err := in.rt.addModule(ctx, in.module)
		if err != nil {
			return migration.Failf(migration.ModuleRefused, "%v", err)
		}
		compiled = m
	}
	in.rt.mu.RLock()
	_, known := in.rt.kinds[o.Kind]
	in.rt.mu.RUnlock()
	if known {
		return nil
	}
	m, err := in.rt.module(ctx, store.Digest(o.Module))
	if err != nil {
		return migration.Failf(migration.ModuleRefused, "%v", err)
	}
	if compiled == nil {
		compiled = m
	}
	if err := in.rt.setKind(o.Kind, m, compiled.Report().Size); err != nil {
		return migration.Failf(migration.StoreFailed, "%v", err)
	}
	return nil
}

// restore makes the daemon and brings it to the snapshot.
func (in *incoming) restore(ctx context.Context) error {
	s, err := DecodeSnapshot(in.snapshot)
	if err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}
	h, o := &s.Header, &in.offer
	if h.Entity != o.Entity || h.Epoch != o.Epoch || h.Kind != o.Kind || !bytes.Equal(h.Module, o.Module) {
		return migration.Failf(migration.StateFailed, "the snapshot does not match the offer: daemon %s, epoch %d, kind %q", h.Entity.Origin(), h.Epoch, h.Kind)
	}
	if s.Checkpoint.Signed() || o.Identity {
		if err := s.Verify(); err != nil {
			return migration.Failf(migration.StateFailed, "%v", err)
		}
	}
	d := in.rt.newHosted(o.Entity, o.Kind, orNil(o.Module))
	d.name, d.epoch, d.key = o.Name, o.Epoch, identity.PublicOnly(o.Entity)
	d.mu.Lock()
	defer d.mu.Unlock()
	factory, _, err := in.rt.factory(ctx, o.Kind, orNil(o.Module))
	if err != nil {
		return migration.Failf(migration.FactoryNotFound, "%v", err)
	}
	if err := in.rt.construct(ctx, d, factory); err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}
	in.d = d
	if err := d.restore(s, h.LastTime); err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}
	d.index, d.kept = in.history, in.history
	in.next = in.history
	if in.rt.store != nil && in.history == 0 {
		if err := in.beginHere(s); err != nil {
			return err
		}
	}
	return in.keepSnapshot(s)
}

// beginHere starts a history for a daemon that brought none: at its snapshot,
// which it signed.
func (in *incoming) beginHere(s *Snapshot) error {
	h := &s.Header
	rec, err := encodeRecord(&beginRecord{Kind: h.Kind, Module: h.Module, Config: h.Config, Time: max(h.LastTime, 1), Epoch: h.Epoch,
		Head: h.Head, HeadPayload: h.HeadPayload, Applied: h.Applied, Checkpoint: s.Checkpoint})
	if err != nil {
		return err
	}
	b := &store.Batch{}
	b.Append(in.offer.Entity, 0, rec)
	in.rt.store.Submit(b, func(error) {})
	in.d.index, in.d.kept = 1, 1
	return nil
}

func (in *incoming) keepSnapshot(s *Snapshot) error {
	if in.rt.store == nil {
		return nil
	}
	b := &store.Batch{}
	if err := putSnapshot(b, in.offer.Entity, in.d.index, s); err != nil {
		return err
	}
	in.rt.store.Submit(b, func(error) {})
	in.snapshot, in.module = nil, nil
	return nil
}

// replay applies what the source did since the snapshot.
func (in *incoming) replay(c migration.Conn) error {
	in.d.mu.Lock()
	defer in.d.mu.Unlock()
	first := true
	for {
		t, err := receive[*migration.Tail](c)
		if err != nil {
			return err
		}
		if first {
			in.next, first = t.From, false
		}
		if t.From != in.next {
			return migration.Failf(migration.ProtocolError, "records from %d came where %d is next", t.From, in.next)
		}
		in.next += uint64(len(t.Records))
		b := &store.Batch{}
		for _, rec := range t.Records {
			b.Append(in.offer.Entity, in.d.index, rec)
			if err := in.d.replay(rec); err != nil {
				return migration.Failf(migration.StateFailed, "%v", err)
			}
		}
		if in.rt.store != nil {
			in.rt.store.Submit(b, func(error) {})
		}
		if t.Last {
			return nil
		}
	}
}

// incomingRecord is how the store keeps a prepared daemon.
type incomingRecord struct {
	_     struct{} `cbor:",toarray"`
	From  identity.NodeID
	Offer migration.Offer
}

// prepare makes all that came durable. From here on the daemon may be ours.
func (in *incoming) prepare() error {
	if in.rt.store != nil {
		rec, err := canon.Marshal(&incomingRecord{From: in.from, Offer: in.offer})
		if err != nil {
			return err
		}
		b := &store.Batch{}
		b.Put(store.Incoming, in.offer.Entity[:], rec)
		if err := in.rt.store.Commit(b); err != nil {
			return migration.Failf(migration.StoreFailed, "%v", err)
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.settled {
		return migration.Failf(migration.Cancelled, "another attempt took its place")
	}
	in.prepared = true
	return nil
}

// awaitRelease waits for the source's word. A connection that breaks leaves
// the daemon in doubt.
func (in *incoming) awaitRelease(c migration.Conn) error {
	rel, err := receive[*migration.Release](c)
	var refused *peerRefusal
	switch {
	case errors.As(err, &refused):
		in.discard()
		in.rt.logger.Info("the source kept a daemon", "daemon", in.offer.Entity.Origin(), "reason", refused)
		return nil
	case err != nil:
		in.inDoubt()
		return nil
	}
	if err := in.activate(rel); err != nil {
		in.inDoubt()
		return err
	}
	in.rt.answer(c, &migration.Done{Epoch: rel.Epoch})
	return nil
}

// activate makes the daemon ours. It may be called again.
func (in *incoming) activate(rel *migration.Release) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.settled {
		return nil
	}
	d, o := in.d, &in.offer
	d.mu.Lock()
	defer d.mu.Unlock()
	head := d.chain.HeadHash()
	if rel.Migration != o.Migration || rel.Entity != o.Entity || rel.Epoch != o.Epoch+1 || rel.Sequence != d.chain.Head().Sequence || !bytes.Equal(rel.Head, head[:]) {
		return migration.Failf(migration.ProtocolError, "the release is not of the daemon that was prepared")
	}
	var check Checkpoint
	if err := canon.Unmarshal(rel.Checkpoint, &check); err != nil {
		return migration.Failf(migration.ProtocolError, "the hand-over's checkpoint: %v", err)
	}
	if check.Purpose != PurposeHandover || check.Entity != o.Entity || check.Epoch != rel.Epoch || check.Head != head ||
		!bytes.Equal(check.State, handover(in.from, in.rt.self)) || (check.Signed() || o.Identity) && check.Verify() != nil {
		return migration.Failf(migration.ProtocolError, "the hand-over is not signed by the daemon")
	}
	key, err := in.key(rel)
	if err != nil {
		return err
	}
	d.key = key
	if err := in.own(rel, &check); err != nil {
		return err
	}
	in.rt.mu.Lock()
	delete(in.rt.incoming, o.Entity)
	delete(in.rt.expected, o.Entity)
	delete(in.rt.moved, o.Entity)
	in.rt.daemons[o.Entity] = d
	in.rt.mu.Unlock()
	in.settled = true
	close(in.done)
	d.resume()
	in.rt.logger.Info("a daemon came", "daemon", o.Entity.Origin(), "name", o.Name, "from", in.from, "epoch", d.epoch)
	return nil
}

// key opens the envelope; without one it is what was registered here, or the
// public half. What was promised and cannot be opened is an error.
func (in *incoming) key(rel *migration.Release) (*identity.KeyPair, error) {
	if !in.offer.Identity {
		return in.rt.expectedKey(in.offer.Entity), nil
	}
	env, err := identity.ParseEnvelope(rel.Envelope)
	if err != nil {
		return nil, migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	head := in.d.chain.Head()
	key, err := env.Open(in.rt.node, head.Bytes(), in.offer.Entity)
	if err != nil {
		return nil, migration.Failf(migration.IdentityTransportFailed, "%v", err)
	}
	return key, nil
}

// own writes durably that the daemon is ours. It needs d.mu.
func (in *incoming) own(rel *migration.Release, check *Checkpoint) error {
	d, id := in.d, in.offer.Entity
	move, err := encodeRecord(&moveRecord{From: in.from, To: in.rt.self, Epoch: rel.Epoch, Time: d.now(), Checkpoint: *check})
	if err != nil {
		return err
	}
	if in.rt.store != nil {
		rec, err := d.record0()
		if err != nil {
			return err
		}
		b := &store.Batch{}
		b.Put(store.Daemons, id[:], rec)
		b.Append(id, d.index, move)
		b.Delete(store.Incoming, id[:])
		b.Delete(store.Moved, id[:])
		if err := in.rt.store.Commit(b); err != nil {
			return migration.Failf(migration.StoreFailed, "%v", err)
		}
		d.index++
	}
	d.epoch = rel.Epoch
	return nil
}

// abort drops a daemon that is not prepared.
func (in *incoming) abort() {
	in.mu.Lock()
	prepared := in.prepared
	in.mu.Unlock()
	if !prepared {
		in.discard()
	}
}

// giveWay makes room for another attempt of the same source, where that is
// safe. Of a prepared daemon only the source can say: the other attempt's offer
// may be an old one that comes late.
func (in *incoming) giveWay() error {
	in.mu.Lock()
	prepared := in.prepared
	in.mu.Unlock()
	if !prepared {
		in.discard()
		return nil
	}
	return in.ask()
}

// discard drops the daemon: the source serves it, or it came by another
// attempt.
func (in *incoming) discard() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.settled {
		return
	}
	in.settled = true
	close(in.done)
	r, o := in.rt, &in.offer
	if in.d != nil {
		in.d.mu.Lock()
		in.d.end(stateGone, &NotFoundError{o.Entity})
		in.d.mu.Unlock()
	}
	if r.store != nil && r.life.Load() != lifeShuttingDown {
		b := &store.Batch{}
		b.Delete(store.Snapshots, o.Entity[:])
		b.Delete(store.Incoming, o.Entity[:])
		b.DeleteHistory(o.Entity)
		if err := r.store.Commit(b); err != nil {
			r.logger.Error("dropping a daemon that did not come", "daemon", o.Entity.Origin(), "error", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.incoming[o.Entity] == in {
		delete(r.incoming, o.Entity)
	}
	if r.names[o.Name] == o.Entity {
		delete(r.names, o.Name)
	}
}

// inDoubt asks the source, again and again, what became of the migration.
func (in *incoming) inDoubt() {
	r := in.rt
	if !r.startWork() {
		return
	}
	go func() {
		defer r.work.Done()
		for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
			if err := in.ask(); err != nil {
				r.logger.Warn("a daemon is held until its source is heard", "daemon", in.offer.Entity.Origin(), "source", in.from, "error", err)
			}
			timer := time.NewTimer(pause)
			select {
			case <-in.done:
				timer.Stop()
				return
			case <-r.ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
		}
	}()
}

// ask puts the question once.
func (in *incoming) ask() error {
	peer, err := in.rt.mesh.Peer(in.from)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(in.rt.ctx, 10*time.Second)
	defer cancel()
	c, err := peer.OpenMigration(ctx)
	if err != nil {
		return err
	}
	defer c.Abort()
	if err := c.Send(&migration.Ask{Migration: in.offer.Migration, Entity: in.offer.Entity}); err != nil {
		return err
	}
	msg, err := c.Recv()
	if err != nil {
		return err
	}
	switch msg := msg.(type) {
	case *migration.Hold:
		return nil
	case *migration.Release:
		if err := in.activate(msg); err != nil {
			return err
		}
		if err := c.Send(&migration.Done{Epoch: msg.Epoch}); err != nil {
			return err
		}
		return c.Close()
	case *migration.Refuse:
		if msg.Code == migration.NotReady || msg.Code == migration.ComputeNotSupported {
			return fmt.Errorf("the source is not ready: %s", msg.Text)
		}
		in.discard()
		return nil
	default:
		return migration.Failf(migration.ProtocolError, "a %T in answer to a question", msg)
	}
}

// takeRelease answers a source that repeats its release.
func (r *Runtime) takeRelease(from identity.NodeID, c migration.Conn, rel *migration.Release) error {
	r.mu.RLock()
	in, d, t := r.incoming[rel.Entity], r.daemons[rel.Entity], r.moved[rel.Entity]
	r.mu.RUnlock()
	switch {
	case in != nil && in.from == from:
		if err := in.activate(rel); err != nil {
			return err
		}
	case d != nil && d.owns(rel.Epoch), t.Epoch >= rel.Epoch:
	default:
		return migration.Failf(migration.StateFailed, "node %s holds nothing of daemon %s for migration %x", r.self, rel.Entity.Origin(), rel.Migration)
	}
	return c.Send(&migration.Done{Epoch: rel.Epoch})
}

func (d *hosted) owns(epoch uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.epoch >= epoch
}

// answerAsk tells a target in doubt what became of its migration.
func (r *Runtime) answerAsk(from identity.NodeID, c migration.Conn, ask *migration.Ask) {
	r.mu.RLock()
	m := r.outgoing[ask.Entity]
	r.mu.RUnlock()
	if m == nil || m.id != ask.Migration || m.target != from {
		r.answer(c, migration.NewRefuse(migration.Failf(migration.Cancelled, "the source keeps daemon %s", ask.Entity.Origin())))
		return
	}
	m.mu.Lock()
	rel := m.release
	m.mu.Unlock()
	if rel == nil {
		r.answer(c, &migration.Hold{})
		return
	}
	r.answer(c, rel)
	if _, err := receive[*migration.Done](c); err != nil { // the source's own delivery hears it too
		r.logger.Debug("a target that asked did not confirm", "error", err)
	}
}

package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"sync"

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
	owned    bool          // activated
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
	case *migration.Order:
		err = r.takeOrder(ctx, from, c, msg)
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
	if err := in.receive(patient{c}); err != nil {
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
	if err := in.replay(patient{c}); err != nil {
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
	if r.Draining() {
		return false, migration.Failf(migration.Draining, "%v", ErrDraining)
	}
	if err := r.mayRun(o.Entity); err != nil {
		return false, migration.Failf(migration.Equivocated, "%v", err)
	}
	if err := r.room(); err != nil {
		return false, migration.Failf(migration.StoreFailed, "%v", err)
	}
	if err := ValidName(o.Name); err != nil {
		return false, migration.Failf(migration.ProtocolError, "%v", err)
	}
	if need, err := r.needsModule(o); err != nil {
		return false, err
	} else if needModule = need; need && r.refuse {
		return false, migration.Failf(migration.FactoryNotFound, "node %s does not have module %x and takes none from peers", r.self, o.Module)
	}
	r.mu.RLock()
	old, err := r.incoming[o.Entity], r.mayCome(in.from, o)
	r.mu.RUnlock()
	if err != nil {
		return false, err
	}
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
		if err := in.submit(b, ignore); err != nil {
			return err
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
		if err := in.submit(b, ignore); err != nil {
			return err
		}
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
		m, err := in.rt.addModule(ctx, in.module, in.rt.limits.MemoryBytes)
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
	if err := in.rt.setKind(o.Kind, m, compiled.Report().Size, Limits{}); err != nil {
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
	if err := in.suspect(s); err != nil {
		return migration.Failf(migration.Equivocated, "%v", err)
	}
	d := in.rt.newHosted(o.Entity, o.Kind, orNil(o.Module))
	if err := d.setLimits(h.Limits); err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}
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
	in.d.index, in.d.kept = 1, 1
	return in.submit(b, ignore)
}

func (in *incoming) keepSnapshot(s *Snapshot) error {
	if in.rt.store == nil {
		return nil
	}
	b := &store.Batch{}
	if err := putSnapshot(b, in.offer.Entity, in.d.index, s); err != nil {
		return err
	}
	in.snapshot, in.module = nil, nil
	return in.submit(b, ignore)
}

// replay applies what the source did since the snapshot.
func (in *incoming) replay(c migration.Conn) error {
	first := in.offer.History == 0 // a source that keeps no history counts on its own
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
		b, err := in.apply(t.Records)
		if err != nil {
			return err
		}
		if in.rt.store != nil {
			if err := in.submit(b, ignore); err != nil {
				return err
			}
		}
		if t.Last {
			return nil
		}
	}
}

// apply replays records and returns what is to be written of them. The
// daemon's lock is held for that alone: who drops the daemon waits for no peer.
func (in *incoming) apply(records [][]byte) (*store.Batch, error) {
	in.d.mu.Lock()
	defer in.d.mu.Unlock()
	if in.d.state == stateGone {
		return nil, errPushedOut
	}
	b := &store.Batch{}
	for _, rec := range records {
		b.Append(in.offer.Entity, in.d.index, rec)
		if err := in.d.replay(rec); err != nil {
			return nil, migration.Failf(migration.StateFailed, "%v", err)
		}
	}
	return b, nil
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
		durable := make(chan error, 1)
		if err := in.submit(b, func(err error) { durable <- err }); err != nil {
			return err
		}
		if err := <-durable; err != nil {
			return migration.Failf(migration.StoreFailed, "%v", err)
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.settled {
		return errPushedOut
	}
	in.prepared = true
	return nil
}

var errPushedOut = migration.Failf(migration.Cancelled, "another attempt took its place")

// submit writes for a daemon on its way, unless it was dropped: the store may
// hold another attempt by now.
func (in *incoming) submit(b *store.Batch, done func(error)) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.settled {
		return errPushedOut
	}
	if in.d != nil {
		b.Generation = in.d.under
	}
	in.rt.store.Submit(b, done)
	return nil
}

// ignore is for writes whose failure shows in prepare: the store is poisoned
// then.
func ignore(error) {}

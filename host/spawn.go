package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Spawn makes a daemon of the kind and starts its chain.
func (r *Runtime) Spawn(ctx context.Context, req daemon.SpawnRequest) (daemon.Info, error) {
	return r.spawn(ctx, req, nil, nil, nil)
}

// SpawnWithDaemon is Spawn of a native daemon that the caller made, which need
// be of no kind: it then neither survives the runtime nor moves.
func (r *Runtime) SpawnWithDaemon(ctx context.Context, req daemon.SpawnRequest, d daemon.Daemon) (daemon.Info, error) {
	return r.spawn(ctx, req, d, nil, nil)
}

// SpawnFromSnapshot makes the daemon that the snapshot is of. An empty Kind or
// Name is taken from the snapshot; a nil Identity is opened from the snapshot,
// where it was taken on this node. An identity other than the snapshot's is
// ErrIdentityMismatch.
func (r *Runtime) SpawnFromSnapshot(ctx context.Context, req daemon.SpawnRequest, encoded []byte) (daemon.Info, error) {
	return r.SpawnFromSnapshotWithDaemon(ctx, req, nil, encoded)
}

// SpawnFromSnapshotWithDaemon is SpawnFromSnapshot into a fresh native daemon
// that the caller made.
func (r *Runtime) SpawnFromSnapshotWithDaemon(ctx context.Context, req daemon.SpawnRequest, d daemon.Daemon, encoded []byte) (daemon.Info, error) {
	if err := r.ready(); err != nil {
		return daemon.Info{}, err
	}
	s, err := snapshot.Decode(encoded)
	if err != nil {
		return daemon.Info{}, err
	}
	return r.spawnSnapshot(ctx, req, d, s)
}

// SpawnFromDecoded is SpawnFromSnapshot of one that was read already, with
// ReadSnapshot where it is large.
func (r *Runtime) SpawnFromDecoded(ctx context.Context, req daemon.SpawnRequest, s *snapshot.Snapshot) (daemon.Info, error) {
	return r.spawnSnapshot(ctx, req, nil, s)
}

func (r *Runtime) spawnSnapshot(ctx context.Context, req daemon.SpawnRequest, d daemon.Daemon, s *snapshot.Snapshot) (_ daemon.Info, err error) {
	if err := r.ready(); err != nil {
		return daemon.Info{}, err
	}
	fill(&req.Kind, s.Header.Kind)
	fill(&req.Name, s.Header.Name)
	if req.Identity == nil {
		if req.Identity, err = s.OpenIdentity(r.env.Node); err != nil {
			return daemon.Info{}, err
		}
		if req.Identity == nil {
			return daemon.Info{}, fmt.Errorf("%w: the snapshot carries no private key, and no identity was given", identity.ErrReadOnly)
		}
	}
	if req.Identity.ID() != s.Header.Entity {
		return daemon.Info{}, fmt.Errorf("%w: it is of %s, the identity is %s", daemon.ErrIdentityMismatch, s.Header.Entity, req.Identity.ID())
	}
	if err := s.Verify(); err != nil && !(req.Unsigned && errors.Is(err, chain.ErrUnsigned)) {
		return daemon.Info{}, fmt.Errorf("%w: %w", daemon.ErrBadSnapshot, err)
	}
	if err := r.suspectSnapshot(s); err != nil {
		return daemon.Info{}, err
	}
	return r.spawn(ctx, req, d, s, nil)
}

// spawn makes a daemon afresh, of a snapshot, or as a fork.
func (r *Runtime) spawn(ctx context.Context, req daemon.SpawnRequest, code daemon.Daemon, from *snapshot.Snapshot, fork *forkPoint) (info daemon.Info, err error) {
	if err := r.ready(); err != nil {
		return daemon.Info{}, err
	}
	var factory daemon.Factory
	var digest []byte
	if code == nil {
		if from != nil {
			digest = from.Header.Module
		}
		if fork != nil {
			digest = fork.header.Module
		}
		if factory, digest, err = r.factory(ctx, req.Kind, digest); err != nil {
			return daemon.Info{}, err
		}
	}
	key := req.Identity
	if key == nil {
		key, err = identity.Generate()
	} else {
		key = key.Clone()
	}
	if err != nil {
		return daemon.Info{}, err
	}
	id := key.ID()
	made := req.Name == ""
	if made {
		req.Name = fmt.Sprintf("%.40s-%.8s", orDefault(req.Kind, "daemon"), id.Origin())
	}
	if err := daemon.ValidDaemonName(req.Name); err != nil {
		return daemon.Info{}, err
	}
	if len(req.Config) > daemon.MaxConfigBytes {
		return daemon.Info{}, fmt.Errorf("%w: %d bytes, at most %d", daemon.ErrConfigTooLarge, len(req.Config), daemon.MaxConfigBytes)
	}
	if err := r.room(); err != nil {
		return daemon.Info{}, err
	}
	d := newHosted(r.daemons, id, req.Kind, digest)
	d.identify(req.Name, key)
	d.forEvents(append([]byte(nil), req.Config...), code, req.Identity == nil)
	own, err := r.ownLimits(req, from, fork)
	if err != nil {
		return daemon.Info{}, err
	}
	d.limitTo(own)
	d.raiseEpoch(req.Epoch)
	if err := req.Grants.Check(); err != nil {
		return daemon.Info{}, err
	}
	if req.Standbys != 0 && (r.cluster == nil || d.Kind() == "") {
		return daemon.Info{}, fmt.Errorf("%w: a daemon with standbys", ErrNoCluster)
	}
	r.cluster.attach(d, leader.Beginning{Unclaimed: true})
	err = r.reserve(d)
	if made && errors.Is(err, daemon.ErrNameTaken) { // by an origin that begins alike
		d.rename(fmt.Sprintf("%.40s-%s", orDefault(req.Kind, "daemon"), id.Origin()))
		err = r.reserve(d)
	}
	if err != nil {
		return daemon.Info{}, err
	}
	d.Lock()
	defer d.Unlock()
	back, err := r.goOnAbove(d, req.Identity != nil)
	if err == nil {
		err = r.beginClaimed(ctx, d, factory, from, fork, req)
		back()
	}
	if err != nil {
		d.end(lifecycle.Leave, err)
		r.table.Remove(d)
		return daemon.Info{}, err
	}
	d.resume()
	r.subscriber.Start(d.Entity(), d.Ledger().All())
	d.startEffects()
	d.accountMemory()
	if err := r.ready(); err != nil { // Shutdown has swept, or will not see d
		return daemon.Info{}, errors.Join(err, r.abandon(d, err))
	}
	d.notify(daemon.Spawned, "")
	d.Unlock()
	defer d.Lock()
	return d.info(), nil
}

// beginClaimed is begin of a daemon that in a cluster is this node's first.
func (r *Runtime) beginClaimed(ctx context.Context, d *hosted, factory daemon.Factory, from *snapshot.Snapshot, fork *forkPoint, req daemon.SpawnRequest) error {
	begin := func() error {
		if fork != nil {
			return r.beginFork(ctx, d, factory, fork)
		}
		lasting, err := d.begin(ctx, factory, from, req.Grants)
		if err == nil {
			r.showLoss(d.Entity(), lasting)
		}
		return err
	}
	if d.Leader() == nil {
		return begin()
	}
	epoch := d.Epoch()
	if from != nil {
		epoch = max(epoch, from.Header.Epoch+1)
	}
	e, err := r.cluster.claim(ctx, d, epoch, req.Standbys, req.Ack)
	if err != nil {
		return fmt.Errorf("making daemon %s known to the cluster: %w", d.Entity().Origin(), err)
	}
	d.setEpoch(e.Epoch)
	if err := begin(); err != nil {
		return errors.Join(err, r.cluster.directory.Delete(ctx, e))
	}
	leaderOf(d).Claimed(e)
	return nil
}

// ownLimits are the request's over the snapshot's or the parent's, or over the kind's.
// A daemon that is made afresh, or is given limits, has those that fit one another.
func (r *Runtime) ownLimits(req daemon.SpawnRequest, from *snapshot.Snapshot, fork *forkPoint) (own daemon.Limits, err error) {
	if err := req.Limits.ValidateOwn(); err != nil {
		return daemon.Limits{}, err
	}
	given := req.Limits != (daemon.Limits{})
	switch {
	case from != nil:
		if own, err = daemon.StoredLimits(from.Header.Limits); err != nil {
			return daemon.Limits{}, err
		}
	case fork != nil:
		own = fork.own
	default:
		given = true
		r.mu.RLock()
		if k := r.kinds[req.Kind]; k != nil {
			own = k.limits
		}
		r.mu.RUnlock()
	}
	own = req.Limits.Over(own)
	if given {
		return own, own.FitOn(r.env.Limits)
	}
	return own, own.Over(r.env.Limits).Storable().FitArriving(r.env.Limits)
}

func orDefault(s, def string) string {
	if s == "" {
		return def
	}
	return s
}

// newHosted makes a daemon that holds its events until resume.
func newHosted(node *engineConfig, id identity.EntityID, kind string, module []byte) *hosted {
	d := &hosted{node: node, env: node.Env, id: id, kind: kind, module: module, log: daemonLog{clock: node.Env.Clock}, epoch: 1, spawned: node.Env.Clock()}
	d.meter = node.MeterFor(kind)
	d.events = &d.meter.events[id[0]%meterShards]
	if d.env.Store != nil {
		d.under = d.env.Store.Generation()
	}
	d.share = node.Shares.Flow()
	d.limitTo(daemon.Limits{})
	d.call.Rules = rules{d}
	d.used = d.spawned.UnixNano()
	d.saved.tried = d.used
	d.resumed = make(chan struct{})
	return d
}

// reserve puts d into the tables, unless its identity or name is there.
func (r *Runtime) reserve(d *hosted) error {
	if err := r.open(); err != nil {
		return err
	}
	if r.Node().Draining() {
		return daemon.ErrDraining
	}
	d.show()

	if err := r.evidence.Refuses(d.Entity()); err != nil {
		return err
	}
	r.mu.RLock() // it is not held between the question and the answer
	defer r.mu.RUnlock()
	if h := r.holds[d.Entity()]; h != nil {
		return h.err(d.Entity())
	}
	switch err := r.table.Reserve(d); err {
	case table.ErrClosed:
		return daemon.ErrShuttingDown
	case table.ErrPresent:
		return fmt.Errorf("%w: %s", daemon.ErrAlreadyPresent, d.Entity().Origin())
	case table.ErrArriving:
		return fmt.Errorf("%w: %s is on its way here", daemon.ErrAlreadyPresent, d.Entity().Origin())
	case table.ErrName:
		return fmt.Errorf("%w: %q", daemon.ErrNameTaken, d.Name())
	default:
		return err
	}
}

// goOnAbove puts a daemon that is in the tables above every epoch that its identity, which
// was given or has just been made, had here. What was known of it stays known until back
// is called. It needs d.mu.
func (r *Runtime) goOnAbove(d *hosted, given bool) (back func(), err error) {
	if given {
		d.raiseEpoch(r.table.Lowest())
	}
	t, settled, err := r.table.Returns(d.Entity())
	if err != nil {
		return nil, err
	}
	d.raiseEpoch(t.Epoch + 1)
	d.show()
	return func() { settled(false) }, nil
}

// abandon undoes a spawn that lost to Shutdown. It needs d.mu.
func (r *Runtime) abandon(d *hosted, why error) error {
	d.end(lifecycle.Leave, why)
	r.table.Remove(d)
	r.subscriber.LeaveAll(d.Entity())
	if r.env.Store == nil || d.Kind() == "" {
		return nil
	}
	t := table.Tombstone{Node: r.env.Self, Epoch: d.Epoch(), Time: r.env.Clock().UnixNano(), Stopped: true}
	var b store.Batch
	d.forget(&b)
	if err := t.Bury(&b, d.Entity()); err != nil { // it may have signed something
		return err
	}
	return r.env.Store.Commit(&b)
}

// begin makes the daemon's code, brings it to where it starts, afresh or at a snapshot, and
// stores it. It returns what of the snapshot is for life; nil: nothing. It needs d.mu.
func (d *hosted) begin(ctx context.Context, factory daemon.Factory, from *snapshot.Snapshot, grants effect.Grants) (lasting *snapshot.Facts, err error) {
	if err := d.construct(ctx, factory); err != nil {
		return nil, err
	}
	begin := &journal.Begin{Kind: d.kind, Module: d.module, Config: d.config, Time: d.now(), Head: chain.Genesis(d.id, d.epoch)}
	if from != nil {
		d.config = from.Header.Config
		begin.Config, begin.Time = d.config, max(begin.Time, from.Header.LastTime)
		begin.Head, begin.HeadPayload, begin.Applied = from.Header.Head, from.Header.HeadPayload, from.Header.Applied
		d.epoch = max(d.epoch, from.Header.Epoch+1)
		if err := d.restore(from, begin.Time); err != nil {
			return nil, err
		}
		if lasting, err = from.Header.Facts(); err != nil {
			return nil, err
		}
		d.remember(lasting)
	} else {
		d.chain = chain.New(begin.Head, nil)
		if err := d.init(begin.Time, false); err != nil {
			return nil, err
		}
	}
	if !grants.IsZero() {
		d.grant(grants)
	}
	if d.env.Store == nil || d.kind == "" {
		return lasting, nil // there is no history for it to begin
	}
	begin.Epoch = d.epoch
	begin.Checkpoint = *d.checkpointFor(chain.PurposeRestart, d.epoch)
	begin.Checkpoint.State = chain.CodeHash(d.kind, d.module)
	if err := begin.Checkpoint.Sign(d.key); err != nil {
		return nil, fmt.Errorf("signing the beginning of the chain: %w", err)
	}
	return lasting, d.storeBeginning(begin, from, grants)
}

// construct makes the daemon's code unless the caller gave it.
func (d *hosted) construct(ctx context.Context, factory daemon.Factory) error {
	if d.daemon != nil {
		return nil
	}
	daemon, err := factory.New(ctx, d.factoryEnv())
	if err != nil {
		return fmt.Errorf("making a daemon of kind %q: %w", d.kind, err)
	}
	d.daemon = daemon
	return nil
}

// init gives a fresh daemon its configuration; replay says that one like it took it
// once.
func (d *hosted) init(at int64, replay bool) error {
	d.lastTime = at
	i, ok := d.daemon.(daemon.Initer)
	if !ok {
		if len(d.config) > 0 {
			return fmt.Errorf("daemon %s of kind %q takes no configuration", d.id.Origin(), d.kind)
		}
		return nil
	}
	if err := i.Init(&daemon.Call{Self: d.id, Epoch: d.epoch, Time: at, Replay: replay}, d.config); err != nil {
		return fmt.Errorf("initialising daemon %s: %w", d.id.Origin(), err)
	}
	return nil
}

// restore brings a fresh daemon to the snapshot. A stateless one is
// initialised anew.
func (d *hosted) restore(s *snapshot.Snapshot, at int64, changes ...[]byte) error {
	h := &s.Header
	if err := d.stand(h); err != nil {
		return err
	}
	var err error
	switch h.Form {
	case snapshot.FormNone:
		return d.init(max(at, 1), true)
	case snapshot.FormMemory:
		c, ok := d.daemon.(capturer)
		if !ok {
			return fmt.Errorf("restoring daemon %s: %w: it is of a module, the daemon is not", d.id.Origin(), snapshot.ErrBadMemory)
		}
		err = c.LoadMemory(bytes.NewReader(s.State), changes...)
	case snapshot.FormBlocks:
		err = fmt.Errorf("%w: its memory went apart from it, in a migration", daemon.ErrBadSnapshot)
	default:
		state := s.State
		if d.module == nil {
			state = bytes.Clone(state) // for native code to keep
		}
		err = d.daemon.Restore(&daemon.Call{Self: d.id, Epoch: h.Epoch, Sequence: h.Applied, Time: max(h.LastTime, 1), Replay: d.remade}, state)
	}
	if err != nil {
		return fmt.Errorf("restoring daemon %s: %w", d.id.Origin(), err)
	}
	d.lastTime = max(at, h.LastTime)
	return nil
}

// stand puts the daemon where a snapshot's header says, but for its state.
func (d *hosted) stand(h *snapshot.Header) (err error) {
	if d.ledger, err = channel.DecodeLedger(h.Bindings); err != nil {
		return fmt.Errorf("restoring daemon %s: %w", d.id.Origin(), err)
	}
	if d.effects, err = effect.Decode(h.Effects); err != nil {
		return fmt.Errorf("restoring daemon %s: %w", d.id.Origin(), err)
	}
	d.chain, d.payload = chain.New(h.Head, h.HeadPayload), append([]byte(nil), h.HeadPayload...)
	d.applied, d.horizon, d.config = h.Applied, snapshot.NewDedupTable(h.Horizon), h.Config
	d.signed = h.Through / d.node.CheckpointEvery
	d.stats.processed, d.stats.emitted = h.Applied, h.Through
	return nil
}

// daemonRecord is how the store keeps what a daemon is. The private key is
// sealed to the node's own key.
type daemonRecord struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Kind    string
	Module  []byte
	Spawned int64
	Key     []byte           // an identity envelope, or empty for a public-only daemon
	Limits  map[string]int64 // of its own

	Previous []byte // the module before the last upgrade; empty: there was none
}

// atRest is the link to which an identity that is stored is bound.
var atRest = []byte("wasmhost identity at rest")

func (d *hosted) record0() ([]byte, error) {
	rec := &daemonRecord{Name: d.name, Kind: d.kind, Module: d.module, Spawned: d.spawned.UnixNano(), Limits: d.own().Map(), Previous: d.previous}
	if d.key.CanSign() {
		own, err := d.env.Node.SealKey()
		if err != nil {
			return nil, fmt.Errorf("sealing a daemon's key at rest: %w", err)
		}
		env, err := identity.Seal(d.key, own, atRest)
		if err != nil {
			return nil, fmt.Errorf("sealing a daemon's key at rest: %w", err)
		}
		rec.Key = env.Bytes()
	}
	return canon.Marshal(rec)
}

func (d *hosted) storeBeginning(begin *journal.Begin, from *snapshot.Snapshot, grants effect.Grants) error {
	rec, err := d.record0()
	if err != nil {
		return err
	}
	first, err := journal.Encode(begin)
	if err != nil {
		return err
	}
	b := &store.Batch{}
	if !d.fresh {
		forget(b, d.id)
	}
	b.Put(store.Daemons, d.id[:], rec)
	b.Append(d.id, 0, first)
	d.index, d.kept, d.saved.exact = 1, 1, true
	if from != nil {
		lasting, err := from.Header.Facts()
		if err == nil {
			err = keepLoss(b, d.id, lasting)
		}
		if err == nil {
			from, err = from.ForStore(d.key)
		}
		if err == nil {
			err = putSnapshot(d.env.Store, b, d.id, 1, from)
		}
		if err != nil {
			return err
		}
	}
	if !grants.IsZero() {
		rec, err := journal.Encode(&journal.Grant{Grants: grants.Clone(), Time: begin.Time})
		if err != nil {
			return err
		}
		b.Append(d.id, d.index, rec)
		d.index++
	}
	b.Generation = d.under
	if err := d.env.Store.Commit(b); err != nil {
		return fmt.Errorf("storing daemon %s: %w", d.id.Origin(), err)
	}
	return nil
}

// fewRecords is up to how many records of a history are deleted one by one.
const fewRecords = 256

// forget removes all that the store holds of the daemon. It needs d.mu.
func (d *hosted) forget(b *store.Batch) {
	if d.life.State() != lifecycle.Running && d.life.State() != lifecycle.Migrating || d.remade || !d.saved.exact || d.index-d.first > fewRecords {
		forget(b, d.id)
		return
	}
	forgetRole(b, d.id)
	b.Delete(store.Snapshots, d.id[:])
	for place := range d.saved.deltas {
		b.Delete(store.Deltas, deltaKey(d.id, place))
	}
	for i := d.first; i < d.index; i++ {
		b.DeleteRecord(d.id, i)
	}
}

// forget removes all that the store holds of the daemon.
func forget(b *store.Batch, id identity.EntityID) {
	forgetRole(b, id)
	b.Delete(store.Snapshots, id[:])
	b.Delete(store.Meta, lossKey(id))
	b.Delete(store.Meta, snapshot.ArrivingKey(id))
	b.DeleteUnder(store.Deltas, id[:])
	b.DeleteHistory(id)
}

// forgetRole removes all that makes the daemon this node's, but for its history and
// state.
func forgetRole(b *store.Batch, id identity.EntityID) {
	for _, t := range []store.Table{store.Daemons, store.Moved, store.Outgoing, store.Incoming, store.Passive, store.Bound, store.Effects, store.Holds} {
		b.Delete(t, id[:])
	}
	b.Delete(store.Meta, lossKey(id))
}

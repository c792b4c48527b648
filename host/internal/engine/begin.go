package engine

import (
	"bytes"
	"context"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/losses"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/internal/tally"
	"wasmhost.example/host/internal/textlog"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// New makes a daemon that holds its events until resume.
func New(node *Config, id identity.EntityID, kind string, module []byte) *Daemon {
	d := &Daemon{node: node, env: node.Env, id: id, kind: kind, module: module, log: textlog.Log{Clock: node.Env.Clock}, epoch: 1, spawned: node.Env.Clock()}
	d.meter = node.MeterFor(kind)
	d.events = &d.meter.Events[id[0]%tally.Shards]
	if d.env.Store != nil {
		d.generation = d.env.Store.Generation()
	}
	d.share = node.Shares.Flow()
	d.Making().LimitTo(daemon.Limits{})
	d.call.Rules = rules{d}
	d.used = d.spawned.UnixNano()
	d.saved = stored.At(d.used)
	d.resumed = make(chan struct{})
	return d
}

// Begin makes the daemon's code, brings it to where it starts, afresh or at a snapshot, and
// stores it. It returns what of the snapshot is for life; nil: nothing. It needs d.mu.
func (x Making) Begin(ctx context.Context, factory daemon.Factory, from *snapshot.Snapshot, grants effect.Grants) (lasting *snapshot.Facts, err error) {
	d := x.d
	if err := x.Construct(ctx, factory); err != nil {
		return nil, err
	}
	begin := &journal.Begin{Kind: d.kind, Module: d.module, Config: d.config, Time: d.Turns().Now(), Head: chain.Genesis(d.id, d.epoch)}
	if from != nil {
		d.config = from.Header.Config
		begin.Config, begin.Time = d.config, max(begin.Time, from.Header.LastTime)
		begin.Head, begin.HeadPayload, begin.Applied = from.Header.Head, from.Header.HeadPayload, from.Header.Applied
		d.epoch = max(d.epoch, from.Header.Epoch+1)
		if err := x.Restore(from, begin.Time); err != nil {
			return nil, err
		}
		if lasting, err = from.Header.Facts(); err != nil {
			return nil, err
		}
		x.TakeFacts(lasting)
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
	begin.Checkpoint = *d.Image().CheckpointFor(chain.PurposeRestart, d.epoch)
	begin.Checkpoint.State = chain.CodeHash(d.kind, d.module)
	if err := begin.Checkpoint.Sign(d.key); err != nil {
		return nil, fmt.Errorf("signing the beginning of the chain: %w", err)
	}
	return lasting, x.StoreBeginning(begin, from, grants)
}

// Construct makes the daemon's code unless the caller gave it.
func (x Making) Construct(ctx context.Context, factory daemon.Factory) error {
	d := x.d
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
func (d *Daemon) init(at int64, replay bool) error {
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

// Restore brings a fresh daemon to the snapshot. A stateless one is
// initialised anew.
func (x Making) Restore(s *snapshot.Snapshot, at int64, changes ...[]byte) error {
	d := x.d
	h := &s.Header
	if err := x.RestoreTo(h); err != nil {
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

// RestoreTo puts the daemon where a snapshot's header says, but for its state.
func (x Making) RestoreTo(h *snapshot.Header) (err error) {
	d := x.d
	if d.ledger, err = channel.DecodeLedger(h.Bindings); err != nil {
		return fmt.Errorf("restoring daemon %s: %w", d.id.Origin(), err)
	}
	if d.effects, err = effect.Decode(h.Effects); err != nil {
		return fmt.Errorf("restoring daemon %s: %w", d.id.Origin(), err)
	}
	d.chain, d.payload = chain.New(h.Head, h.HeadPayload), append([]byte(nil), h.HeadPayload...)
	d.applied, d.horizon, d.config = h.Applied, snapshot.NewDedupTable(h.Horizon), h.Config
	d.signed = h.Through / d.node.CheckpointEvery
	d.stats.Processed, d.stats.Emitted = h.Applied, h.Through
	return nil
}

// EncodeRecord is how the store keeps what the daemon is. It needs d.mu.
func (x Making) EncodeRecord() ([]byte, error) {
	d := x.d
	rec := &stored.Record{Name: d.name, Kind: d.kind, Module: d.module, Spawned: d.spawned.UnixNano(), Limits: d.OwnLimits().Map(), Previous: d.previous}
	if d.key.CanSign() {
		sealed, err := stored.SealKey(d.key, d.env.Node)
		if err != nil {
			return nil, fmt.Errorf("sealing a daemon's key at rest: %w", err)
		}
		rec.Key = sealed
	}
	return rec.Encode()
}

func (x Making) StoreBeginning(begin *journal.Begin, from *snapshot.Snapshot, grants effect.Grants) error {
	d := x.d
	rec, err := x.EncodeRecord()
	if err != nil {
		return err
	}
	first, err := journal.Encode(begin)
	if err != nil {
		return err
	}
	b := &store.Batch{}
	if !d.fresh {
		stored.Forget(b, d.id)
	}
	b.Put(store.Daemons, d.id[:], rec)
	b.Append(d.id, 0, first)
	d.index, d.snapshotIndex = 1, 1
	d.saved.Begin()
	if from != nil {
		lasting, err := from.Header.Facts()
		if err == nil {
			err = losses.Keep(b, d.id, lasting)
		}
		if err == nil {
			from, err = from.ForStore(d.key)
		}
		if err == nil {
			err = stored.Put(d.env.Store, b, d.id, 1, from)
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
	b.Generation = d.generation
	if err := d.env.Store.Commit(b); err != nil {
		return fmt.Errorf("storing daemon %s: %w", d.id.Origin(), err)
	}
	return nil
}

// fewRecords is up to how many records of a history are deleted one by one.
const fewRecords = 256

// Forget removes all that the store holds of the daemon. It needs d.mu.
func (x Making) Forget(b *store.Batch) {
	d := x.d
	if d.life.State() != lifecycle.Running && d.life.State() != lifecycle.Migrating || d.remade || !d.saved.IsExact() || d.index-d.firstIndex > fewRecords {
		stored.Forget(b, d.id)
		return
	}
	stored.ForgetRole(b, d.id)
	b.Delete(store.Snapshots, d.id[:])
	d.saved.Forget(b, d.id)
	for i := d.firstIndex; i < d.index; i++ {
		b.DeleteRecord(d.id, i)
	}
}

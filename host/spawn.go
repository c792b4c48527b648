package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/internal/cluster"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/forkpoint"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
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
func (r *Runtime) spawn(ctx context.Context, req daemon.SpawnRequest, code daemon.Daemon, from *snapshot.Snapshot, fork *forkpoint.Point) (info daemon.Info, err error) {
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
			digest = fork.Header().Module
		}
		if factory, digest, err = r.registry.Factory(ctx, req.Kind, digest); err != nil {
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
		req.Name = fmt.Sprintf("%s-%.8s", daemon.NameStem(req.Kind), id.Origin())
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
	d := engine.New(r.daemons, id, req.Kind, digest)
	d.Making().Identify(req.Name, key)
	d.Making().ForEvents(append([]byte(nil), req.Config...), code, req.Identity == nil)
	own, err := r.ownLimits(req, from, fork)
	if err != nil {
		return daemon.Info{}, err
	}
	d.Making().LimitTo(own)
	d.Making().RaiseEpoch(req.Epoch)
	if err := req.Grants.Check(); err != nil {
		return daemon.Info{}, err
	}
	if req.Standbys != 0 && (r.cluster == nil || d.Kind() == "") {
		return daemon.Info{}, fmt.Errorf("%w: a daemon with standbys", directory.ErrNoCluster)
	}
	r.cluster.Attach(d, leader.Beginning{Unclaimed: true})
	err = r.reserve(d)
	if made && errors.Is(err, daemon.ErrNameTaken) { // by an origin that begins alike
		d.Making().Rename(fmt.Sprintf("%s-%s", daemon.NameStem(req.Kind), id.Origin()))
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
		d.End(lifecycle.Leave, err)
		r.table.Remove(d)
		return daemon.Info{}, err
	}
	d.Resume()
	r.subscriber.Start(d.Entity(), d.Position().Ledger.All())
	d.Effects().StartEffects()
	d.Memory().AccountMemory()
	if err := r.ready(); err != nil { // Shutdown has swept, or will not see d
		return daemon.Info{}, errors.Join(err, r.abandon(d, err))
	}
	d.Notify(daemon.Spawned, "")
	d.Unlock()
	defer d.Lock()
	return d.Info(), nil
}

// beginClaimed is begin of a daemon that in a cluster is this node's first.
func (r *Runtime) beginClaimed(ctx context.Context, d *engine.Daemon, factory daemon.Factory, from *snapshot.Snapshot, fork *forkpoint.Point, req daemon.SpawnRequest) error {
	begin := func() error {
		if fork != nil {
			return fork.Begin(ctx, r.env, d, factory)
		}
		lasting, err := d.Making().Begin(ctx, factory, from, req.Grants)
		if err == nil {
			r.losses.Show(d.Entity(), lasting)
		}
		return err
	}
	if d.Cluster().Leader() == nil {
		return begin()
	}
	epoch := d.Position().Epoch
	if from != nil {
		epoch = max(epoch, from.Header.Epoch+1)
	}
	e, err := r.cluster.Claim(ctx, d, epoch, req.Standbys, req.Ack)
	if err != nil {
		return fmt.Errorf("making daemon %s known to the cluster: %w", d.Entity().Origin(), err)
	}
	d.Making().SetEpoch(e.Epoch)
	if err := begin(); err != nil {
		return errors.Join(err, r.cluster.Directory().Delete(ctx, e))
	}
	cluster.LeaderOf(d).Claimed(e)
	return nil
}

// ownLimits are the request's over the snapshot's or the parent's, or over the kind's.
// A daemon that is made afresh, or is given limits, has those that fit one another.
func (r *Runtime) ownLimits(req daemon.SpawnRequest, from *snapshot.Snapshot, fork *forkpoint.Point) (own daemon.Limits, err error) {
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
		own = fork.Own()
	default:
		given = true
		own = r.registry.LimitsOf(req.Kind)
	}
	own = req.Limits.Over(own)
	if given {
		return own, own.FitOn(r.env.Limits)
	}
	return own, own.Over(r.env.Limits).Storable().FitArriving(r.env.Limits)
}

// reserve puts d into the tables, unless its identity or name is there.
func (r *Runtime) reserve(d *engine.Daemon) error {
	if err := r.open(); err != nil {
		return err
	}
	if r.Node().Draining() {
		return daemon.ErrDraining
	}
	d.Show()

	if err := r.evidence.Refuses(d.Entity()); err != nil {
		return err
	}
	return r.holds.Unless(d.Entity(), func() error {
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
	})
}

// goOnAbove puts a daemon that is in the tables above every epoch that its identity, which
// was given or has just been made, had here. What was known of it stays known until back
// is called. It needs d.mu.
func (r *Runtime) goOnAbove(d *engine.Daemon, given bool) (back func(), err error) {
	if given {
		d.Making().RaiseEpoch(r.table.Lowest())
	}
	t, settled, err := r.table.Returns(d.Entity())
	if err != nil {
		return nil, err
	}
	d.Making().RaiseEpoch(t.Epoch + 1)
	d.Show()
	return func() { settled(false) }, nil
}

// abandon undoes a spawn that lost to Shutdown. It needs d.mu.
func (r *Runtime) abandon(d *engine.Daemon, why error) error {
	d.End(lifecycle.Leave, why)
	r.table.Remove(d)
	r.subscriber.LeaveAll(d.Entity())
	if r.env.Store == nil || d.Kind() == "" {
		return nil
	}
	t := table.Tombstone{Node: r.env.Self, Epoch: d.Position().Epoch, Time: r.env.Clock().UnixNano(), Stopped: true}
	var b store.Batch
	d.Making().Forget(&b)
	if err := t.Bury(&b, d.Entity()); err != nil { // it may have signed something
		return err
	}
	return r.env.Store.Commit(&b)
}

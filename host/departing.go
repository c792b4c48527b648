package host

import (
	"context"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/cluster"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/internal/table"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/migration/source"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// departing is a daemon that moves away, with what this node does about it. It implements
// source.Leaving and source.Ownership.
type departing struct {
	rt *Runtime
	*engine.Daemon
}

// subjectOf returns a daemon of this node as its migration has it.
func subjectOf(r *Runtime, d *engine.Daemon) *source.Subject {
	of := departing{r, d}
	return &source.Subject{Entity: d.Entity(), Name: d.Name(), Kind: d.Kind(), Serving: d.Moves(), Leaving: of, Ownership: of}
}

// MayMove implements source.Ownership.
func (p departing) MayMove(ctx context.Context, target identity.NodeID, withKey bool) (epoch uint64, err error) {
	if !p.Moves().BeginMove() {
		return 0, migration.Failf(migration.AlreadyMigrating, "daemon %s is migrating already", p.Entity().Origin())
	}
	if epoch, err = p.Daemon.Moves().MayMove(ctx, withKey); err == nil {
		err = p.rt.cluster.CheckMove(ctx, p.Daemon, target)
	}
	if err != nil {
		p.Moves().EndMove()
	}
	return epoch, err
}

// Commit implements source.Ownership.
func (p departing) Commit(ctx context.Context, target identity.NodeID, epoch uint64) error {
	if cluster.LeaderOf(p.Daemon) == nil {
		return nil
	}
	return p.rt.cluster.Move(ctx, p.Daemon, target, epoch)
}

// Ended implements source.Ownership.
func (p departing) Ended(m *source.Migration, err *migration.Error) {
	s := m.Status()
	committed := s.Phase.Committed()
	if err != nil {
		if !committed {
			p.Moves().EndMove()
			p.rt.cluster.Stayed(p.Daemon)
		}
		failed := runningMove(m)
		failed.State, failed.Ended, failed.Err = MoveFailed, p.rt.env.Clock(), err
		failed.Sequence = 0
		p.rt.failures.add(failed)
	}

	kind := p.Meter()
	kind.Bytes.Add(uint64(max(s.Bytes, 0)))
	kind.Rounds.Add(uint64(s.Rounds))
	switch {
	case err != nil:
		p.rt.meters.moved(p.Kind(), "source", err)
	default:
		p.rt.meters.moved(p.Kind(), "source", nil)
		if s.Downtime > 0 { // else a restart came between
			kind.Downtime.Observe(s.Downtime)
		}
	}
	if err == nil || !committed { // else it stays, to answer a target that asks: to be told that we keep the daemon, it would drop it
		p.rt.table.EndDeparture(p.Entity())
	}
}

// Waiting implements source.Leaving.
func (p departing) Waiting() int64 { return p.Mailbox().Waiting() }

// HandOver implements source.Leaving.
func (p departing) HandOver(r *migration.Release, states []byte, seal *identity.SealKey) error {
	return p.Moves().HandOver(r, states, seal)
}

// Release implements source.Leaving. Without a store what is written lasts as long as the
// node does.
func (p departing) Release(record []byte, keepKey bool) (unsure bool, err error) {
	if p.rt.env.Store != nil {
		return p.Daemon.Moves().Release(record, keepKey)
	}
	p.Lock()
	defer p.Unlock()
	if key := p.Position().Key; keepKey && key.CanSign() {
		p.rt.mu.Lock()
		p.rt.kept[p.Entity()] = key.Clone()
		p.rt.mu.Unlock()
	}
	return false, nil
}

// Facts implements source.Leaving.
func (p departing) Facts(id migration.ID, from, to identity.NodeID, r *migration.Release, root []byte) (chain.ReceiptFacts, error) {
	p.Lock()
	defer p.Unlock()

	return p.Moves().ReceiptFacts(id, from, to, r, root)
}

// Leave implements source.Leaving.
func (p departing) Leave(to identity.NodeID, epoch uint64, rec *chain.Receipt) []channel.Binding {
	r, d := p.rt, p.Daemon
	t := table.Tombstone{Name: p.Name(), Node: to, Epoch: epoch, Time: r.env.Clock().UnixNano()}
	d.Lock()
	bound := d.Position().Ledger.All()
	d.Moves().EndTail()
	grave, err := r.grave(d, t)
	d.End(lifecycle.Leave, &daemon.MovedError{Moved: movedBy(t, p.Entity())})
	d.Unlock()

	if err == nil && rec != nil {
		err = r.evidence.PutReceipts(grave, rec)
	}
	if err == nil {
		err = r.bury(d, t, grave)
	}
	if err != nil { // the store is poisoned; the daemon is gone from here all the same
		r.env.Logger.Error("storing where a daemon went", "daemon", p.Entity().Origin(), "error", err)
		r.forgetHere(d, t, false)
	}
	return bound
}

// TakeBack implements source.Leaving.
func (p departing) TakeBack(epoch uint64) (chain.Mended, error) {
	r, d := p.rt, p.Daemon
	d.Lock()
	defer d.Unlock()

	if d.Position().State != lifecycle.Migrating {
		return chain.Mended{}, fmt.Errorf("%w: %w", ErrSettled, d.Position().Gone)
	}
	fact, b, err := d.Upkeep().RepairFact(chain.MendTakeBack, epoch)
	if err != nil {
		return chain.Mended{}, err
	}
	entity := p.Entity()
	b.Delete(store.Outgoing, entity[:])
	b.Delete(store.Meta, stored.KeptKey(entity)) // it has its key
	if err := r.env.Store.Commit(b); err != nil {
		return chain.Mended{}, err
	}

	d.Making().GoOn(fact.Epoch)
	d.Moves().EndTail()
	r.table.EndDeparture(p.Entity())
	d.Moves().EndMove()
	d.Resume()
	r.subscriber.Start(p.Entity(), d.Position().Ledger.All())
	r.env.Logger.Warn("a daemon was taken back; its target must not come back with it", "daemon", p.Entity().Origin(), "epoch", fact.Epoch)
	return fact, nil
}

// departuresOf is this node as its departures need it.
type departuresOf struct{ *Runtime }

// Room implements source.Node.
func (r departuresOf) Room() error { return r.room() }

// Subject implements source.Node.
func (r departuresOf) Subject(id identity.EntityID) (*source.Subject, error) {
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	return subjectOf(r.Runtime, d), nil
}

// Module implements source.Node.
func (r departuresOf) Module(ctx context.Context, digest [32]byte) ([]byte, error) {
	return r.Kinds().Module(ctx, digest)
}

// Begun implements source.Node.
func (r departuresOf) Begun(m *source.Migration) { r.table.Depart(m) }

// Linger implements source.Node.
func (r departuresOf) Linger(id identity.EntityID) func() { return r.subscriber.Linger(id) }

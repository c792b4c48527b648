package engine

import (
	"context"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/history"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/store"
)

// Repair needs d.mu.
func (x Upkeep) Repair(ctx context.Context, how chain.Mend) (chain.Mended, error) {
	d := x.d
	d.repairing = &repairing{how: how}
	defer func() { d.repairing = nil }()
	if err := d.rebuild(ctx); err != nil {
		return chain.Mended{}, err
	}
	fact := chain.Mended{How: how, After: d.chain.Head().Sequence, Epoch: d.epoch + 1}
	b := &store.Batch{Generation: d.generation}
	switch how {
	case chain.MendRetry:
		fact.Epoch = d.epoch
		return fact, nil
	case chain.MendSkip:
		fact.Count = d.repairing.differed
	case chain.MendRollback:
		d.dropped(&fact)
		b.DeleteHistoryFrom(d.id, d.index)
	default:
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrNotSupported, how)
	}
	if err := x.AppendFact(b, &fact); err != nil {
		return chain.Mended{}, err
	}
	d.Making().GoOn(fact.Epoch)
	if how == chain.MendSkip { // a replay of the history would differ again
		d.saved.Follow(false) // the whole state, once
		if err := d.putState(b); err != nil {
			return chain.Mended{}, err
		}
	}
	return fact, d.env.Store.Commit(b)
}

// repairing is what a rebuild for mending does otherwise.
type repairing struct {
	how      chain.Mend
	differed uint64
}

// dropped says in fact what is in the history from the daemon's index on.
func (d *Daemon) dropped(fact *chain.Mended) {
	end, err := d.env.Store.HistoryEnd(d.id)
	if err != nil { // what is damaged is dropped without being counted
		d.env.Logger.Warn("counting what is dropped", "daemon", d.id.Origin(), "error", err)
		return
	}
	fact.Count = end - min(end, d.index)
	if err := history.Drop(d.env.Store, d.id, d.index, end, fact); err != nil {
		d.env.Logger.Warn("reading what is dropped", "daemon", d.id.Origin(), "error", err)
	}
}

// replayRepair applies a mending of the history.
func (d *Daemon) replayRepair(rec *journal.Mend) error {
	if rec.Fact.Epoch <= d.epoch || rec.Fact.After != d.chain.Head().Sequence || rec.Checkpoint.Head != d.chain.HeadHash() {
		return fmt.Errorf("%w: a mending to epoch %d after output %d is not of this chain", daemon.ErrDiverged, rec.Fact.Epoch, rec.Fact.After)
	}
	d.epoch = rec.Fact.Epoch
	return nil
}

// Promote raises the epoch of a daemon that is here, if it stands where stands wants it.
func (x Upkeep) Promote(ctx context.Context, epoch uint64, stands func(epoch, sequence uint64, head chain.Hash) error) error {
	d := x.d
	if !d.Moves().BeginMove() {
		return fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, d.id.Origin())
	}
	defer d.Moves().EndMove()
	if err := d.Peek(ctx); err != nil { // held as it is, nothing else may look at it
		return err
	}
	defer d.mu.Unlock()
	if err := d.Memory().Wake(ctx); err != nil {
		return err
	}
	if d.life.State() != lifecycle.Running {
		return fmt.Errorf("%w: %s", daemon.ErrNotReady, d.id.Origin())
	}
	if err := d.last.WaitStored(ctx); err != nil {
		return err
	}
	if d.epoch == epoch { // it was promoted before
		return nil
	}
	if err := stands(d.epoch, d.chain.Head().Sequence, d.chain.HeadHash()); err != nil {
		return err
	}
	fact, b, err := x.RepairFact(chain.MendRecovery, epoch)
	if err == nil {
		err = d.env.Store.Commit(b)
	}
	if err != nil {
		return fmt.Errorf("writing that daemon %s goes on under epoch %d: %w", d.id.Origin(), epoch, err)
	}
	d.Making().GoOn(fact.Epoch)
	d.Show()
	d.Notify(daemon.WasMended, chain.MendRecovery.String())
	return nil
}

// RepairFact makes the record of a mending at the daemon's head, in a batch. It needs
// d.mu.
func (x Upkeep) RepairFact(how chain.Mend, epoch uint64) (chain.Mended, *store.Batch, error) {
	d := x.d
	fact := chain.Mended{How: how, After: d.chain.Head().Sequence, Epoch: epoch}
	b := &store.Batch{Generation: d.generation}
	return fact, b, x.AppendFact(b, &fact)
}

// AppendFact adds the signed record of a mending to the batch, at the daemon's
// index. It needs d.mu.
func (x Upkeep) AppendFact(b *store.Batch, fact *chain.Mended) error {
	d := x.d
	rec := &journal.Mend{Fact: *fact, Time: d.Turns().Now(), Checkpoint: *d.Image().CheckpointFor(chain.PurposeMend, fact.Epoch)}
	var err error
	if rec.Checkpoint.State, err = fact.Sum(); err != nil {
		return err
	}
	if err := rec.Checkpoint.Sign(d.key); err != nil {
		return err
	}
	value, err := journal.Encode(rec)
	if err == nil {
		b.Append(d.id, d.index, value)
	}
	return err
}

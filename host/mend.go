package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// ErrNotFailed says that a daemon needs no mending.
var ErrNotFailed = errors.New("the daemon is neither failed nor diverged")

// MendDaemon brings a failed or diverged daemon back. Where that does not work
// the daemon stays as it was, and the error says why. Errors: *NotFoundError,
// *MovedError, ErrNotFailed, and those of reading the daemon.
func (r *Runtime) MendDaemon(ctx context.Context, id identity.EntityID, how chain.Mend) (chain.Mended, error) {
	if err := errors.Join(r.ready(), r.room()); err != nil {
		return chain.Mended{}, err
	}
	old, err := r.find(id)
	if err != nil {
		return chain.Mended{}, err
	}
	if !old.BeginMove() {
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrAlreadyMigrating, id.Origin())
	}
	defer old.EndMove()
	old.Lock()
	defer old.Unlock()
	if r.env.Store == nil || !old.State().Broken() {
		return chain.Mended{}, fmt.Errorf("%w: %s", ErrNotFailed, id.Origin())
	}
	encoded, err := r.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return chain.Mended{}, err
	}
	d := knownDaemon(r.daemons, id, encoded)
	d.Lock()
	defer d.Unlock()
	if d.State() != lifecycle.Migrating {
		return chain.Mended{}, d.Gone()
	}
	d.countErrors(old.errorCount())
	fact, err := d.mend(ctx, how)
	if err != nil {
		d.end(lifecycle.Leave, err)
		return chain.Mended{}, fmt.Errorf("mending daemon %s by %s: %w", id.Origin(), how, err)
	}
	if r.cluster.replaced(old, d) {
		defer r.cluster.lookSoon()
	}
	r.table.Put(d)
	d.Meter().cameBack(how.String(), lifecycle.Running)
	d.notify(daemon.WasMended, how.String())
	d.resume()
	r.subscriber.Start(d.Entity(), d.Ledger().All())
	d.startEffects()
	d.accountMemory()
	r.env.Logger.Warn("a daemon was mended", "daemon", id.Origin(), "how", how, "count", fact.Count, "epoch", fact.Epoch)
	return fact, nil
}

// mend needs d.mu.
func (d *hosted) mend(ctx context.Context, how chain.Mend) (chain.Mended, error) {
	d.mending = &mending{how: how}
	defer func() { d.mending = nil }()
	if err := d.rebuild(ctx); err != nil {
		return chain.Mended{}, err
	}
	fact := chain.Mended{How: how, After: d.chain.Head().Sequence, Epoch: d.epoch + 1}
	b := &store.Batch{Generation: d.under}
	switch how {
	case chain.MendRetry:
		fact.Epoch = d.epoch
		return fact, nil
	case chain.MendSkip:
		fact.Count = d.mending.differed
	case chain.MendRollback:
		d.dropped(&fact)
		b.DeleteHistoryFrom(d.id, d.index)
	default:
		return chain.Mended{}, fmt.Errorf("%w: %s", daemon.ErrNotSupported, how)
	}
	if err := d.appendFact(b, &fact); err != nil {
		return chain.Mended{}, err
	}
	d.goOn(fact.Epoch)
	if how == chain.MendSkip { // a replay of the history would differ again
		d.saved.goes = false // the whole state, once
		if err := d.putState(b); err != nil {
			return chain.Mended{}, err
		}
	}
	return fact, d.env.Store.Commit(b)
}

// mending is what a rebuild for mending does otherwise.
type mending struct {
	how      chain.Mend
	differed uint64
}

// dropped says in fact what is in the history from the daemon's index on.
func (d *hosted) dropped(fact *chain.Mended) {
	end, err := d.env.Store.HistoryEnd(d.id)
	if err != nil { // what is damaged is dropped without being counted
		d.env.Logger.Warn("counting what is dropped", "daemon", d.id.Origin(), "error", err)
		return
	}
	fact.Count = end - min(end, d.index)
	// What is dropped may be of higher epochs, and is known elsewhere: what
	// follows must not be taken for it.
	err = d.env.Store.ReadHistory(d.id, d.index, end, func(_ uint64, b []byte) error {
		rec, err := journal.Decode(b)
		if err != nil {
			return nil // what is damaged says nothing of epochs
		}
		switch rec := rec.(type) {
		case *journal.Event:
			fact.Epoch = max(fact.Epoch, rec.Epoch+1)
		case *journal.Move:
			fact.Epoch = max(fact.Epoch, rec.Epoch+1)
		case *journal.Mend:
			fact.Epoch = max(fact.Epoch, rec.Fact.Epoch+1)
		}
		return nil
	})
	if err != nil {
		d.env.Logger.Warn("reading the epochs of what is dropped", "daemon", d.id.Origin(), "error", err)
	}
	err = d.env.Store.ReadHistoryBackward(d.id, func(index uint64, b []byte) error {
		if index < d.index {
			return store.ErrStop
		}
		rec, err := journal.Decode(b)
		e, ok := rec.(*journal.Event)
		if err != nil || !ok || len(e.Outputs) == 0 {
			return nil
		}
		links := e.Links()
		last := links[len(links)-1]
		fact.Sequence, fact.Head = last.Link.Sequence, last.Link.Hash(last.Payload)
		return store.ErrStop
	})
	if err != nil {
		d.env.Logger.Warn("reading what is dropped", "daemon", d.id.Origin(), "error", err)
	}
}

// replayMend applies a mending of the history.
func (d *hosted) replayMend(rec *journal.Mend) error {
	if rec.Fact.Epoch <= d.epoch || rec.Fact.After != d.chain.Head().Sequence || rec.Checkpoint.Head != d.chain.HeadHash() {
		return fmt.Errorf("%w: a mending to epoch %d after output %d is not of this chain", daemon.ErrDiverged, rec.Fact.Epoch, rec.Fact.After)
	}
	d.epoch = rec.Fact.Epoch
	return nil
}

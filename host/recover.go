package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/guest"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/leader"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// recover brings back kinds, daemons and migrations from the
// store. A daemon that cannot be brought back is kept as failed or diverged,
// with the reason, and stops no other.
func (r *Runtime) recover(ctx context.Context) error {
	if r.env.Store == nil {
		return nil
	}
	if err := r.recoverDraining(); err != nil {
		return err
	}
	if err := r.recoverIncarnation(); err != nil {
		return err
	}
	if err := r.evidence.Recover(); err != nil {
		return err
	}
	if err := r.recoverLosses(); err != nil {
		return err
	}
	if err := r.recoverHolds(); err != nil {
		return err
	}
	if err := r.recoverKinds(ctx); err != nil {
		return err
	}
	if err := r.broker.Recover(); err != nil {
		return err
	}
	if err := r.recoverDaemons(ctx); err != nil {
		return err
	}
	if r.cluster != nil {
		if err := errors.Join(r.cluster.recoverLife(), r.cluster.copies.Recover(), r.cluster.recoverMemory()); err != nil {
			return err
		}
		for _, d := range r.table.Daemons() {
			r.cluster.attach(d, leader.Beginning{Uncompared: true, Unread: d.IsUnread()})
		}
	}
	if err := r.recoverOutgoing(); err != nil {
		return err
	}
	return r.recoverIncoming(ctx)
}

func (r *Runtime) recoverKinds(ctx context.Context) error {
	records := make(map[string]kindRecord)
	err := r.env.Store.Scan(store.Kinds, func(k, v []byte) error {
		var rec kindRecord
		if err := canon.Unmarshal(v, &rec); err != nil || len(rec.Digest) != 32 {
			return fmt.Errorf("%w: kind %q: %w", store.ErrCorrupt, k, err)
		}
		records[string(k)] = rec
		return nil
	})
	if err != nil {
		return err
	}
	for name, rec := range records {
		m, err := r.module(ctx, store.Digest(rec.Digest))
		if err != nil {
			r.env.Logger.Error("a kind cannot be brought back", "kind", name, "error", err)
			continue
		}
		own, err := daemon.StoredLimits(rec.Limits)
		if err != nil {
			return fmt.Errorf("%w: kind %q: %w", store.ErrCorrupt, name, err)
		}
		r.mu.Lock()
		if _, ok := r.kinds[name]; !ok {
			r.meters.of(name)
			r.kinds[name] = &kind{name: name, factory: guest.NewFactory(m), digest: rec.Digest, size: rec.Size,
				pushed: time.Unix(0, rec.Pushed), report: m.Report(), limits: own}
		}
		r.mu.Unlock()
	}
	return nil
}

func (d *hosted) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failLocked(err)
}

func (d *hosted) failLocked(err error) {
	why := lifecycle.Fail
	if errors.Is(err, daemon.ErrDiverged) {
		why = lifecycle.Diverge
	}
	d.env.Logger.Error("a daemon cannot go on", "daemon", d.id.Origin(), "name", d.name, "error", err)
	d.end(why, fmt.Errorf("daemon %s cannot go on: %w", d.id.Origin(), err))
	d.notify(daemon.CannotGoOn, err.Error())
}

// rebuildWith makes the daemon's code, restores its last stored state and replays
// its history from there. It needs d.mu.
func (d *hosted) rebuildWith(ctx context.Context, sealed []byte) error {
	d.remade = true
	defer func() { d.remade = false }()
	if len(sealed) > 0 {
		env, err := identity.ParseEnvelope(sealed)
		if err != nil {
			return fmt.Errorf("the daemon's key: %w", err)
		}
		if d.key, err = env.Open(d.env.Node, atRest, d.id); err != nil {
			return fmt.Errorf("the daemon's key: %w", err)
		}
	}
	d.under = d.env.Store.Generation()
	factory, _, err := d.node.Factories.Factory(ctx, d.kind, d.module)
	if err != nil {
		return err
	}
	if err := d.construct(ctx, factory); err != nil {
		return err
	}
	from, err := d.startingPoint()
	if err != nil {
		return err
	}
	end, err := d.env.Store.HistoryEnd(d.id)
	if err != nil {
		return err
	}
	if d.mending != nil && d.mending.how == chain.MendRollback {
		return nil
	}
	if from > end {
		return fmt.Errorf("%w: the stored state stands at history record %d, the history ends before %d", store.ErrCorrupt, from, end)
	}
	return d.env.Store.ReadHistory(d.id, from, end, func(_ uint64, rec []byte) error { return d.replay(rec) })
}

// startingPoint restores the stored snapshot, or the daemon's beginning, and
// returns the index of the first record to replay.
func (d *hosted) startingPoint() (uint64, error) {
	first, begin, err := beginning(d.env.Store, d.id)
	if err != nil {
		return 0, err
	}
	d.first, d.saved = first, saved{tried: d.env.Clock().UnixNano()}
	d.index, d.kept, d.config = 1, 1, begin.Config
	d.epoch = begin.Epoch
	if there, err := d.loadStored(begin.Time); there || err != nil {
		return d.index, err
	}
	if first > 0 || begin.Head.Sequence > 0 || begin.Applied > 0 || len(begin.HeadPayload) > 0 {
		return 0, fmt.Errorf("%w: the snapshot that the daemon began with is not there", store.ErrCorrupt)
	}
	d.chain = chain.New(begin.Head, nil)
	return 1, d.init(begin.Time, true)
}

// beginning returns the first record of a daemon's history, and its index.
func beginning(st *store.Store, id identity.EntityID) (first uint64, begin *journal.Begin, err error) {
	err = st.ReadHistory(id, 0, ^uint64(0), func(index uint64, b []byte) error {
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		var ok bool
		if begin, ok = rec.(*journal.Begin); !ok {
			return fmt.Errorf("%w: the history begins with a %T", journal.ErrMalformed, rec)
		}
		first = index
		return store.ErrStop
	})
	if err == nil && begin == nil {
		err = fmt.Errorf("%w: there is no history", store.ErrCorrupt)
	}
	return first, begin, err
}

// replay applies one history record, as it was applied before. Outputs other
// than the recorded ones are ErrDiverged. It needs d.mu.
func (d *hosted) replay(b []byte) error {
	rec, err := journal.Decode(b)
	if err != nil {
		return fmt.Errorf("history record %d: %w", d.index, err)
	}
	switch rec := rec.(type) {
	case *journal.Event:
		err = d.replayEvent(rec)
	case *journal.Failure:
		d.advance(rec.Event, rec.Sender, rec.SenderEpoch, rec.Number, rec.Time)
		d.failedAsk(rec.Event, rec.Sender, rec.SenderEpoch, rec.Number, rec.Fault())
		d.stats.errors++
	case *journal.Checkpoint:
		c := &rec.Checkpoint
		if c.Entity != d.id || c.Sequence != d.chain.Head().Sequence || c.Head != d.chain.HeadHash() {
			err = fmt.Errorf("%w: a checkpoint at sequence %d is not of this chain", daemon.ErrDiverged, c.Sequence)
		}
		d.signed = d.chain.Head().Sequence / d.node.CheckpointEvery
	case *journal.Move:
		if rec.Epoch <= d.epoch {
			err = fmt.Errorf("%w: a move to epoch %d after epoch %d", journal.ErrMalformed, rec.Epoch, d.epoch)
		}
		d.epoch = rec.Epoch
	case *journal.Mend:
		err = d.replayMend(rec)
	case *journal.Bind:
		err = d.ledger.Record(rec.Binding)
	case *journal.Unbind:
		d.ledger.Forget(rec.Publisher, rec.Channel)
	case *journal.Grant:
		d.grant(rec.Grants)
	case *journal.Halt:
		d.halt(rec.Stopped)
	case *journal.Sent:
		if d.effects != nil {
			d.settle(rec)
		}
	case *journal.Replied:
		if d.effects != nil {
			d.effects.SettleReplies(rec.To, rec.Epoch, rec.Number)
		}
	case *journal.Settled:
		if rec.Index == veilIndex {
			d.horizon.Veil()
		}
	default:
		err = fmt.Errorf("%w: a %T inside the history", journal.ErrMalformed, rec)
	}
	if err != nil {
		return fmt.Errorf("history record %d: %w", d.index, err)
	}
	d.index++
	if s, ok := rec.(*journal.Settled); !ok || s.Index != veilIndex {
		d.saved.add(len(b))
	}
	return nil
}

func (d *hosted) replayEvent(e *journal.Event) error {
	if e.Before != d.chain.Head() || e.Parent != d.chain.HeadHash() || e.Applied != d.applied+1 || e.Epoch != d.epoch {
		return fmt.Errorf("%w: the record follows sequence %d, the daemon stands at %d", daemon.ErrDiverged, e.Before.Sequence, d.chain.Head().Sequence)
	}
	ev := input{Event: daemon.Event{Sender: e.Sender, Number: e.Number, Channel: e.Channel, Payload: e.Payload, Kind: e.Kind, From: e.From},
		senderEpoch: e.SenderEpoch, retry: e.Retry}

	if d.adopting {
		d.replayed(&ev, e)
		return nil
	}
	call := d.prepareCall(&ev, e.Time)
	call.Replay = true
	raw, err := d.daemon.Process(call, e.Payload)
	skip := d.mending != nil && d.mending.how == chain.MendSkip
	if err != nil && !skip {
		return fmt.Errorf("%w: event %d succeeded then and fails now: %w", daemon.ErrDiverged, e.Applied, err)
	}
	d.answerByOutputs(&ev, raw)
	same := err == nil && len(raw) == len(e.Outputs)
	for i := 0; same && i < len(raw); i++ {
		same = bytes.Equal(raw[i], e.Outputs[i])
	}
	if same && !effect.Same(d.call.Effects, e.Effects) {
		if !skip {
			return fmt.Errorf("%w: at event %d, of %d bytes: recorded are %d effects, the replay gives %d, or others", daemon.ErrDiverged, e.Applied, len(e.Payload), len(e.Effects), len(d.call.Effects))
		}
		same = false
	}
	if !same && !skip {
		return fmt.Errorf("%w: at event %d, of %d bytes: recorded are %s, the replay gives %s", daemon.ErrDiverged, e.Applied, len(e.Payload), brief(e.Outputs), brief(raw))
	}
	if !same {
		d.mending.differed++
	}
	d.replayed(&ev, e)
	return nil
}

// replayed notes an event of the history.
func (d *hosted) replayed(ev *input, e *journal.Event) {
	d.link(e.Outputs)
	d.note(ev, e.Time)
	if len(e.Effects) > 0 {
		d.acted(e.Effects)
	}
}

// brief shows outputs to people.
func brief(outputs [][]byte) string {
	const shown = 3
	text := fmt.Sprintf("%d outputs", len(outputs))
	for _, o := range outputs[:min(shown, len(outputs))] {
		text += fmt.Sprintf(" %.60q", o)
	}
	return text
}

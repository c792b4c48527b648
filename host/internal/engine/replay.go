package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
)

func (d *Daemon) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failLocked(err)
}

func (d *Daemon) failLocked(err error) {
	why := lifecycle.Fail
	if errors.Is(err, daemon.ErrDiverged) {
		why = lifecycle.Diverge
	}
	d.env.Logger.Error("a daemon cannot go on", "daemon", d.id.Origin(), "name", d.name, "error", err)
	d.End(why, fmt.Errorf("daemon %s cannot go on: %w", d.id.Origin(), err))
	d.Notify(daemon.CannotGoOn, err.Error())
}

// RebuildWith makes the daemon's code, restores its last stored state and replays
// its history from there. It needs d.mu.
func (x Making) RebuildWith(ctx context.Context, sealed []byte) error {
	d := x.d
	d.remade = true
	defer func() { d.remade = false }()
	if len(sealed) > 0 {
		key, err := stored.OpenKey(sealed, d.env.Node, d.id)
		if err != nil {
			return err
		}
		d.key = key
	}

	d.generation = d.env.Store.Generation()
	factory, _, err := d.node.Factories.Factory(ctx, d.kind, d.module)
	if err != nil {
		return err
	}
	if err := x.Construct(ctx, factory); err != nil {
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
	if d.repairing != nil && d.repairing.how == chain.MendRollback {
		return nil
	}
	if from > end {
		return fmt.Errorf("%w: the stored state stands at history record %d, the history ends before %d", store.ErrCorrupt, from, end)
	}
	return d.env.Store.ReadHistory(d.id, from, end, func(_ uint64, rec []byte) error { return x.Replay(rec) })
}

// startingPoint restores the stored snapshot, or the daemon's beginning, and
// returns the index of the first record to replay.
func (d *Daemon) startingPoint() (uint64, error) {
	first, begin, err := stored.Beginning(d.env.Store, d.id)
	if err != nil {
		return 0, err
	}
	d.firstIndex, d.saved = first, stored.At(d.env.Clock().UnixNano())
	d.index, d.snapshotIndex, d.config = 1, 1, begin.Config
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

// Replay applies one history record, as it was applied before. Outputs other
// than the recorded ones are ErrDiverged. It needs d.mu.
func (x Making) Replay(b []byte) error {
	d := x.d
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
		d.stats.Errors++
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
		err = d.replayRepair(rec)
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
		d.saved.Add(len(b))
	}
	return nil
}

func (d *Daemon) replayEvent(e *journal.Event) error {
	if e.Before != d.chain.Head() || e.Parent != d.chain.HeadHash() || e.Applied != d.applied+1 || e.Epoch != d.epoch {
		return fmt.Errorf("%w: the record follows sequence %d, the daemon stands at %d", daemon.ErrDiverged, e.Before.Sequence, d.chain.Head().Sequence)
	}
	ev := Input{Event: daemon.Event{Sender: e.Sender, Number: e.Number, Channel: e.Channel, Payload: e.Payload, Kind: e.Kind, From: e.From},
		senderEpoch: e.SenderEpoch, retry: e.Retry}

	if d.adopting {
		d.replayed(&ev, e)
		return nil
	}
	call := d.prepareCall(&ev, e.Time)
	call.Replay = true
	raw, err := d.daemon.Process(call, e.Payload)
	skip := d.repairing != nil && d.repairing.how == chain.MendSkip
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
		d.repairing.differed++
	}
	d.replayed(&ev, e)
	return nil
}

// replayed notes an event of the history.
func (d *Daemon) replayed(ev *Input, e *journal.Event) {
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

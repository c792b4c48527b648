package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost/host/internal/lifecycle"
	"wasmhost/host/store"
)

// A daemon whose history is bounded (Limits.History) lets go of its oldest
// records now and then. What is kept begins with a beginRecord that the daemon
// signs: at which head, after how many events, of what code. Its chain is
// proven from there on.

// trimmable returns before which record the history can go; 0: nothing is to
// be done. What is behind the stored state stays, and so do the records in
// which repeated events are looked for. It needs d.mu.
func (d *hosted) trimmable() uint64 {
	keep := max(uint64(d.limits.History), recordedDepth)
	if d.limits.History == 0 || d.index < d.first+keep+keep/2 || d.moving.Load() || d.tail != nil || !d.key.CanSign() {
		return 0
	}
	to := min(d.index-keep, d.saved.whole)
	if to < d.first+keep/4 { // little would go
		return 0
	}
	return to
}

// startTrimming lets go of old records beside the daemon's work. It needs d.mu.
func (d *hosted) startTrimming() {
	to := d.trimmable()
	if to == 0 || d.trimming || !d.rt.startWork() {
		return
	}
	d.trimming = true
	begun := d.last
	go func() {
		defer d.rt.work.Done()
		err := begun.wait(d.rt.ctx)
		if err == nil {
			err = d.trim(d.rt.ctx, to)
		}
		d.mu.Lock()
		defer d.mu.Unlock()
		d.trimming = false
		if err != nil && d.rt.ctx.Err() == nil {
			d.rt.logger.Warn("letting go of old history", "daemon", d.id.Origin(), "error", err)
		}
	}()
}

// trim makes record to-1 the beginning of the history.
func (d *hosted) trim(ctx context.Context, to uint64) error {
	begin, err := d.rt.beginningAt(ctx, d.id, to)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.State() != lifecycle.Running || d.moving.Load() || d.stale() != nil || to > d.saved.whole || d.trimmable() == 0 {
		return nil // another time
	}
	begin.Checkpoint = Checkpoint{Purpose: PurposeRestart, Entity: d.id, Epoch: begin.Epoch, Sequence: begin.Head.Sequence,
		Head: begin.Head.Hash(begin.HeadPayload), State: codeHash(begin.Kind, begin.Module)}
	if err := begin.Checkpoint.sign(d.key); err != nil {
		return err
	}
	rec, err := encodeRecord(begin)
	if err != nil {
		return err
	}
	b := &store.Batch{}
	b.DeleteHistoryBefore(d.id, to-1)
	b.Append(d.id, to-1, rec)
	d.commit(b)
	d.first = to - 1
	if d.repeated.index < to {
		d.repeated = repeated{}
	}
	return nil
}

// beginningAt returns the beginRecord of a history that begins before record
// to, unsigned: what the records until there come to.
func (r *Runtime) beginningAt(ctx context.Context, id store.ID, to uint64) (*beginRecord, error) {
	var begin *beginRecord
	err := r.store.ReadHistory(id, 0, to, func(index uint64, b []byte) error {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rec, err := decodeRecord(b)
		if err != nil {
			return fmt.Errorf("history record %d: %w", index, err)
		}
		if first, ok := rec.(*beginRecord); ok {
			begin = first
			return nil
		}
		if begin == nil {
			return fmt.Errorf("%w: the history begins with a %T", errBadRecord, rec)
		}
		switch rec := rec.(type) {
		case *eventRecord:
			begin.Applied, begin.Time = rec.Applied, max(begin.Time, rec.Time)
			if links := rec.links(); len(links) > 0 {
				last := links[len(links)-1]
				begin.Head, begin.HeadPayload = last.Link, last.Payload
			}
		case *moveRecord:
			begin.Epoch = rec.Epoch
		case *mendRecord:
			begin.Epoch = rec.Fact.Epoch
		case *upgradeRecord:
			begin.Module = rec.To
		}
		return nil
	})
	if err == nil && begin == nil {
		err = errors.New("there is no history")
	}
	return begin, err
}

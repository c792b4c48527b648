package engine

import (
	"context"
	"errors"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/store"
)

// A daemon whose history is bounded (Limits.History) lets go of its oldest
// records now and then, and of all beyond when that limit is set. What is kept begins with a journal.Begin that the daemon
// signs: at which head, after how many events, of what code. Its chain is
// proven from there on.

// trimmable returns before which record the history can go; 0: nothing is to
// be done. What is behind the stored state stays. Without now a good part must go, for it
// to be worth while. It needs d.mu.
func (d *Daemon) trimmable(now bool) uint64 {
	keep := uint64(d.Limits().History)
	if keep == 0 || d.Moves().IsMoving() || d.tail != nil || !d.key.CanSign() || d.env.Store == nil || d.kind == "" {
		return 0
	}
	slack := uint64(0)
	if !now {
		slack = keep / 2
	}
	if d.index <= d.firstIndex+keep+slack {
		return 0
	}
	to := min(d.index-keep, d.saved.Whole())
	if to <= d.firstIndex+1+slack/2 { // little would go
		return 0
	}
	return to
}

// startTrimming lets go of old records beside the daemon's work. It needs d.mu.
func (d *Daemon) startTrimming() { d.startTrimmingTo(d.trimmable(false), false) }

// TrimNow lets go of all that is beyond the daemon's history, however little, and gives the
// space back. It stores the state first where that keeps records from going. It needs d.mu.
func (x Upkeep) TrimNow() {
	d := x.d
	if keep := uint64(d.Limits().History); d.life.State() == lifecycle.Running && keep > 0 && d.env.Store != nil && d.kind != "" && d.index > d.saved.Whole()+keep {
		b := &store.Batch{}
		if err := d.putWhole(b); err == nil {
			d.commit(b)
		} else if !errors.Is(err, daemon.ErrNotPortable) {
			d.env.Logger.Warn("storing a daemon's state before its history is let go of", "daemon", d.id.Origin(), "error", err)
		}
	}
	d.startTrimmingTo(d.trimmable(true), true)
}

func (d *Daemon) startTrimmingTo(to uint64, now bool) {
	if d.trimming {
		d.trimAgain = d.trimAgain || now
		return
	}
	if to == 0 || !d.env.Work.Begin() {
		return
	}
	d.trimming = true
	begun := d.last
	go func() {
		defer d.env.Work.Done()
		err := begun.Wait(d.env.Context)
		if err == nil {
			err = d.trim(d.env.Context, to, now)
		}
		d.mu.Lock()
		d.trimming = false
		if d.trimAgain {
			d.trimAgain = false
			d.Upkeep().TrimNow()
		}
		d.mu.Unlock()
		if err != nil && d.env.Context.Err() == nil {
			d.env.Logger.Warn("letting go of old history", "daemon", d.id.Origin(), "error", err)
		}
	}()
}

// trim makes record to-1 the beginning of the history, durably, and gives the space of what
// was before back, where that is much or is asked for now.
func (d *Daemon) trim(ctx context.Context, to uint64, now bool) error {
	large, err := d.env.Store.HistoryIsLarge(d.id, to-1)
	if err != nil {
		return err
	}
	t, err := d.trimmed(ctx, to, now)
	if err == nil {
		err = t.WaitStored(ctx)
	}
	if err != nil || !large && !now {
		return err
	}
	return d.env.Store.Reclaim(ctx, d.id, to-1)
}

func (d *Daemon) trimmed(ctx context.Context, to uint64, now bool) (*pending.Ticket, error) {
	begin, err := stored.BeginningAt(ctx, d.env.Store, d.id, to)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.life.State() != lifecycle.Running || d.Moves().IsMoving() || d.Memory().Stale() != nil || to > d.saved.Whole() || d.trimmable(now) == 0 {
		return nil, nil // another time
	}
	begin.Checkpoint = chain.Checkpoint{Purpose: chain.PurposeRestart, Entity: d.id, Epoch: begin.Epoch, Sequence: begin.Head.Sequence,
		Head: begin.Head.Hash(begin.HeadPayload), State: chain.CodeHash(begin.Kind, begin.Module)}
	if err := begin.Checkpoint.Sign(d.key); err != nil {
		return nil, err
	}
	rec, err := journal.Encode(begin)
	if err != nil {
		return nil, err
	}
	b := &store.Batch{}
	b.DeleteHistoryBefore(d.id, to-1)
	b.Append(d.id, to-1, rec)
	t := d.commit(b)
	d.firstIndex = to - 1
	d.repeated.ForgetBefore(to)
	return t, nil
}

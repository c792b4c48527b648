package forkpoint

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Past is what the daemon was right after output at.
func Past(ctx context.Context, node *engine.Config, d *engine.Daemon, at uint64) (*Point, error) {
	before := uint64(0) // the last output of an event that is passed
	_, p, err := retrace(ctx, node, d.Entity(), func(past *engine.Daemon) (bool, error) {
		head := past.Position().Head
		switch {
		case head.Sequence == at && head.Horizon == past.Position().Applied:
			return true, nil
		case head.Sequence > at:
			return false, fmt.Errorf("%w: output %d is among %d to %d of one event", daemon.ErrNoForkPoint, at, before+1, head.Sequence)
		}
		before = head.Sequence
		return false, nil
	}, func(index uint64, h *snapshot.Header) (bool, error) {
		if h.Through != at || h.Head.Horizon != h.Applied {
			return h.Through < at, nil
		}
		return sameSince(node.Env.Store, d.Entity(), index, at)
	})
	return p, err
}

// sameSince reports whether nothing became of the daemon between its output and
// history record index that an event does not: an upgrade, or a mending.
func sameSince(st *store.Store, id identity.EntityID, index, output uint64) (bool, error) {
	same := true
	err := st.ReadHistoryBackward(id, func(at uint64, b []byte) error {
		if at >= index {
			return nil
		}
		switch rec, err := journal.Decode(b); rec := rec.(type) {
		case nil:
			return err
		case *journal.Upgrade, *journal.Mend:
			same = false
			return store.ErrStop
		case *journal.Event:
			if rec.Before.Sequence+uint64(len(rec.Outputs)) == output {
				return store.ErrStop
			}
		}
		return nil
	})
	return same, err
}

// LastGood is what a daemon that cannot go on was after the last record that can be
// replayed.
func LastGood(ctx context.Context, node *engine.Config, d *engine.Daemon) (*Point, error) {
	all := func(uint64, *snapshot.Header) (bool, error) { return true, nil }
	// The record that fails may have changed what it failed on: so once to find
	// it, and once up to it.
	bad, p, err := retrace(ctx, node, d.Entity(), func(*engine.Daemon) (bool, error) { return false, nil }, all)
	if err == nil || ctx.Err() != nil || bad == 0 {
		return p, err
	}
	node.Env.Logger.Info("the history of a daemon can be replayed so far", "daemon", d.Entity().Origin(), "record", bad, "error", err)
	_, p, err = retrace(ctx, node, d.Entity(), func(past *engine.Daemon) (bool, error) { return past.Position().Next >= bad, nil }, all)
	return p, err
}

// retrace makes the daemon again as it once was, from the stored state where
// that may be used, else from its beginning: record by record until stop says so,
// which is asked before the first and after each. It returns the index of the
// record at which it ended. The daemon itself is left alone.
func retrace(ctx context.Context, node *engine.Config, id identity.EntityID, stop func(*engine.Daemon) (bool, error), use func(uint64, *snapshot.Header) (bool, error)) (uint64, *Point, error) {
	if node.Env.Store == nil {
		return 0, nil, fmt.Errorf("%w: of daemon %s", daemon.ErrNoHistory, id.Origin())
	}
	encoded, err := node.Env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return 0, nil, err
	}
	d := engine.FromRecord(node, id, encoded)
	d.Lock()
	defer d.Unlock()
	if d.Position().State != lifecycle.Migrating {
		return 0, nil, d.Position().Gone
	}
	defer d.End(lifecycle.Leave, errRetraced)
	if err := d.Making().Remake(encoded); err != nil {
		return 0, nil, err
	}
	if err := d.Making().StandBack(ctx, use); err != nil {
		return 0, nil, err
	}
	done, err := stop(d)
	if err == nil && !done {
		err = node.Env.Store.ReadHistory(id, d.Position().Next, ^uint64(0), func(_ uint64, b []byte) error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := d.Making().RetraceRecord(ctx, b); err != nil {
				return err
			}
			if done, err = stop(d); done {
				return store.ErrStop
			}
			return err
		})
	}
	if err != nil {
		return d.Position().Next, nil, err
	}
	p, err := Of(d)
	if err == nil {
		err = p.Finish(d.Limits().StateBytes)
	}
	return d.Position().Next, p, err
}

var errRetraced = errors.New("the daemon was made for a fork")

package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/internal/canon"
)

// Remake gives a daemon that is made of its history, for a fork, the key of its record.
func (x Making) Remake(encoded []byte) error {
	x.d.remade = true
	return x.OpenKey(encoded)
}

// OpenKey gives the daemon the key of its record.
func (x Making) OpenKey(encoded []byte) error {
	d := x.d
	rec, err := stored.DecodeRecord(encoded)
	if err != nil || len(rec.Key) == 0 {
		return err
	}
	key, err := stored.OpenKey(rec.Key, d.env.Node, d.id)
	if err != nil {
		return err
	}
	d.key = key
	return nil
}

// StandBack brings the daemon to its stored state, where it may be used, else to
// its beginning.
func (x Making) StandBack(ctx context.Context, use func(uint64, *snapshot.Header) (bool, error)) error {
	d := x.d
	first, begin, err := stored.Beginning(d.env.Store, d.id)
	if err != nil {
		return err
	}
	d.firstIndex, d.index, d.config, d.epoch = first, first+1, begin.Config, begin.Epoch
	through := uint64(0)
	index, s, err := stored.Latest(d.env.Store, d.id)
	switch {
	case err == nil:
		through = s.Header.Through
		may, err := use(index, &s.Header)
		if err != nil {
			return err
		}
		if may {
			d.module, d.index, d.epoch = canon.OrNil(s.Header.Module), index, max(d.epoch, s.Header.Epoch)
			if err := d.build(ctx); err != nil {
				return err
			}
			return x.Restore(s, begin.Time)
		}
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	if first > 0 || begin.Head.Sequence > 0 || begin.Applied > 0 || len(begin.HeadPayload) > 0 {
		return fmt.Errorf("%w: it begins after output %d, with a state that is not kept; the stored state stands after output %d", daemon.ErrHistoryTrimmed, begin.Head.Sequence, through)
	}
	d.module, d.previous, d.chain = canon.OrNil(begin.Module), nil, chain.New(begin.Head, nil)
	if err := d.build(ctx); err != nil {
		return err
	}
	return d.init(begin.Time, true)
}

// build makes the code of a daemon of d.module.
func (d *Daemon) build(ctx context.Context) error {
	f, _, err := d.node.Factories.Factory(ctx, d.kind, d.module)
	if err != nil {
		return err
	}
	return d.Making().Construct(ctx, f)
}

// RetraceRecord is replay that crosses upgrades too: the state goes through the
// hooks of both versions once more.
func (x Making) RetraceRecord(ctx context.Context, b []byte) error {
	d := x.d
	if !journal.IsUpgrade(b) {
		return x.Replay(b)
	}
	rec, err := journal.Decode(b)
	if err != nil {
		return fmt.Errorf("history record %d: %w", d.index, err)
	}
	up := rec.(*journal.Upgrade)
	old := d.daemon
	call := d.Image().StateCall()
	var state []byte
	if !d.stateless() {
		if state, err = old.Snapshot(call); err != nil {
			return err
		}
		state = bytes.Clone(state)
	}
	d.daemon, d.module, d.previous = nil, up.To, up.From
	if err := d.build(ctx); err != nil {
		d.daemon = old
		return err
	}
	if c, ok := old.(interface{ Close() error }); ok {
		if err := c.Close(); err != nil {
			d.env.Logger.Warn("closing a daemon's old code", "daemon", d.id.Origin(), "error", err)
		}
	}
	if i, ok := d.daemon.(daemon.Initer); ok && d.stateless() {
		err = i.Init(call, d.config)
	} else {
		err = d.daemon.Restore(call, state)
	}
	if err != nil {
		return fmt.Errorf("history record %d, an upgrade: %w", d.index, err)
	}
	d.index++
	return nil
}

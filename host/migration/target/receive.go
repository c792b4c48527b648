package target

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// The target's side of Transfer: module, history, memory and snapshot come, over
// one connection or, where it breaks, over several.

// takeUp returns the migration that the offer resumes; nil where there is none
// that could be: the offer is then a new one.
func (t *Arrivals) takeUp(from identity.NodeID, c migration.Conn, o *migration.Offer) *Arrival {
	if !o.Resumed {
		return nil
	}
	in := t.table.Arrival(o.Entity)
	if in == nil || in.from != from || in.offer.Migration != o.Migration {
		return nil
	}
	in.mu.Lock()
	cut, walking, at := in.cut, in.walking, in.at.Phase()
	in.mu.Unlock()
	if at == migration.Pending {
		return nil
	}

	cut() // the source has given the other connection up
	<-walking
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.at.Phase() != migration.Parked || !in.late.Stop() || in.step(migration.Resumed, migration.Source) != nil {
		return nil
	}
	in.walking, in.cut = make(chan struct{}), c.Abort
	in.room.Shrink(int64(len(in.snapshot)))
	in.snapshot = nil // it comes anew
	return in
}

// unpark takes what is kept of a stream that broke from the source that may go on
// with it. It reports false where nothing is kept so.
func (in *Arrival) unpark() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.at.Phase() == migration.Parked && in.late.Stop()
}

// rest ends the work of one stream. Where the stream broke while the daemon
// came, what came is kept for another.
func (in *Arrival) rest(err *error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	defer close(in.walking)
	var cut *exchange.CutError
	if errors.As(*err, &cut) && in.of.node.Open() == nil && in.step(migration.Cut, migration.Target) == nil {
		in.late = time.AfterFunc(exchange.ResumeFor, func() { in.Discard(migration.Target) })
		return
	}
	in.mu.Unlock()
	in.Discard(migration.Target)
	in.mu.Lock()
}

// receive takes what comes, up to the snapshot's end.
func (in *Arrival) receive(ctx context.Context, c migration.Conn) error {
	if in.env.Store != nil && in.history == 0 {
		b := &store.Batch{}
		b.DeleteHistory(in.offer.Entity)
		if err := in.submit(b, ignore); err != nil {
			return err
		}
	}
	for {
		msg, err := exchange.Receive[migration.Message](c)
		if err != nil {
			return err
		}
		switch msg := msg.(type) {
		case *migration.ModuleChunk:
			if uint64(len(in.module)+len(msg.Bytes)) > in.offer.ModuleSize {
				return migration.Failf(migration.ProtocolError, "more of the module came than the %d bytes announced", in.offer.ModuleSize)
			}
			if err := in.room.Grow(len(msg.Bytes)); err != nil {
				return err
			}
			in.module = append(in.module, msg.Bytes...)
		case *migration.HistoryBatch:
			if err := in.addHistory(msg); err != nil {
				return err
			}
		case *migration.Blocks:
			if err := in.addBlocks(ctx, msg); err != nil {
				return err
			}
			in.blocks++
		case *migration.Earlier:
			if err := in.announced(ctx, c, msg); err != nil {
				return err
			}
		case *migration.EarlierChunk:
			if err := in.addEarlier(msg.Bytes); err != nil {
				return err
			}
		case *migration.Receipts:
			in.receipts = in.terms().Receipts(msg.All, in.env.Logger)
		case *migration.SnapshotChunk:
			if int64(len(in.snapshot)+len(msg.Bytes)) > in.limits.StateBytes+daemon.MaxSnapshotRest {
				return migration.Failf(migration.StateFailed, "the snapshot is larger than the daemon's limit state-bytes of %d", in.limits.StateBytes)
			}
			if err := in.room.Grow(len(msg.Bytes)); err != nil {
				return err
			}
			in.snapshot = append(in.snapshot, msg.Bytes...)
			if !msg.Last {
				continue
			}
			if in.history != in.offer.History {
				return migration.Failf(migration.ProtocolError, "%d history records came, %d were announced", in.history, in.offer.History)
			}
			return in.addModule(ctx)
		default:
			return migration.Failf(migration.ProtocolError, "a %T during the transfer", msg)
		}
	}
}

func (in *Arrival) addHistory(m *migration.HistoryBatch) error {
	if in.history == 0 && len(m.Records) > 0 && m.From < in.offer.History {
		if rec, err := journal.Decode(m.Records[0]); err != nil || !journal.IsBegin(rec) {
			return migration.Failf(migration.ProtocolError, "the history that came does not begin with its beginning: %T, %v", rec, err)
		}
		in.first, in.history = m.From, m.From // the source has let go of what was before
	}
	if m.From != in.history || in.history+uint64(len(m.Records)) > in.offer.History {
		return migration.Failf(migration.ProtocolError, "history records from %d came where %d of %d are next", m.From, in.history, in.offer.History)
	}
	if in.env.Store != nil {
		if err := in.of.node.Room(); err != nil {
			return migration.Failf(migration.StoreFailed, "%v", err)
		}
		b := &store.Batch{}
		for i, rec := range m.Records {
			b.Append(in.offer.Entity, m.From+uint64(i), rec)
		}
		if err := in.submit(b, ignore); err != nil {
			return err
		}
	}
	in.history += uint64(len(m.Records))
	return nil
}

// addBlocks puts blocks into the daemon's memory, which it makes before the
// first of them.
func (in *Arrival) addBlocks(ctx context.Context, m *migration.Blocks) error {
	if !in.offer.Memory {
		return migration.Failf(migration.ProtocolError, "blocks came that were not announced")
	}
	if err := in.addModule(ctx); err != nil {
		return err
	}
	d, err := in.make(ctx)
	if err != nil {
		return err
	}
	if in.bytes += int64(len(m.Index)) / 4 * migration.BlockBytes; in.bytes > d.Limits().StateBytes {
		return migration.Failf(migration.StateFailed, "more of memory came than the daemon's limit state-bytes of %d", d.Limits().StateBytes)
	}
	if err := in.room.Grow(len(m.Index) / 4 * migration.BlockBytes); err != nil {
		return err
	}
	return in.withDaemon(func() error { return in.memory.Add(m) })
}

// addModule adds the module, once, and makes it the kind's where the kind is
// not known here.
func (in *Arrival) addModule(ctx context.Context) error {
	o := &in.offer
	if len(o.Module) == 0 || in.known {
		return nil
	}
	if in.needs {
		if sum := sha256.Sum256(in.module); !bytes.Equal(sum[:], o.Module) {
			return migration.Failf(migration.ModuleRefused, "the module that came has digest %x, %x was announced", sum, o.Module)
		}
		if _, err := in.of.registry.Add(ctx, in.module, in.env.Limits.MemoryBytes, false); err != nil {
			return migration.Failf(migration.ModuleRefused, "%v", err)
		}
	}
	if !in.of.registry.Knows(o.Kind) {
		m, err := in.of.registry.Compiled(ctx, store.Digest(o.Module))
		if err != nil {
			return migration.Failf(migration.ModuleRefused, "%v", err)
		}
		if err := in.of.registry.SetModule(o.Kind, m, m.Report().Size, daemon.Limits{}); err != nil {
			return migration.Failf(migration.StoreFailed, "%v", err)
		}
	}
	in.known = true
	return nil
}

// make makes the daemon that what comes goes into. It holds its events, and is
// not in the runtime's table.
func (in *Arrival) make(ctx context.Context) (*engine.Daemon, error) {
	if in.d != nil {
		return in.d, nil
	}
	o := &in.offer
	d := engine.New(in.of.daemons, o.Entity, o.Kind, canon.OrNil(o.Module))
	if err := d.Making().SetLimits(o.Limits); err != nil {
		return nil, migration.Failf(migration.StateFailed, "%v", err)
	}
	d.Making().Identify(o.Name, identity.PublicOnly(o.Entity))
	d.Making().SetEpoch(o.Epoch)
	factory, _, err := in.of.registry.Factory(ctx, o.Kind, canon.OrNil(o.Module))
	if err != nil {
		return nil, migration.Failf(migration.FactoryNotFound, "%v", err)
	}
	if err := d.Making().Construct(ctx, factory); err != nil {
		return nil, migration.Failf(migration.StateFailed, "%v", err)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.at.Phase().Terminal() {
		d.End(lifecycle.Leave, &daemon.NotFoundError{Entity: o.Entity})
		return nil, ErrPushedOut
	}
	in.d = d
	return d, nil
}

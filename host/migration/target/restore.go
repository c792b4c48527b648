package target

import (
	"bytes"
	"context"

	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/internal/lifecycle"
	"wasmhost.example/host/internal/stored"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
)

// The target's side of Restore and Replay: the daemon is brought to what it was
// when its source began, and follows what the source does.

// restore brings the daemon to the snapshot.
func (in *Arrival) restore(ctx context.Context) error {
	s, err := snapshot.Decode(in.snapshot)
	if err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}
	h, o := &s.Header, &in.offer
	if h.Entity != o.Entity || h.Epoch != o.Epoch || h.Kind != o.Kind || !bytes.Equal(h.Module, o.Module) || (h.Form == snapshot.FormBlocks) != o.Memory {
		return migration.Failf(migration.StateFailed, "the snapshot does not match the offer: daemon %s, epoch %d, kind %q, state %s", h.Entity.Origin(), h.Epoch, h.Kind, h.Form)
	}
	if err := in.terms().Authorise(s.Verify()); err != nil {
		return err
	}
	if err := in.reserve(); err != nil {
		return err
	}
	if err := in.suspect(s); err != nil {
		return err
	}
	if in.lasting, err = h.Facts(); err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}
	in.keepEarlier(ctx)
	if _, err := in.make(ctx); err != nil {
		return err
	}
	b := &store.Batch{}
	if err := in.withDaemon(func() error { return in.stand(s, b) }); err != nil {
		return err
	}
	in.room.Shrink(int64(len(in.snapshot) + len(in.module)))
	in.snapshot, in.module = nil, nil
	if in.env.Store == nil {
		return nil
	}
	if err := b.Finish(); err != nil { // else others would wait for a large file
		return migration.Failf(migration.StoreFailed, "%v", err)
	}
	return in.settleDown(b)
}

// settleDown writes the batch and returns when all of the daemon that was
// submitted is durable. It must not be called with the daemon's lock, which
// whoever drops the daemon takes second.
func (in *Arrival) settleDown(b *store.Batch) error {
	durable := make(chan error, 1)
	if err := in.submit(b, func(err error) { durable <- err }); err != nil {
		return err
	}
	if err := <-durable; err != nil {
		return migration.Failf(migration.StoreFailed, "%v", err)
	}
	return nil
}

// stand brings the daemon to the snapshot, and adds to b what is to be kept. It
// needs the daemon's lock.
func (in *Arrival) stand(s *snapshot.Snapshot, b *store.Batch) error {
	d, h := in.d, &s.Header
	var err error
	if in.offer.Memory {
		if err = d.Making().RestoreTo(h); err == nil {
			d.Making().SetTime(h.LastTime)
			err = in.memory.Become(s.State)
		}
	} else {
		err = d.Making().Restore(s, h.LastTime)
	}
	if err != nil {
		return migration.Failf(migration.StateFailed, "%v", err)
	}
	d.Making().TakeFacts(in.lasting)
	d.Making().HistoryFrom(in.first, in.history)
	in.next = in.history
	if in.env.Store == nil {
		return nil
	}
	if in.history == 0 {
		if err := in.beginHere(s, b); err != nil {
			return err
		}
	}
	if in.offer.Memory {
		if s, err = d.Image().SnapshotOf(snapshot.FormMemory, false, true); err != nil {
			return migration.Failf(migration.StateFailed, "%v", err)
		}
	}
	if s, err = s.ForStore(d.Position().Key); err != nil {
		return err
	}
	return stored.Put(in.env.Store, b, in.offer.Entity, d.Position().Next, s)
}

// beginHere starts a history for a daemon that brought none: at its snapshot,
// which it signed.
func (in *Arrival) beginHere(s *snapshot.Snapshot, b *store.Batch) error {
	h := &s.Header
	rec, err := journal.Encode(&journal.Begin{Kind: h.Kind, Module: h.Module, Config: h.Config, Time: max(h.LastTime, 1), Epoch: h.Epoch,
		Head: h.Head, HeadPayload: h.HeadPayload, Applied: h.Applied, Checkpoint: s.Checkpoint})
	if err != nil {
		return err
	}
	b.Append(in.offer.Entity, 0, rec)
	in.d.Making().HistoryFrom(in.first, 1)
	return nil
}

// replay applies the rounds, and returns after the last.
func (in *Arrival) replay(c migration.Conn) error {
	first := in.offer.History == 0 // a source that keeps no history counts on its own
	adopting := false
	for {
		msg, err := exchange.Receive[migration.Message](c)
		if err != nil {
			return err
		}
		more, last := true, false
		switch msg := msg.(type) {
		case *migration.Tail:
			if first {
				in.next, first = msg.From, false
			}
			if msg.From != in.next {
				return migration.Failf(migration.ProtocolError, "records from %d came where %d is next", msg.From, in.next)
			}
			in.next += uint64(len(msg.Records))
			if msg.Adopt && !in.offer.Memory || adopting && !msg.Adopt || msg.Adopt && (!msg.More || msg.Last) {
				return migration.Failf(migration.ProtocolError, "records to be adopted, without the memory that is to follow")
			}
			adopting, more, last = msg.Adopt, msg.More, msg.Last
			if err := in.apply(msg); err != nil {
				return err
			}
		case *migration.Blocks:
			if !adopting {
				return migration.Failf(migration.ProtocolError, "blocks came for records that were replayed")
			}
			if err := in.withDaemon(func() error { return in.memory.Add(msg) }); err != nil {
				return err
			}
		case *migration.Memory:
			if !adopting {
				return migration.Failf(migration.ProtocolError, "a memory came for records that were replayed")
			}
			adopting, more, last = false, false, msg.Last
			if err := in.withDaemon(func() error { return in.memory.Become(msg.State) }); err != nil {
				return err
			}
		default:
			return migration.Failf(migration.ProtocolError, "a %T during the replay", msg)
		}
		if more {
			continue
		}
		if err := in.withDaemon(in.memory.Look); err != nil {
			return err
		}
		if last {
			return nil
		}
		if err := c.Send(&migration.Caught{}); err != nil {
			return exchange.CutOff(err)
		}
	}
}

// withDaemon calls fn with the daemon's lock. It is held for that alone: who
// drops the daemon waits for no peer.
func (in *Arrival) withDaemon(fn func() error) error {
	in.d.Lock()
	defer in.d.Unlock()
	if in.d.Position().State == lifecycle.Moved {
		return ErrPushedOut
	}
	return fn()
}

// apply replays records, or takes them as they are, and keeps them.
func (in *Arrival) apply(t *migration.Tail) error {
	b := &store.Batch{}
	err := in.withDaemon(func() error {
		in.d.Making().Adopt(t.Adopt)
		defer func() { in.d.Making().Adopt(false) }()
		for _, rec := range t.Records {
			b.Append(in.offer.Entity, in.d.Position().Next, rec)
			if err := in.d.Making().Replay(rec); err != nil {
				return migration.Failf(migration.StateFailed, "%v", err)
			}
		}
		return nil
	})
	if err != nil || in.env.Store == nil || len(t.Records) == 0 {
		return err
	}
	return in.submit(b, ignore)
}

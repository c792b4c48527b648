package source

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/moving"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// The beginning of the source's walk: the daemon as it was at one moment goes to
// the target, while the daemon goes on.

// sourceWalk is one attempt. Its conn is nil before offer, its view before capture.
type sourceWalk struct {
	m      *Migration
	d      *Subject
	ctx    context.Context
	peer   mesh.Peer
	conn   migration.Conn
	seal   identity.SealKey // the target's, where the identity travels
	view   *moving.View
	module []byte
	plain  bool          // the target does not take what Lasting adds
	memory *movingMemory // nil where the state comes in the snapshot
	head   moving.Head   // of the paused daemon
	final  migration.Round
	paused time.Time
	slowed time.Duration // from one event of the daemon to the next, at least
	pace   pace
}

// sleep sleeps, or returns why the walk ends.
func (s *sourceWalk) sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// movingMemory is the memory of a daemon that moves, as the target has it.
type movingMemory struct {
	view *sandbox.Frozen   // the last one
	hash *sandbox.Follower // of what is in the views so far
	send blockSender

	hashed chan struct{} // closed when hash stands at the first view; nil: that has not begun
}

// beginHash hashes the first view, once, beside its being sent.
func (m *movingMemory) beginHash() {
	if m.hashed != nil {
		return
	}
	m.hashed = make(chan struct{})
	view := m.view
	go func() {
		defer close(m.hashed)
		m.put(view)
	}()
}

func (m *movingMemory) put(v *sandbox.Frozen) { moving.Follow(m.hash, v, nil) }

// capture takes a view of the daemon, and has it note what it does from then on.
func (s *sourceWalk) capture() error {
	var err error
	if s.view, err = s.d.Capture(s.ctx); err != nil {
		return err
	}
	if v := s.view; v.Memory != nil {
		s.memory = &movingMemory{view: v.Memory, hash: v.Hash}
	}
	if s.view.Module != nil {
		if s.module, err = s.m.of.node.Module(s.ctx, store.Digest(s.view.Module)); err != nil {
			return err
		}
	}
	return s.m.signal(migration.Captured, migration.Source)
}

func (s *sourceWalk) offer() error {
	var err error
	if s.conn, err = s.peer.OpenMigration(s.ctx); err != nil {
		return err
	}
	if s.m.sendsIdentity() {
		if s.seal, err = s.peer.SealKey(s.ctx); err != nil {
			return migration.Failf(migration.IdentityTransportFailed, "the target's seal key is not known: %v", err)
		}
	}
	return s.sendOffer(false)
}

func (s *sourceWalk) sendOffer(resumed bool) error {
	history := uint64(0)
	if s.m.env.Store != nil {
		history = s.view.Index
	}
	o := migration.Offer{Version: s.version(), Migration: s.m.id, Entity: s.m.entity, Name: s.d.Name, Kind: s.d.Kind,
		Module: s.view.Module, ModuleSize: uint64(len(s.module)), Epoch: s.view.Epoch, Identity: s.m.sendsIdentity(), History: history,
		Memory: s.memory != nil, Resumed: resumed, Limits: s.view.Limits}
	if !s.m.sendsIdentity() {
		return s.send(&migration.BareOffer{Offer: o, PublicOnly: s.m.options.PublicOnly})
	}
	return s.send(&o)
}

// held hears the target prove that it has the key which does not come along.
func (s *sourceWalk) held() error {
	if !s.m.options.OmitIdentity {
		return nil
	}
	holds, err := exchange.Receive[*migration.Holds](s.conn)
	if err != nil {
		return err
	}
	return exchange.VerifyHolds(s.m.entity, s.m.id, s.m.env.Self, s.m.target, holds)
}

// transfer sends all that the daemon was at the view. Where the connection
// breaks, another goes on from what the target has.
func (s *sourceWalk) transfer() error {
	for {
		err := s.bulk()
		if err == nil {
			err = s.restored()
		}
		var cut *exchange.CutError
		if !errors.As(err, &cut) {
			return err
		}
		if err := s.reconnect(err); err != nil {
			return err
		}
	}
}

func (s *sourceWalk) reconnect(cause error) error {
	s.m.env.Logger.Warn("the connection of a migration broke; it is resumed", "daemon", s.m.entity.Origin(), "to", s.m.target, "error", cause)
	tries := backoff.Policy{First: 50 * time.Millisecond, Most: 2 * time.Second, For: exchange.ResumeFor}.Start()
	for {
		s.close()
		err := tries.Wait(s.ctx, nil)
		if errors.Is(err, backoff.ErrSpent) {
			return cause
		}
		if err != nil {
			return err
		}
		if s.conn, err = s.peer.OpenMigration(s.ctx); err != nil {
			s.conn = nil
			if errors.Is(err, mesh.ErrUnknownNode) {
				return err
			}
			continue
		}
		var cut *exchange.CutError
		if err = s.sendOffer(true); !errors.As(err, &cut) {
			return err
		}
	}
}

// bulk sends module, history, memory and snapshot, but for what the target says
// that it has.
func (s *sourceWalk) bulk() error {
	began, before := time.Now(), s.m.bytesSent()
	have, err := s.accepted()
	if err != nil {
		return err
	}
	if err := s.held(); err != nil {
		return err
	}
	if s.m.sendsIdentity() && have.Seal != s.seal {
		return migration.Failf(migration.IdentityTransportFailed, "the target's seal key is not the one that node %s was met with", s.m.target)
	}
	blocks := 0
	if s.memory != nil {
		blocks = s.memory.view.Len()
		s.memory.beginHash()
	}
	s.m.expect(int64(len(s.module)), have.NeedModule, int64(blocks)*migration.BlockBytes)
	if have.NeedModule {
		if s.module == nil {
			return migration.Failf(migration.FactoryNotFound, "the target lacks the module, and this node keeps no copy to send")
		}
		rest := s.module[min(have.HaveModule, uint64(len(s.module))):]
		if err := s.chunks(rest, func(b []byte, _ bool) migration.Message { return &migration.ModuleChunk{Bytes: b} }); err != nil {
			return err
		}
	}
	if err := s.tellLasting(); err != nil {
		return err
	}
	if err := s.history(have.HaveHistory); err != nil {
		return err
	}
	earlier, err := s.m.of.evidence.Earlier(s.m.entity)
	if err != nil {
		return err
	}
	if len(earlier) > 0 {
		if err := s.send(&migration.Receipts{All: earlier}); err != nil {
			return err
		}
	}
	if s.memory != nil {
		if err := s.blocks(s.memory.view, have.HaveBlocks); err != nil {
			return err
		}
		<-s.memory.hashed
		if err := s.describe(); err != nil {
			return err
		}
	}
	encoded, err := s.view.Snapshot.Encode()
	if err != nil {
		return err
	}
	err = s.chunks(encoded, func(b []byte, last bool) migration.Message { return &migration.SnapshotChunk{Bytes: b, Last: last} })
	if err != nil {
		return err
	}
	if _, err := exchange.Receive[*migration.Arrived](s.conn); err != nil {
		return err
	}
	r := migration.Round{How: migration.RoundBulk, Records: int(s.view.Index), Blocks: blocks, Bytes: s.m.bytesSent() - before, Took: time.Since(began)}
	s.pace.sent(r.Bytes, r.Took)
	s.m.passed(r)
	if s.m.Phase() == migration.Restore { // it broke after that, before
		return nil
	}
	return s.m.signal(migration.Received, migration.Target)
}

// describe puts the registers and the hash of the view into the snapshot, and
// has the daemon sign it.
func (s *sourceWalk) describe() error {
	v := &s.memory.view.State
	state, err := snapshot.EncodeManifest(v, s.memory.hash.Root(v))
	if err != nil {
		return err
	}
	return s.d.Seal(s.view.Snapshot, state)
}

func (s *sourceWalk) chunks(b []byte, message func(part []byte, last bool) migration.Message) error {
	for len(b) > 0 {
		n := min(len(b), migration.MaxChunk)
		if err := s.send(message(b[:n], n == len(b))); err != nil {
			return err
		}
		if err := s.sent(n, n); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// history sends the records before the view, from the one of index from, once
// they are durable.
func (s *sourceWalk) history(from uint64) error {
	if s.m.env.Store == nil {
		return nil
	}
	if err := s.view.Stored(s.ctx); err != nil {
		return err
	}
	return s.stored(from, s.view.Index, func(at uint64, records [][]byte) migration.Message {
		return &migration.HistoryBatch{From: at, Records: records}
	})
}

// stored sends the records of the store from an index to another, in messages
// of bounded size.
func (s *sourceWalk) stored(from, to uint64, message func(at uint64, records [][]byte) migration.Message) error {
	var records [][]byte
	size := 0
	flush := func() error {
		if len(records) == 0 {
			return nil
		}
		if err := s.send(message(from, records)); err != nil {
			return err
		}
		from += uint64(len(records))
		n := size
		records, size = nil, 0
		return s.sent(n, n)
	}
	err := s.m.env.Store.ReadHistory(s.m.entity, from, to, func(index uint64, rec []byte) error {
		if len(records) == 0 {
			from = index // what is kept may begin later
		}
		records = append(records, append([]byte(nil), rec...))
		if size += len(rec); size >= migration.MaxBatchBytes || len(records) >= canon.MaxElements/2 {
			return flush()
		}
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// blocks sends the blocks of a view, but for those of the first messages, which
// the target has.
func (s *sourceWalk) blocks(v *sandbox.Frozen, skip uint64) error {
	for first := 0; first < v.Len(); first += migration.MaxBlocks {
		end := min(first+migration.MaxBlocks, v.Len())
		if skip > 0 {
			skip--
			continue
		}
		msg := s.memory.send.message(v, first, end)
		if err := s.send(msg); err != nil {
			return err
		}
		if err := s.sent(len(msg.Bytes)+len(msg.Index), (end-first)*migration.BlockBytes); err != nil {
			return err
		}
		runtime.Gosched() // see follow
	}
	return nil
}

// sent counts bytes that went, of a part of the whole, and waits where more
// would go than may.
func (s *sourceWalk) sent(bytes, part int) error {
	s.m.sent(int64(bytes), int64(part))
	return s.sleep(s.pace.wait(int64(bytes), s.m.options.Rate))
}

func (s *sourceWalk) restored() error {
	ready, err := exchange.Receive[*migration.Ready](s.conn)
	if err != nil {
		return err
	}
	if h := s.view.Snapshot.Checkpoint.Head; chain.Hash(ready.Head) != h || ready.Sequence != s.view.Snapshot.Header.Through {
		return migration.Failf(migration.StateFailed, "the target restored head %x, the snapshot has %s", ready.Head, h)
	}
	return s.m.signal(migration.Restored, migration.Target)
}

// blockSender makes messages of blocks, compressed where that pays.
type blockSender struct {
	plain, packed []byte
	index         []byte
	misses, skip  int // of those that did not become smaller
}

// message is valid until the next call.
func (b *blockSender) message(v *sandbox.Frozen, first, end int) *migration.Blocks {
	b.plain, b.index = b.plain[:0], b.index[:0]
	for k := first; k < end; k++ {
		b.index = binary.LittleEndian.AppendUint32(b.index, v.Index[k])
		b.plain = append(b.plain, v.Block(k)...)
	}
	msg := &migration.Blocks{Index: b.index, Bytes: b.plain}
	if b.skip > 0 {
		b.skip--
		return msg
	}
	if b.packed = migration.Pack(b.packed, b.plain); len(b.packed) < len(b.plain)*7/8 {
		msg.Bytes, msg.S2 = b.packed, true
		b.misses = 0
		return msg
	}
	b.misses = min(b.misses+1, 5)
	b.skip = 1<<b.misses - 1
	return msg
}

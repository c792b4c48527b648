package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// follower is the owner's side of one standby of one daemon. Its fields but the
// first are guarded by the leader's lock.
type follower struct {
	leader *leader
	node   identity.NodeID
	cancel context.CancelFunc

	queue  []sending     // to be sent
	bytes  int           // that wait
	open   bool          // what comes is queued
	number uint64        // of the last that was queued
	held   uint64        // up to which the standby has all
	level  bool          // it had caught up, on this stream
	behind time.Duration // since when it is not connected; 0: it is
	more   chan struct{}
	conn   standby.Conn // nil: none

	speaks uint8  // version of the protocol on this stream; run's alone
	older  uint8  // the version before the one that the standby refused a moment ago; 0: it refused none; run's alone
	needs  []byte // digest of the module that the standby asked for; nil: none
}

// sending is a batch to be sent, after the files that it speaks of, which can be read once
// written is closed; nil: now.
type sending struct {
	*standby.Batch
	files   []store.Digest
	written <-chan struct{}
}

// maxBehind is how much may wait for a standby until it starts over.
const maxBehind = 64 << 20 // bytes that may wait for a standby before it starts over

// standbyLink is what a key that is sealed to a standby is bound to.
var standbyLink = []byte("wasmhost identity for a standby")

// follow begins to keep a standby. It needs l.mu.
func (l *leader) follow(n identity.NodeID) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if l.c.rt.open() != nil || l.c.fedLast {
		return
	}
	ctx, cancel := context.WithCancel(l.c.feeding)
	f := &follower{leader: l, node: n, cancel: cancel, more: make(chan struct{}, 1), behind: l.c.now()}
	l.follows[n] = f
	l.c.feeds.Go(func() {
		defer cancel()
		f.run(ctx)
	})
}

// add queues what the store came to keep. It needs l.mu.
func (f *follower) add(b sending) {
	if !f.open {
		return
	}
	for i := range b.Parts {
		f.bytes += b.Parts[i].Size()
	}
	f.queue = append(f.queue, b)
	f.number = b.Number
	if f.bytes > maxBehind {
		f.cut()
	}
}

// wake has send look.
func (f *follower) wake() {
	select {
	case f.more <- struct{}{}:
	default:
	}
}

// cut ends the stream: the next begins with what the standby has. It needs l.mu.
func (f *follower) cut() {
	f.open, f.queue, f.bytes, f.level = false, nil, 0, false
	if f.behind == 0 {
		f.behind = f.leader.c.now()
	}
	if f.conn != nil {
		f.conn.Abort()
	}
}

func (f *follower) run(ctx context.Context) {
	pause := 20 * time.Millisecond
	for ctx.Err() == nil {
		began := time.Now()
		err := f.stream(ctx)
		f.leader.mu.Lock()
		f.cut()
		f.conn = nil
		f.leader.mu.Unlock()
		f.leader.c.heard()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 5*time.Second {
			pause = 20 * time.Millisecond
		}
		f.leader.c.env.Logger.Info("a standby's stream ended", "daemon", f.leader.d.id.Origin(), "standby", f.node, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
		pause = min(2*pause, time.Second)
	}
}

// stream brings the standby to where the daemon is, and then sends what comes.
func (f *follower) stream(ctx context.Context) error {
	r, d := f.leader.c.rt, f.leader.d
	peer, err := r.mesh.Peer(f.node)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn, err := peer.OpenStandby(ctx)
	if err != nil {
		return err
	}
	defer conn.Abort()
	f.leader.mu.Lock()
	e := f.leader.entry
	f.conn = conn
	f.leader.mu.Unlock()
	d.mu.Lock()
	module := d.module
	d.mu.Unlock()
	if f.speaks = standby.Keeping; f.older > 0 {
		f.speaks, f.older = f.older, 0
	}
	if err := sendNow(conn, &standby.Follow{Version: f.speaks, Entity: d.id, Epoch: e.Epoch, Disk: e.Ack == 1, Module: append([]byte{}, module...)}); err != nil {
		return err
	}
	have, held, err := f.answer(conn)
	if err != nil {
		return err
	}
	if have.NeedModule {
		if err := f.sendModule(ctx, conn, module); err != nil {
			return err
		}
	}
	// From here on what comes is queued, and all before is in the store, or on its
	// way there before the barrier.
	d.mu.Lock()
	f.leader.mu.Lock()
	f.open, f.queue, f.bytes = true, nil, 0
	start := f.leader.number
	f.number = start
	f.queue = append(f.queue, sending{Batch: &standby.Batch{Number: max(start, 1), Parts: []store.Part{}}})
	if start == 0 {
		f.leader.number, f.number, start = 1, 1, 1 // so that there is a number to answer
	}
	f.leader.mu.Unlock()
	d.mu.Unlock()
	if err := r.env.Store.Commit(&store.Batch{}); err != nil {
		return err
	}
	if err := f.catchUp(ctx, conn, have, held); err != nil {
		return err
	}
	heard := make(chan error, 1)
	go func() { heard <- f.hear(conn, start) }()
	err = f.send(ctx, conn, heard)
	conn.Abort()
	return err
}

// errStoredAnew ends a stream: the next one finds the state where it can be sent.
var errStoredAnew = errors.New("the daemon's state is stored anew for its standbys")

func sendNow(c standby.Conn, m standby.Message) error {
	if err := c.Send(m); err != nil {
		return err
	}
	return c.Flush()
}

// answer waits for the standby's first words.
func (f *follower) answer(conn standby.Conn) (*standby.Have, []standby.HeldPart, error) {
	defer time.AfterFunc(10*time.Second, conn.Abort).Stop()
	msg, err := conn.Recv()
	if err != nil {
		return nil, nil, err
	}
	switch msg := msg.(type) {
	case *standby.Have:
		held, err := f.heldState(conn)
		return msg, held, err
	case *standby.Refuse:
		if f.speaks > standby.Version && standby.IsRefused(msg.Text, f.speaks) {
			f.older = f.speaks - 1
		}
		return nil, nil, fmt.Errorf("node %s does not stand by: %s", f.node, msg.Text)
	}
	return nil, nil, fmt.Errorf("%w: a %T in answer", standby.ErrBadMessage, msg)
}

func (f *follower) sendModule(ctx context.Context, conn standby.Conn, digest []byte) error {
	wasm, err := f.leader.c.rt.Module(ctx, store.Digest(digest))
	if err != nil {
		return err
	}
	for {
		n := min(len(wasm), standby.Chunk)
		if err := conn.Send(&standby.Module{Bytes: wasm[:n], Last: n == len(wasm)}); err != nil {
			return err
		}
		if wasm = wasm[n:]; len(wasm) == 0 {
			return conn.Flush()
		}
	}
}

// catchUp sends what the standby lacks of what the store keeps. held is what it has of
// the state.
func (f *follower) catchUp(ctx context.Context, conn standby.Conn, have *standby.Have, held []standby.HeldPart) error {
	s, id := f.leader.c.env.Store, f.leader.d.id
	// The state is read before the history's end is looked for, and sent after the
	// history: what the standby has never stands behind the end of its history.
	state, err := f.lacks(held)
	if err != nil {
		return err
	}
	from, end, err := f.goesOnFrom(have)
	if err != nil {
		return err
	}
	if from == 0 && have.Next > 0 { // what it has of the state goes with its history
		if state, err = f.lacks(nil); err != nil {
			return err
		}
		if from, end, err = f.goesOnFrom(have); err != nil {
			return err
		}
	}
	if from == 0 {
		// What it has is to be removed: it may not be held for one in sync meanwhile.
		if err := f.leader.part(ctx, f.node, "it has another history"); err != nil {
			return err
		}
		if err := f.prove(conn); err != nil {
			return err
		}
		if err := conn.Send(&standby.Reset{}); err != nil {
			return err
		}
	}
	out := gathering{conn: conn}
	err = s.ReadHistory(id, from, end, func(index uint64, rec []byte) error {
		return out.add(store.RecordPart(id, index, bytes.Clone(rec)))
	})
	if err != nil {
		return err
	}
	if err := out.flush(); err != nil {
		return err
	}
	if len(state.Parts) > 0 {
		if err := f.sendFiles(ctx, conn, state); err != nil {
			return err
		}
		if err := conn.Send(state.Batch); err != nil {
			return err
		}
	}
	rec, err := f.record(ctx)
	if err != nil {
		return err
	}
	if err := conn.Send(&standby.Record{Bytes: rec}); err != nil {
		return err
	}
	return f.tellLasting(conn)
}

// goesOnFrom returns from which record on the standby is sent the history, and where that
// ends: 0, where what it has is not the beginning of what is here.
func (f *follower) goesOnFrom(have *standby.Have) (from, end uint64, err error) {
	s, id := f.leader.c.env.Store, f.leader.d.id
	first, _, err := beginning(f.leader.c.env.Store, id)
	if err != nil {
		return 0, 0, err
	}
	if end, err = s.HistoryEnd(id); err != nil {
		return 0, 0, err
	}
	if from = have.Next; from == 0 || from <= first || from > end {
		return 0, end, nil
	}
	same := false
	err = s.ReadHistory(id, from-1, from, func(_ uint64, rec []byte) error {
		sum := sha256.Sum256(rec)
		same = bytes.Equal(sum[:], have.Sum)
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrCorrupt) { // it may be trimmed here
		return 0, 0, err
	}
	if !same {
		from = 0
	}
	return from, end, nil
}

// prove sends the standby the proof of how far the history here goes, so that it drops
// its copy for that. A daemon without its key here proves nothing.
func (f *follower) prove(conn standby.Conn) error {
	if f.speaks < standby.Proving {
		return nil
	}
	r, id := f.leader.c.rt, f.leader.d.id
	ours, err := r.extentOf(id)
	if err != nil {
		return err
	}
	proof, err := r.proveReach(id, ours)
	if err != nil || proof == nil {
		return err
	}
	return conn.Send(&standby.Proof{Bytes: proof})
}

// record is what the daemon is, with its key sealed to the standby.
func (f *follower) record(ctx context.Context) ([]byte, error) {
	r, id := f.leader.c.rt, f.leader.d.id
	b, err := r.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return nil, err
	}
	var rec daemonRecord
	if err := canon.Unmarshal(b, &rec); err != nil {
		return nil, fmt.Errorf("%w: the daemon's record: %w", store.ErrCorrupt, err)
	}
	if len(rec.Key) > 0 {
		env, err := identity.ParseEnvelope(rec.Key)
		if err != nil {
			return nil, fmt.Errorf("the daemon's key: %w", err)
		}
		key, err := env.Open(r.env.Node, atRest, id)
		if err != nil {
			return nil, fmt.Errorf("the daemon's key: %w", err)
		}
		defer key.Wipe()
		peer, err := r.mesh.Peer(f.node)
		if err != nil {
			return nil, err
		}
		to, err := peer.SealKey(ctx)
		if err != nil {
			return nil, err
		}
		if env, err = identity.Seal(key, to, standbyLink); err != nil {
			return nil, fmt.Errorf("sealing the daemon's key to a standby: %w", err)
		}
		rec.Key = env.Bytes()
	}
	return canon.Marshal(&rec)
}

// gathering sends parts, many in one message.
type gathering struct {
	conn  standby.Conn
	parts []store.Part
	size  int
}

func (g *gathering) add(p store.Part) error {
	g.parts, g.size = append(g.parts, p), g.size+p.Size()
	if g.size < standby.Chunk {
		return nil
	}
	return g.flush()
}

func (g *gathering) flush() error {
	if len(g.parts) == 0 {
		return nil
	}
	err := g.conn.Send(&standby.Batch{Parts: g.parts})
	g.parts, g.size = nil, 0
	return err
}

// sendFiles sends the files that the batch speaks of. One that was replaced since ends the
// stream: the next begins with what is there.
func (f *follower) sendFiles(ctx context.Context, conn standby.Conn, b sending) error {
	if b.written != nil {
		select {
		case <-b.written:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, d := range b.files {
		if err := f.sendFile(conn, d); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) sendFile(conn standby.Conn, d store.Digest) (err error) {
	file, size, err := f.leader.c.env.Store.OpenState(f.leader.d.id, d)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	for buf := make([]byte, standby.Chunk); size > 0; {
		part := buf[:min(size, int64(len(buf)))]
		if _, err := io.ReadFull(file, part); err != nil {
			return fmt.Errorf("reading a state: %w", err)
		}
		size -= int64(len(part))
		if err := conn.Send(&standby.File{Digest: d[:], Bytes: part, Last: size == 0}); err != nil {
			return err
		}
	}
	return nil
}

// send sends what is queued until the stream breaks.
func (f *follower) send(ctx context.Context, conn standby.Conn, heard <-chan error) error {
	for {
		f.leader.mu.Lock()
		queue, open := f.queue, f.open
		f.queue, f.bytes = nil, 0
		f.leader.mu.Unlock()
		if !open {
			return errors.New("it fell behind, or began anew")
		}
		for _, b := range queue {
			if err := f.sendFiles(ctx, conn, b); err != nil {
				return err
			}
			if err := conn.Send(b.Batch); err != nil {
				return err
			}
		}
		if err := f.sendEarlier(ctx, conn); err != nil {
			return err
		}
		if err := conn.Flush(); err != nil {
			return err
		}
		select {
		case <-f.more:
		case err := <-heard:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// hear takes what the standby says that it holds.
func (f *follower) hear(conn standby.Conn, start uint64) error {
	for {
		msg, err := conn.Recv()
		if err != nil {
			return err
		}
		if need, ok := msg.(*standby.Need); ok && f.speaks >= standby.Lasting {
			f.leader.mu.Lock()
			f.needs = need.Module
			f.leader.mu.Unlock()
			f.wake()
			continue
		}
		held, ok := msg.(*standby.Held)
		if !ok {
			if refuse, ok := msg.(*standby.Refuse); ok {
				return fmt.Errorf("node %s stands by no longer: %s", f.node, refuse.Text)
			}
			return fmt.Errorf("%w: a %T", standby.ErrBadMessage, msg)
		}
		f.leader.mu.Lock()
		if held.Number > f.number || held.Number < start {
			f.leader.mu.Unlock()
			return fmt.Errorf("%w: it holds %d of %d", standby.ErrBadMessage, held.Number, f.number)
		}
		first := !f.level && f.open
		if f.open && f.conn == conn {
			f.held = max(f.held, held.Number)
			f.level, f.behind = true, 0
		}
		f.leader.mu.Unlock()
		f.leader.c.heard()
		if first {
			f.leader.wake()
		} else {
			f.leader.advance()
		}
	}
}

package leader

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/standby"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// follower is the owner's side of one standby of one daemon. Its fields but the
// first are guarded by the leader's lock.
type follower struct {
	leader *Leader
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

// follow begins to keep a standby. It needs l.mu.
func (l *Leader) follow(n identity.NodeID) {
	l.group.mu.Lock()
	defer l.group.mu.Unlock()
	if l.group.node.Open() != nil || l.group.fedLast {
		return
	}
	ctx, cancel := context.WithCancel(l.group.feeding)
	f := &follower{leader: l, node: n, cancel: cancel, more: make(chan struct{}, 1), behind: l.group.now()}
	l.follows[n] = f
	l.group.feeds.Go(func() {
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
		f.behind = f.leader.group.now()
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
		f.leader.group.heard()
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > 5*time.Second {
			pause = 20 * time.Millisecond
		}
		f.leader.group.env.Logger.Info("a standby's stream ended", "daemon", f.leader.daemon.Entity().Origin(), "standby", f.node, "error", err)
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
	g, d := f.leader.group, f.leader.daemon
	peer, err := g.mesh.Peer(f.node)
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
	module, _ := d.Modules()
	if f.speaks = standby.Keeping; f.older > 0 {
		f.speaks, f.older = f.older, 0
	}
	if err := standby.SendNow(conn, &standby.Follow{Version: f.speaks, Entity: d.Entity(), Epoch: e.Epoch, Disk: e.Ack == 1, Module: append([]byte{}, module...)}); err != nil {
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
	var start uint64
	d.AtRest(func() { start = f.begin() })
	if err := g.env.Store.Commit(&store.Batch{}); err != nil {
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

// begin has what comes queued from here on, and returns the number of the batch before. The
// daemon submits nothing meanwhile.
func (f *follower) begin() (start uint64) {
	f.leader.mu.Lock()
	defer f.leader.mu.Unlock()
	f.open, f.queue, f.bytes = true, nil, 0
	start = f.leader.number
	f.number = start
	f.queue = append(f.queue, sending{Batch: &standby.Batch{Number: max(start, 1), Parts: []store.Part{}}})
	if start == 0 {
		f.leader.number, f.number, start = 1, 1, 1 // so that there is a number to answer
	}
	return start
}

// errStoredAnew ends a stream: the next one finds the state where it can be sent.
var errStoredAnew = errors.New("the daemon's state is stored anew for its standbys")

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
		f.leader.group.heard()
		if first {
			f.leader.Wake()
		} else {
			f.leader.Advance()
		}
	}
}

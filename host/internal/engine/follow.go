package engine

import (
	"context"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/feed"
	"wasmhost.example/host/internal/history"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/host/internal/stored"
)

// emitted is an output, and what says when it is durable.
type emitted struct {
	chain.Output
	ticket *pending.Ticket
}

// tailBuffer is how many outputs may wait for one that tails a daemon before it is cut.
// Its budget bounds their bytes.
const tailBuffer = 4096

// FollowOutputs begins to follow the daemon's outputs.
func (x Outputs) FollowOutputs(ctx context.Context) *feed.Queue[emitted] {
	return x.d.feed.Follow(ctx, tailBuffer, x.d.node.Followers, func(e *emitted) int64 { return int64(len(e.Payload)) })
}

// TailAfter is Outputs.TailAfter of a daemon that was found: it may leave meanwhile.
func (x Outputs) TailAfter(ctx context.Context, sequence uint64) (<-chan chain.Output, error) {
	d := x.d
	if d.env.Store == nil || d.kind == "" {
		return nil, fmt.Errorf("%w: of daemon %s", daemon.ErrNoHistory, d.id.Origin())
	}
	if sequence > 0 {
		_, begin, err := stored.Beginning(d.env.Store, d.id)
		if err != nil {
			return nil, d.WhileHere(err)
		}
		if begin.Head.Sequence > sequence {
			return nil, fmt.Errorf("%w: of daemon %s, before output %d", daemon.ErrNoHistory, d.id.Origin(), begin.Head.Sequence+1)
		}
	}

	t := &tailing{d: d, out: make(chan chain.Output), sequence: sequence}
	if err := t.begin(ctx); err != nil {
		return nil, err
	}
	return t.out, nil
}

// tailing is a tail that begins in the history.
type tailing struct {
	d        *Daemon
	out      chan chain.Output
	in       *feed.Queue[emitted]
	sequence uint64 // of the output that was handed on last
	cancel   context.CancelFunc
	stop     func() bool // unlinks it from the runtime's end

	end  uint64          // index of the record at which the history ends, and in begins
	last *pending.Ticket // of the record before
}

// begin starts to hand on outputs. It does not wait for the event that the daemon
// processes, nor for one that is on its way: the outputs do.
func (t *tailing) begin(ctx context.Context) error {
	d := t.d
	if err := d.readerPlace(); err != nil {
		return err
	}
	if err := t.glance(); err != nil {
		d.leavePlace()
		return err
	}
	if !d.env.Work.Begin() {
		d.leavePlace()
		return daemon.ErrShuttingDown
	}
	ctx, t.cancel = context.WithCancel(ctx)
	t.stop = context.AfterFunc(d.env.Context, t.cancel)
	t.in = d.Outputs().FollowOutputs(ctx)
	go t.past(ctx)
	return nil
}

// glance returns why the daemon takes no more events, where it takes none and is not
// busy.
func (t *tailing) glance() error {
	if !t.d.mu.TryLock() {
		return nil
	}
	defer t.d.mu.Unlock()
	return t.d.gone
}

// past hands on the outputs of the history, and then has those that come handed on by
// a goroutine whose stack is small.
func (t *tailing) past(ctx context.Context) {
	err := t.d.lookPlaced(ctx)
	if err == nil {
		t.end, t.last = t.d.index, t.d.last
		t.d.mu.Unlock()
		err = t.last.Wait(ctx)
	}
	if err == nil {
		t.sequence, err = history.Outputs(ctx, t.d.env.Store, t.d.id, t.sequence, t.end, t.out)
	}
	t.last = nil
	if err != nil {
		t.ended(ctx, err)
		return
	}
	go func() { t.ended(ctx, Relay(ctx, t.out, t.in, t.sequence)) }()
}

func (t *tailing) ended(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		t.d.env.Logger.Warn("following a daemon's outputs", "daemon", t.d.id.Origin(), "error", err)
	}
	t.in.Stop()
	t.stop()
	t.cancel()
	close(t.out)
	t.d.env.Work.Done()
}

// Relay hands on what comes after the sequence.
func Relay(ctx context.Context, out chan<- chain.Output, in *feed.Queue[emitted], sequence uint64) error {
	for in.Await(ctx) {
		if err := relayOne(ctx, out, in, sequence); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// relayOne hands on the next output, which is there.
//
//go:noinline
func relayOne(ctx context.Context, out chan<- chain.Output, in *feed.Queue[emitted], sequence uint64) error {
	o, ok := in.Next(ctx)
	if !ok || o.Link.Sequence <= sequence {
		return nil
	}
	if err := o.ticket.Wait(ctx); err != nil {
		return err
	}
	select {
	case out <- o.Output:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

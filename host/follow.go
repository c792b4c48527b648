package host

import (
	"context"
	"fmt"

	"wasmhost/host/store"
	"wasmhost/identity"
)

// emitted is an output, and what says when it is durable.
type emitted struct {
	Output
	ticket *ticket
}

// tailBuffer is how far who tails a daemon may lag before it is cut.
const tailBuffer = 4096

// Tail returns the daemon's outputs from now on, each once it is durable. The
// channel is closed as that of FollowLogs.
func (r *Runtime) Tail(ctx context.Context, id identity.EntityID) (<-chan Output, error) {
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	out := make(chan Output)
	in := d.feed.subscribe(ctx, tailBuffer)
	go func() {
		defer close(out)
		_ = relay(ctx, out, in, 0) // the closed channel says that it ended
	}()
	return out, nil
}

// TailAfter is Tail that begins with the outputs after that of the sequence,
// from the history: ErrNoHistory where none is kept, or where it begins after
// that output. After 0 it begins with the first output that is kept. Whoever was cut, or
// followed the daemon to another node, goes on with the last sequence it saw
// and misses nothing.
func (r *Runtime) TailAfter(ctx context.Context, id identity.EntityID, sequence uint64) (<-chan Output, error) {
	d, err := r.find(id)
	if err != nil {
		return nil, err
	}
	if r.store == nil || d.kind == "" {
		return nil, fmt.Errorf("%w: of daemon %s", ErrNoHistory, id.Origin())
	}
	if sequence > 0 {
		_, begin, err := r.beginning(id)
		if err != nil {
			return nil, err
		}
		if begin.Head.Sequence > sequence {
			return nil, fmt.Errorf("%w: of daemon %s, before output %d", ErrNoHistory, id.Origin(), begin.Head.Sequence+1)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	in := d.feed.subscribe(ctx, tailBuffer)
	if err := d.enter(ctx); err != nil {
		cancel()
		return nil, err
	}
	end, last := d.index, d.last
	d.mu.Unlock()
	if !r.startWork() {
		cancel()
		return nil, ErrShuttingDown
	}
	stop := context.AfterFunc(r.ctx, cancel)
	out := make(chan Output)
	go func() {
		defer r.work.Done()
		defer close(out)
		defer cancel()
		defer stop()
		err := last.wait(ctx)
		if err == nil {
			sequence, err = r.pastOutputs(ctx, id, sequence, end, out)
		}
		if err == nil {
			err = relay(ctx, out, in, sequence)
		}
		if err != nil && ctx.Err() == nil {
			r.logger.Warn("following a daemon's outputs", "daemon", id.Origin(), "error", err)
		}
	}()
	return out, nil
}

// relay hands on what comes after the sequence.
func relay(ctx context.Context, out chan<- Output, in <-chan emitted, sequence uint64) error {
	for o := range in {
		if o.Link.Sequence <= sequence {
			continue
		}
		if err := o.ticket.wait(ctx); err != nil {
			return err
		}
		select {
		case out <- o.Output:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// pastOutputs hands on the outputs after the sequence that records before end
// hold, and returns the sequence of the last.
func (r *Runtime) pastOutputs(ctx context.Context, id identity.EntityID, sequence, end uint64, out chan<- Output) (uint64, error) {
	start := uint64(0)
	err := r.store.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		rec, err := decodeRecord(b)
		if err != nil {
			return err
		}
		if e, ok := rec.(*eventRecord); ok && e.Before.Sequence <= sequence {
			start = index
			return store.ErrStop
		}
		return nil
	})
	if err != nil || start >= end {
		return sequence, err
	}
	err = r.store.ReadHistory(id, start, end, func(_ uint64, b []byte) error {
		rec, err := decodeRecord(b)
		e, ok := rec.(*eventRecord)
		if err != nil || !ok {
			return err
		}
		for _, o := range e.links() {
			if o.Link.Sequence <= sequence {
				continue
			}
			o.Payload = append([]byte(nil), o.Payload...)
			select {
			case out <- o:
				sequence = o.Link.Sequence
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	return sequence, err
}

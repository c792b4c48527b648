package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost/host/chain"
	"wasmhost/host/channel"
	"wasmhost/identity"
)

// A daemon's outputs are a channel of the node where it is: its log is the
// daemon's history, its sequences are the chain's, its sender is the daemon
// wherever that goes. Nothing of it is kept twice.

// byOrigin returns the daemon of that origin, or where it went.
func (r *Runtime) byOrigin(o identity.OriginHash) (*hosted, error) {
	r.mu.RLock()
	var id identity.EntityID
	for e := range r.daemons {
		if e.Origin() == o {
			id = e
		}
	}
	r.mu.RUnlock()
	if id.IsZero() {
		gone, err := r.movedAs(originEntry(o), func(e identity.EntityID, _ string) bool { return e.Origin() == o })
		if err != nil {
			return nil, err
		}
		if len(gone) > 0 {
			id = gone[0]
		}
	}
	if id.IsZero() {
		return nil, fmt.Errorf("%w: node %s has no daemon %s", channel.ErrNoChannel, r.env.Self, o)
	}
	return r.find(id)
}

// outputsOf is a feedSource of one daemon's outputs.
type outputsOf struct {
	rt     *Runtime
	daemon identity.EntityID
	cancel context.CancelFunc // of tail
	tail   *outputsTail
	next   uint64 // sequence of the output that tail gives next; 0: there is no tail
}

// outputsTail is a stream of outputs of which the first can be waited for.
type outputsTail struct {
	from   <-chan chain.Output
	held   []chain.Output
	ended  bool
	coming chan struct{} // closed when held or ended is set; nil: nobody waits
}

func (r *Runtime) outputsSource(o identity.OriginHash) (feedSource, error) {
	d, err := r.byOrigin(o)
	if err != nil {
		return nil, err
	}
	return &outputsOf{rt: r, daemon: d.id, cancel: func() {}}, nil
}

func (s *outputsOf) id() identity.EntityID { return channel.OutputsSource(s.daemon) }
func (s *outputsOf) close()                { s.cancel() }
func (s *outputsOf) first() uint64         { return 1 }

func (s *outputsOf) head() uint64 {
	d, err := s.rt.find(s.daemon)
	if err != nil {
		return 0
	}
	if !d.mu.TryLock() {
		return d.info().Sequence // as it was before the event that it processes
	}
	defer d.mu.Unlock()
	return d.chain.Head().Sequence
}

// outputsAtOnce is how many outputs are sent together.
const (
	outputsAtOnce = 64
	outputsBytes  = 1 << 20 // after which no further one is
)

func (s *outputsOf) read(ctx context.Context, sequence uint64) (chunk channel.Chunk, lost uint64, wait <-chan struct{}, err error) {
	for {
		if s.next != sequence {
			if err := s.open(ctx, sequence); err != nil {
				return chunk, 0, nil, err
			}
		}
		if wait := s.tail.wait(); wait != nil {
			return chunk, 0, wait, nil
		}
		if !s.tail.ended || len(s.tail.held) > 0 {
			break
		}
		s.next = 0 // it was cut since it lagged, or the daemon is gone from here
		if _, err := s.rt.find(s.daemon); err != nil {
			return chunk, 0, nil, err
		}
		if ctx.Err() != nil {
			return chunk, 0, nil, ctx.Err()
		}
	}
	if first := s.tail.held[0].Link.Sequence; first > sequence {
		s.next = first
		return chunk, first - 1, nil, nil
	}
	now := s.rt.env.Clock().UnixNano()
	list := s.tail.take()
	chunk = channel.Chunk{First: sequence, Count: len(list), Time: now}
	for _, o := range list {
		chunk.Bytes = channel.AppendEvent(chunk.Bytes, now, s.daemon, o.Payload)
	}
	chunk.Size, s.next = len(chunk.Bytes), chunk.Last()+1
	return chunk, 0, nil, nil
}

// open follows the outputs from the sequence on.
func (s *outputsOf) open(ctx context.Context, sequence uint64) error {
	s.cancel()
	ctx, s.cancel = context.WithCancel(ctx)
	outputs, err := s.rt.TailAfter(ctx, s.daemon, sequence-1)
	if errors.Is(err, ErrNoHistory) {
		outputs, err = s.rt.Tail(ctx, s.daemon)
	}
	if err != nil {
		return err
	}
	s.tail, s.next = &outputsTail{from: outputs}, sequence
	return nil
}

// wait returns nil where there is an output, or the end of them, and else what
// is closed when there is.
func (t *outputsTail) wait() <-chan struct{} {
	if t.coming != nil {
		select {
		case <-t.coming:
			t.coming = nil
		default:
			return t.coming
		}
	}
	if len(t.held) > 0 || t.ended {
		return nil
	}
	select {
	case o, ok := <-t.from:
		t.hold(o, ok)
		return nil
	default:
	}
	coming := make(chan struct{})
	t.coming = coming
	go func() { // it alone reads until coming is closed; the stream ends with its context
		o, ok := <-t.from
		t.hold(o, ok)
		close(coming)
	}()
	return coming
}

func (t *outputsTail) hold(o chain.Output, ok bool) {
	if ok {
		t.held = append(t.held, o)
	}
	t.ended = !ok
}

func payloads(list []chain.Output) (n int) {
	for i := range list {
		n += len(list[i].Payload)
	}
	return n
}

// take returns what is there, up to outputsAtOnce and outputsBytes.
func (t *outputsTail) take() []chain.Output {
	for len(t.held) < outputsAtOnce && payloads(t.held) < outputsBytes && !t.ended {
		select {
		case o, ok := <-t.from:
			t.hold(o, ok)
			continue
		default:
		}
		break
	}
	out := t.held
	t.held = nil
	return out
}

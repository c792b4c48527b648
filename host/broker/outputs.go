package broker

import (
	"context"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/identity"
)

// A daemon's outputs are a channel of the node where it is: its log is the
// daemon's history, its sequences are the chain's, its sender is the daemon
// wherever that goes. Nothing of it is kept twice.

// outputsSource is a source of one daemon's outputs.
type outputsSource struct {
	broker *Broker
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

func (b *Broker) outputsOf(o identity.OriginHash) (source, error) {
	id, err := b.cfg.Outputs.ByOrigin(o)
	if err != nil {
		return nil, err
	}
	return &outputsSource{broker: b, daemon: id, cancel: func() {}}, nil
}

func (s *outputsSource) id() identity.EntityID { return channel.OutputsSource(s.daemon) }
func (s *outputsSource) close()                { s.cancel() }
func (s *outputsSource) first() uint64         { return 1 }

func (s *outputsSource) head() uint64 {
	head, err := s.broker.cfg.Outputs.Head(s.daemon)
	if err != nil {
		return 0
	}
	return head
}

// outputsAtOnce is how many outputs are sent together.
const (
	outputsAtOnce = 64
	outputsBytes  = 1 << 20 // after which no further one is
)

func (s *outputsSource) read(ctx context.Context, sequence uint64) (chunk channel.Chunk, lost uint64, wait <-chan struct{}, err error) {
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
		if _, err := s.broker.cfg.Outputs.Head(s.daemon); err != nil {
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

	now := s.broker.env.Clock().UnixNano()
	list := s.tail.take()
	chunk = channel.Chunk{First: sequence, Count: len(list), Time: now}
	for _, o := range list {
		chunk.Bytes = channel.AppendEvent(chunk.Bytes, now, s.daemon, o.Payload)
	}

	chunk.Size, s.next = len(chunk.Bytes), chunk.Last()+1
	return chunk, 0, nil, nil
}

// open follows the outputs from the sequence on.
func (s *outputsSource) open(ctx context.Context, sequence uint64) error {
	s.cancel()
	ctx, s.cancel = context.WithCancel(ctx)
	outputs, err := s.broker.cfg.Outputs.TailAfter(ctx, s.daemon, sequence-1)
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

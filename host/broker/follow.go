package broker

import (
	"context"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
)

// Event is an event of a channel, or a gap in it.
type Event struct {
	channel.Event
	Birth string // of the channel, as in a Cursor
	Lost  uint64 // with a gap: the last of the events that are lost; Sequence is the first
}

// Follow calls fn with the channel's events after that of the sequence,
// or from now on without one, until ctx ends or fn returns an error. begun, if not nil, is
// called once the channel is found and the cursor good. more says that another comes at
// once. The payload is fn's only for the call. Errors: those of the context and of fn,
// channel.ErrNoChannel, channel.ErrChanged where the cursor is of another channel of that
// name, channel.ErrRemoved once the channel is removed; and for a daemon's outputs
// ErrCursorGone and *MovedError.
func (b *Broker) Follow(ctx context.Context, name string, after *Cursor, begun func() error, fn func(ev Event, more bool) error) error {
	if err := b.cfg.Ready(); err != nil {
		return err
	}

	src, err := b.sourceOf(name)
	if err != nil {
		return err
	}

	defer src.close()
	next := src.head() + 1
	if after != nil {
		if err := after.check(name, src); err != nil {
			return err
		}
		next = after.Sequence + 1
	}

	if o, ok := src.(*outputsSource); ok && after != nil && after.Birth != "" {
		if err := b.cfg.Outputs.Reaches(ctx, o.daemon, after.Sequence); err != nil {
			return err
		}
	}

	if begun != nil {
		if err := begun(); err != nil {
			return err
		}
	}

	birth := birthOf(src.id())
	for {
		chunk, lost, wait, err := src.read(ctx, next)
		switch {
		case err != nil:
			return err
		case wait != nil:
			select {
			case <-wait:
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-b.env.Context.Done():
				return daemon.ErrShuttingDown
			}

		case lost > 0:
			if err := fn(Event{Event: channel.Event{Sequence: next}, Birth: birth, Lost: lost}, false); err != nil {
				return err
			}
			next = lost + 1

		default:
			last := chunk.Last()
			err := channel.Each(chunk.First, chunk.Bytes, func(ev channel.Event) error {
				if ev.Sequence < next {
					return nil
				}
				return fn(Event{Event: ev, Birth: birth}, ev.Sequence < last)
			})
			if err != nil {
				return err
			}

			next = last + 1
		}
	}
}

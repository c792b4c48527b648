package host

import (
	"context"

	"wasmhost/host/channel"
)

// ChannelEvent is an event of a channel, or a gap in it.
type ChannelEvent struct {
	channel.Event
	Lost uint64 // with a gap: the last of the events that are lost; Sequence is the first
}

// FollowChannel calls fn with the channel's events after that of the sequence,
// or from now on without one, until ctx ends or fn returns an error. more says
// that another comes at once. The payload is fn's only for the call. Errors:
// those of the context and of fn, channel.ErrNoChannel, and for a daemon's
// outputs *MovedError.
func (r *Runtime) FollowChannel(ctx context.Context, name string, after *uint64, fn func(ev ChannelEvent, more bool) error) error {
	if err := r.ready(); err != nil {
		return err
	}
	src, err := r.hub.source(name)
	if err != nil {
		return err
	}
	defer src.close()
	next := src.head() + 1
	if after != nil {
		next = *after + 1
	}
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
			case <-r.ctx.Done():
				return ErrShuttingDown
			}
		case lost > 0:
			if err := fn(ChannelEvent{Event: channel.Event{Sequence: next}, Lost: lost}, false); err != nil {
				return err
			}
			next = lost + 1
		default:
			last := chunk.Last()
			err := channel.Each(chunk.First, chunk.Bytes, func(ev channel.Event) error {
				if ev.Sequence < next {
					return nil
				}
				return fn(ChannelEvent{Event: ev}, ev.Sequence < last)
			})
			if err != nil {
				return err
			}
			next = last + 1
		}
	}
}

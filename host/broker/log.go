package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Publish publishes events on a channel of this node, in order, as its owner
// does who says that they are from. It returns the sequence of the first once
// all are durable. The payloads stay the caller's. Errors:
// channel.ErrNoChannel, channel.ErrPayload, and those of the store.
func (b *Broker) Publish(ctx context.Context, name string, from identity.EntityID, payloads ...[]byte) (first uint64, err error) {
	p, err := b.Submit(name, from, payloads...)
	if err != nil {
		return 0, err
	}
	return p.Wait(ctx)
}

// Submit is Publish that returns at once: what is submitted one after the other is
// published in that order.
func (b *Broker) Submit(name string, from identity.EntityID, payloads ...[]byte) (*Pending, error) {
	if err := b.mayWrite(); err != nil {
		return nil, err
	}
	if _, ok := channel.IsOutputs(name); ok {
		return nil, fmt.Errorf("%w: %q", channel.ErrReserved, name)
	}

	for _, p := range payloads {
		if len(p) > channel.MaxPayload {
			return nil, fmt.Errorf("%w: %d bytes, at most %d", channel.ErrPayload, len(p), channel.MaxPayload)
		}
	}

	c, err := b.find(name)
	if err != nil {
		return nil, err
	}
	return c.publish(from, payloads, nil)
}

// Pending is events that are on their way to a channel's log. Its methods may be
// called concurrently.
type Pending struct {
	first uint64
	done  chan struct{} // closed once all are durable, or err says why not
	err   error
}

// published is the done of what is durable already.
var published = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Ready returns a channel that is closed when Wait no longer blocks.
func (p *Pending) Ready() <-chan struct{} { return p.done }

// Wait returns the sequence of the first event once all are durable.
func (p *Pending) Wait(ctx context.Context) (first uint64, err error) {
	select {
	case <-p.done:
		return p.first, p.err
	default:
	}

	select {
	case <-p.done:
		return p.first, p.err
	case <-ctx.Done():
		return p.first, fmt.Errorf("waiting for the event to be durable: %w", context.Cause(ctx))
	}
}

// publish puts events into the log, in order. With a mark they are of a daemon's
// effects, the last of which it names: it is written with them.
func (c *Channel) publish(from identity.EntityID, payloads [][]byte, mark *effect.Mark) (*Pending, error) {
	c.publishing.Lock()
	defer c.publishing.Unlock()

	p, batch, err := c.appendAll(from, payloads, mark)
	if err != nil || batch == nil {
		return p, err
	}

	last := p.first + uint64(len(payloads)) - 1
	c.broker.env.Store.Submit(batch, func(err error) {
		c.mu.Lock()
		if err != nil {
			c.stale = true
			p.err = fmt.Errorf("publishing on %q: %w", c.name, err)
		} else if last > c.durable && !c.stale {
			c.durable = last
			c.wake()
		}
		c.mu.Unlock()

		close(p.done)
	})

	return p, nil
}

// appendAll puts events into the log, and returns the batch that writes them; without a
// store nil. It needs c.publishing.
func (c *Channel) appendAll(from identity.EntityID, payloads [][]byte, mark *effect.Mark) (*Pending, *store.Batch, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.removed {
		return nil, nil, fmt.Errorf("%w: %q", channel.ErrNoChannel, c.name)
	}

	if c.stale {
		if err := c.reload(); err != nil {
			return nil, nil, err
		}
	}

	now := c.broker.env.Clock().UnixNano()
	p := &Pending{first: c.log.Next(), done: published}
	if mark != nil {
		mark.Time = now
		c.author(*mark)
	}

	chunks := c.log.Append(now, from, payloads)
	c.log.Trim(now)
	if c.broker.env.Store == nil {
		c.durable = c.log.Next() - 1
		c.wake()
		return p, nil, nil
	}

	p.done = make(chan struct{})
	c.last = p
	batch := &store.Batch{Generation: c.generation}
	if mark != nil {
		batch.Put(store.Authors, append(c.rec.Born[:16:16], mark.Sender[:]...), authorValue(*mark))
	}

	for _, chunk := range chunks {
		batch.Put(store.Events, c.key(chunk.First), chunk.Bytes)
	}

	c.removeDropped(batch)
	return p, batch, nil
}

// removeDropped removes from the store what the log has dropped, once that is a
// sixteenth of what it keeps. No two removals overlap: many that begin alike
// would cost the engine the square of their number. It reports whether the batch removes
// any. It needs c.mu.
func (c *Channel) removeDropped(batch *store.Batch) bool {
	first := c.log.First()
	if first <= c.kept || first-c.kept < (c.log.Next()-first)/16 {
		return false
	}
	batch.DeleteRange(store.Events, c.key(c.kept), c.key(first))
	c.kept = first
	return true
}

// trim drops what is too old, as of now.
func (c *Channel) trim(now int64) {
	c.publishing.Lock()
	defer c.publishing.Unlock()

	c.mu.Lock()
	batch := &store.Batch{Generation: c.generation}
	remove := false
	if !c.stale && !c.removed {
		c.log.Trim(now)
		remove = c.broker.env.Store != nil && c.removeDropped(batch)
	}
	c.mu.Unlock()

	if !remove {
		return
	}

	c.broker.env.Store.Submit(batch, func(err error) {
		if err != nil {
			c.mu.Lock()
			c.stale = true
			c.mu.Unlock()
			c.broker.env.Logger.Warn("trimming a channel's log", "channel", c.name, "error", err)
		}
	})
}

// reload reads the log from the store. It needs c.mu.
func (c *Channel) reload() error {
	generation := c.broker.env.Store.Generation()
	log := channel.NewLog(c.rec.Policy.Limits, true, 1)
	err := c.broker.env.Store.ScanRange(store.Events, c.key(0), c.key(^uint64(0)), func(k, v []byte) error {
		if len(k) != 24 {
			return fmt.Errorf("%w: channel %q has a chunk under %x", store.ErrCorrupt, c.name, k)
		}

		first := binary.BigEndian.Uint64(k[16:])
		n, at, err := channel.Count(v)
		if err == nil && (n == 0 || first == 0 || log.Next() != first && log.Next() != 1) {
			err = fmt.Errorf("%d of them where %d is next", n, log.Next())
		}

		if err != nil {
			return fmt.Errorf("%w: channel %q, events from %d: %w", store.ErrCorrupt, c.name, first, err)
		}

		log.Add(channel.Chunk{First: first, Count: n, Time: at, Size: len(v), Bytes: slices.Clone(v)})
		return nil
	})
	if err != nil {
		return err
	}
	if err := c.readAuthors(); err != nil {
		return err
	}

	c.log, c.stale, c.generation = log, false, generation
	c.durable = log.Next() - 1
	c.kept = log.First()
	log.Trim(c.broker.env.Clock().UnixNano())
	return nil
}

// read returns the chunk that holds the event, with its bytes. Where the event
// is not there yet, it returns what is closed when that may have changed; where
// it was dropped, lost is the sequence before the oldest that is kept.
func (c *Channel) read(sequence uint64) (chunk channel.Chunk, lost uint64, wait <-chan struct{}, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.removed:
		return chunk, 0, nil, fmt.Errorf("%w: %q, from node %s (%w)", channel.ErrRemoved, c.name, c.broker.env.Self, channel.ErrNoChannel)
	case sequence > c.durable:
		return chunk, 0, c.changed, nil
	case sequence < c.log.First():
		return chunk, c.log.First() - 1, nil, nil
	}

	chunk, ok := c.log.At(sequence)
	if !ok || chunk.Last() > c.durable { // a part of it is not durable: it becomes so as one
		return chunk, 0, c.changed, nil
	}

	if chunk.Bytes == nil {
		if chunk.Bytes, err = c.broker.env.Store.Get(store.Events, c.key(chunk.First)); err != nil {
			return chunk, 0, nil, err
		}
	}

	return chunk, 0, nil, nil
}

// head returns the sequence of the newest event that is durable.
func (c *Channel) head() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.durable
}

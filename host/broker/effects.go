package broker

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// What a daemon publishes by an effect is on the channel once, however often it is
// brought: the channel remembers the last effect of each daemon, written with the
// events themselves.

// maxAuthors bounds of how many daemons a channel remembers that.
const maxAuthors = 65536 // daemons whose last number a channel remembers

// author notes the last effect of a daemon. It needs c.mu.
func (c *Channel) author(m effect.Mark) {
	if c.authors == nil {
		c.authors = make(map[identity.EntityID]effect.Mark)
	}
	c.authors[m.Sender] = m
}

func authorValue(m effect.Mark) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 24), m.Epoch)
	b = binary.BigEndian.AppendUint64(b, m.Number)
	return binary.BigEndian.AppendUint64(b, uint64(m.Time))
}

// readAuthors reads them from the store. It needs c.mu.
func (c *Channel) readAuthors() error {
	c.authors = nil
	return c.broker.env.Store.ScanPrefix(store.Authors, c.rec.Born, func(k, v []byte) error {
		var id identity.EntityID
		if len(v) != 24 || id.UnmarshalBinary(k[len(c.rec.Born):]) != nil {
			return fmt.Errorf("%w: channel %q: who published on it: %x", store.ErrCorrupt, c.name, k)
		}
		c.author(effect.Mark{Sender: id, Epoch: binary.BigEndian.Uint64(v), Number: binary.BigEndian.Uint64(v[8:]), Time: int64(binary.BigEndian.Uint64(v[16:]))})
		return nil
	})
}

// publishEffects publishes those of a daemon's effects that are not on the channel
// yet, and returns once all of them are durable.
func (c *Channel) publishEffects(ctx context.Context, from identity.EntityID, list []channel.Carriage) error {
	flow := c.broker.cfg.Flow(from)
	turn, err := flow.Begin(ctx)
	if err != nil {
		return err
	}

	bytes := 0
	for i := range list {
		bytes += effect.Cost(len(list[i].Payload))
	}

	flow.Fly(bytes)

	c.carrying.Lock() // what is new must not change until it is published
	p, err := c.publishNew(from, list)
	c.carrying.Unlock()
	turn.End()
	if err == nil {
		_, err = p.Wait(ctx)
	}

	flow.Stored(bytes)
	flow.Land(bytes)
	return err
}

// publishNew publishes the effects that are not on the channel yet. It needs c.carrying.
func (c *Channel) publishNew(from identity.EntityID, list []channel.Carriage) (*Pending, error) {
	mark, known, last, err := c.markOf(from)
	if err != nil {
		return nil, err
	}

	var payloads [][]byte
	for _, e := range list {
		if !known || mark.Before(e.Epoch, e.Number) {
			payloads = append(payloads, e.Payload)
		}
	}

	switch {
	case len(payloads) > 0:
		end := list[len(list)-1]
		return c.publish(from, payloads, &effect.Mark{Sender: from, Epoch: end.Epoch, Number: end.Number})
	case last != nil:
		return last, nil // they are durable when it is
	}

	return &Pending{done: published}, nil
}

// markOf returns the last effect of the daemon that is on the channel, and what was
// published last. It makes room for a daemon that is not known.
func (c *Channel) markOf(from identity.EntityID) (mark effect.Mark, known bool, last *Pending, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stale {
		if err := c.reload(); err != nil {
			return mark, false, nil, err
		}
	}

	mark, known = c.authors[from]
	if !known && len(c.authors) >= maxAuthors {
		before := c.broker.env.Clock().Add(-c.broker.cfg.SenderMemory).UnixNano()
		maps.DeleteFunc(c.authors, func(_ identity.EntityID, m effect.Mark) bool { return m.Time < before })
		if len(c.authors) >= maxAuthors {
			return mark, false, nil, fmt.Errorf("%w: daemons that publish on %q: %d", channel.ErrTooMany, c.name, maxAuthors)
		}
	}

	return mark, known, c.last, nil
}

package broker

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// ServePublish publishes what a peer asks for.
func (b *Broker) ServePublish(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, conn channel.Conn, m *channel.Publish) error {
	if err := b.Attempt(from); err != nil {
		return err
	}
	if _, ok := channel.IsOutputs(m.Channel); ok {
		return fmt.Errorf("%w: %q", channel.ErrReserved, m.Channel)
	}

	c, err := b.find(m.Channel)
	if err == nil {
		var p *permission
		p, err = b.permit(&c.rec.Policy, m.Channel, from, may, m.From, m.Token, m.Residence, identity.ScopePublish)
		if err == nil && p.epoch == 0 && m.From.Node() != from {
			err = fmt.Errorf("%w: %s", channel.ErrResidence, m.From.Origin())
		}
		b.Attempted(from, err != nil)
	}

	if err != nil {
		return err
	}

	p, err := c.publish(m.From, m.Payloads, nil)
	if err != nil {
		return err
	}

	first, err := p.Wait(ctx)
	if err != nil {
		return err
	}
	return errors.Join(conn.Send(&channel.Published{First: first}), conn.Flush())
}

// PublishEffects publishes what a daemon published by effects, which a peer brings: what
// is on the channel already is passed over. It returns once all are durable. The caller has
// made sure that the daemon is on that node.
func (b *Broker) PublishEffects(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, m *channel.Carry) error {
	if _, ok := channel.IsOutputs(m.Channel); ok {
		return fmt.Errorf("%w: %q", channel.ErrReserved, m.Channel)
	}

	c, err := b.find(m.Channel)
	if err != nil {
		return err
	}

	_, err = b.permit(&c.rec.Policy, m.Channel, from, may, m.From, m.Token, m.Residence, identity.ScopePublish)
	b.Attempted(from, err != nil)
	if err != nil {
		return err
	}
	return c.publishEffects(ctx, m.From, m.Effects)
}

// ServeFetch sends past events to a node that has a daemon on a feed.
func (b *Broker) ServeFetch(ctx context.Context, from identity.NodeID, conn channel.Conn, m *channel.Fetch) error {
	if !b.hears(m.Channel, from, m.Entity) {
		return fmt.Errorf("%w: %s", channel.ErrNotMember, m.Entity.Origin())
	}

	src, err := b.sourceOf(m.Channel)
	if err != nil {
		return err
	}

	defer src.close()

	until := min(m.Until, src.head())
	for next := m.After + 1; next <= until; {
		chunk, lost, wait, err := src.read(ctx, next)
		switch {
		case err != nil:
			return err
		case wait != nil:
			return fmt.Errorf("%w: event %d of %d cannot be read", channel.ErrOther, next, until)
		case lost > 0:
			if err := conn.Send(&channel.Gap{From: next, To: lost}); err != nil {
				return err
			}
			next = lost + 1
			continue
		}

		if err := conn.Send(&channel.Events{First: chunk.First, Head: src.head(), Bytes: chunk.Bytes}); err != nil {
			return err
		}

		next = chunk.Last() + 1
	}

	return errors.Join(conn.Send(&channel.Released{Entity: m.Entity}), conn.Flush())
}

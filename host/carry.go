package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost/host/channel"
	"wasmhost/identity"
)

// The receiving side of effects: a node brings what a daemon there has sent or
// published.

// serveCarry takes effects of a daemon on another node, or on this one.
func (r *Runtime) serveCarry(ctx context.Context, from identity.NodeID, may ChannelAccess, conn channel.Conn, m *channel.Carry) error {
	for {
		if err := r.takeCarry(ctx, from, may, m); err != nil {
			return err // which is the last word
		}
		last := m.Effects[len(m.Effects)-1]
		if err := errors.Join(conn.Send(&channel.Carried{Epoch: last.Epoch, Number: last.Number}), conn.Flush()); err != nil {
			return err
		}
		msg, err := conn.Recv()
		if err != nil {
			return nil // it is done
		}
		next, ok := msg.(*channel.Carry)
		if !ok {
			return fmt.Errorf("%w: a %T among effects", channel.ErrBadMessage, msg)
		}
		m = next
	}
}

// takeCarry returns once all of the message is durable here.
func (r *Runtime) takeCarry(ctx context.Context, from identity.NodeID, may ChannelAccess, m *channel.Carry) error {
	if err := r.hub.attempt(from); err != nil {
		return err
	}
	if err := r.provenSender(ctx, from, m); err != nil {
		r.hub.throttle.Note(from, true, r.clock())
		return err
	}
	if m.Channel == "" {
		return r.takeSent(ctx, m)
	}
	if _, ok := channel.IsOutputs(m.Channel); ok {
		return fmt.Errorf("%w: %q", channel.ErrReserved, m.Channel)
	}
	c, err := r.hub.find(m.Channel)
	if err == nil {
		_, err = r.hub.permit(&c.rec.Policy, m.Channel, from, may, m.From, m.Token, m.Residence, identity.ScopePublish)
		r.hub.throttle.Note(from, err != nil, r.clock())
	}
	if err != nil {
		return err
	}
	return c.publishEffects(ctx, m.From, m.Effects)
}

// provenSender returns nil where the daemon has said that it is on the node, under
// no earlier epoch than that of the effects. What is on this node needs no proof.
func (r *Runtime) provenSender(ctx context.Context, from identity.NodeID, m *channel.Carry) error {
	if from == r.self {
		return nil
	}
	epoch, err := channel.CheckResidence(m.Residence, m.From, from)
	if err != nil {
		return err
	}
	// Whoever had the daemon once can sign that. What it says of its epoch holds where
	// the node proves that it has the daemon.
	proven, err := r.Believe(ctx, m.From, from, 0)
	if err == nil && proven.Node != from {
		err = fmt.Errorf("%w: node %s has it", ErrUnproven, proven.Node)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", channel.ErrResidence, m.From.Origin(), err)
	}
	epoch = min(epoch, proven.Epoch)
	if last := m.Effects[len(m.Effects)-1]; last.Epoch > epoch {
		return fmt.Errorf("%w: it was so under epoch %d, the effect is of epoch %d", channel.ErrResidence, epoch, last.Epoch)
	}
	return nil
}

// takeSent has a daemon of this node take what another sent.
func (r *Runtime) takeSent(ctx context.Context, m *channel.Carry) error {
	for i := 0; i < len(m.Effects); {
		if err := errors.Join(r.ready(), r.room(), r.mayRun(m.To)); err != nil {
			return err
		}
		d, err := r.receiverOf(m.To)
		if err != nil {
			return err
		}
		if err := d.enter(ctx); errors.Is(err, ErrMailboxFull) {
			return fmt.Errorf("%w: %w", channel.ErrBusy, err)
		} else if err != nil {
			return err
		}
		n, t, err := d.takeSome(m.From, m.Effects[i:])
		d.show()
		d.mu.Unlock()
		if err == nil {
			err = t.wait(ctx)
		}
		if err != nil {
			return err
		}
		i += n
	}
	return nil
}

// takeSome applies effects that are new to the daemon, and returns of how many
// this is true now: all, unless the daemon is slowed. It needs d.mu.
func (d *hosted) takeSome(from identity.EntityID, list []channel.Carriage) (n int, t *ticket, err error) {
	d.gather()
	for n < len(list) {
		e := &list[n]
		if err = d.applyOther(&Event{Sender: from, From: from, Number: e.Number, epoch: e.Epoch, Kind: EventDaemon, Payload: e.Payload}); err != nil {
			break
		}
		if n++; d.pacer.interval() > 0 {
			break // each is to wait for its time
		}
	}
	return n, d.flush(), err
}

// receiverOf returns a daemon of this node. One that is on its way here is not
// unknown.
func (r *Runtime) receiverOf(id identity.EntityID) (*hosted, error) {
	d, err := r.find(id)
	if errors.Is(err, ErrNotFound) {
		r.mu.RLock()
		_, comes := r.incoming[id]
		r.mu.RUnlock()
		if comes {
			return nil, fmt.Errorf("%w: daemon %s is on its way to node %s", channel.ErrBusy, id.Origin(), r.self)
		}
		return nil, fmt.Errorf("%w: %w", channel.ErrNoReceiver, err)
	}
	return d, err
}

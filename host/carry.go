package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost/host/channel"
	"wasmhost/host/fair"
	"wasmhost/host/mesh"
	"wasmhost/identity"
)

// The receiving side of effects: a node brings what a daemon there has sent or
// published.

// serveCarry takes effects of a daemon on another node, or on this one.
func (r *Runtime) serveCarry(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, conn channel.Conn, m *channel.Carry) error {
	for {
		taken, err := r.takeCarry(ctx, from, may, m)
		if err != nil && (taken == 0 || errors.Is(err, channel.ErrPassedOver)) {
			return err // which is the last word
		}
		last := m.Effects[taken-1] // the sender brings the rest again
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

// takeCarry returns how many effects of the message are durable here, in order: all,
// or err says why not.
func (r *Runtime) takeCarry(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, m *channel.Carry) (taken int, err error) {
	if err := r.broker.Attempt(from); err != nil {
		return 0, err
	}
	if err := r.provenSender(ctx, from, m); err != nil {
		r.broker.Attempted(from, true)
		return 0, err
	}
	if m.Channel == "" {
		via := from
		if from == r.env.Self {
			via = 0
		}
		return r.takeSent(ctx, via, m)
	}
	if err := r.broker.PublishEffects(ctx, from, may, m); err != nil {
		return 0, err
	}
	return len(m.Effects), nil
}

// provenSender returns nil where the daemon has said that it is on the node, under
// no earlier epoch than that of the effects. What is on this node needs no proof.
func (r *Runtime) provenSender(ctx context.Context, from identity.NodeID, m *channel.Carry) error {
	if from == r.env.Self {
		return nil
	}
	epoch, err := channel.CheckResidence(m.Residence, m.From, from)
	if err != nil {
		return err
	}
	// A node that had the daemon before can sign that, too. What it says of its epoch
	// holds where the node proves that it has the daemon.
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

// longestDebt is the longest that a node which brings events waits here for the
// receiver's rate. Where it would wait longer, it is refused with channel.ErrBusy and tries
// again.
const longestDebt = 5 * time.Second

// takeSent has a daemon of this node take what another sent, and returns how many events
// are durable. via is the peer that brings them; 0: none. A *lostError says that some of
// them were passed over.
func (r *Runtime) takeSent(ctx context.Context, via identity.NodeID, m *channel.Carry) (taken int, err error) {
	var lost lostError
	for err == nil && taken < len(m.Effects) {
		var n int
		n, err = r.takeTurn(ctx, via, m, m.Effects[taken:], &lost)
		taken += n
	}
	if lost.events > 0 { // of another error the sender hears when it comes again
		return taken, &lost
	}
	return taken, err
}

// takeTurn has the daemon take effects in one turn, and returns how many are taken
// and durable.
func (r *Runtime) takeTurn(ctx context.Context, via identity.NodeID, m *channel.Carry, list []channel.Carriage, lost *lostError) (n int, err error) {
	if err := r.mayTake(m.To); err != nil {
		return 0, err
	}
	d, err := r.receiverOf(m.To)
	if err != nil {
		return 0, err
	}
	owes := d.share.OwesBytes()
	if owes > longestDebt {
		return 0, fmt.Errorf("%w: daemon %s has used up its limit internal-bytes", channel.ErrBusy, m.To.Origin())
	}
	if err := fair.Sleep(ctx, owes); err != nil {
		return 0, err
	}
	var t *ticket
	err = d.turn(ctx, func(turn *fair.Turn) (err error) {
		if err := d.going(); err != nil {
			return fmt.Errorf("%w: %w", channel.ErrBusy, err)
		}
		n, t, err = d.takeSome(turn, m.From, via, list, lost)
		if errors.Is(err, errNoRoom) {
			why := channel.ErrNoRoom
			if r.couriers.blocked(m.To) {
				why = channel.ErrBusy
			}
			err = fmt.Errorf("%w: %w", why, err)
		}
		return err
	})
	if n == 0 {
		return 0, err
	}
	if err := t.wait(ctx); err != nil {
		return 0, err
	}
	return n, err
}

// takeSome applies effects that are new to the daemon, and returns of how many
// this is true now: all, unless the turn is over. It needs d.mu.
func (d *hosted) takeSome(turn *fair.Turn, from identity.EntityID, via identity.NodeID, list []channel.Carriage, lost *lostError) (n int, t *ticket, err error) {
	d.gather()
	for n < len(list) {
		e := &list[n]
		before := d.stats.errors
		if err = d.applyOther(&Event{Sender: from, From: from, Via: via, Number: e.Number, epoch: e.Epoch, Kind: EventDaemon, Payload: e.Payload}); err != nil {
			break
		}
		if d.stats.errors > before {
			if lost.events++; lost.first == nil {
				lost.first = fmt.Errorf("event %d: %w", e.Number, d.fault)
			}
		}
		if n++; d.over(turn) {
			break
		}
	}
	t = d.flush()
	d.share.Made(0, int64(d.flown))
	return n, t, err
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
			return nil, fmt.Errorf("%w: daemon %s is on its way to node %s", channel.ErrBusy, id.Origin(), r.env.Self)
		}
		return nil, fmt.Errorf("%w: %w", channel.ErrNoReceiver, err)
	}
	return d, err
}

package outbox

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// Channels are the channels that this node publishes.
type Channels interface {
	// Attempt returns nil where the node may try to send now; channel.ErrThrottled.
	Attempt(from identity.NodeID) error

	// Attempted notes whether what the node tried was refused.
	Attempted(from identity.NodeID, refused bool)

	// PublishEffects publishes the effects of a message that are new to its channel, and
	// returns once all are durable.
	PublishEffects(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, m *channel.Carry) error
}

// Receivers are the daemons of this node, which take what others send.
type Receivers interface {
	// Take has the daemon take effects of the list, which are of the message, in one
	// turn: one at least, unless there is an error. via is the peer that brought them;
	// 0: none. What was taken is durable.
	Take(ctx context.Context, via identity.NodeID, m *channel.Carry, list []channel.Carriage) (Taken, error)
}

// Taken is what a daemon took in one turn.
type Taken struct {
	Events     int   // that it has now
	PassedOver int   // of them, that it failed on
	First      error // why it failed on the first of those
}

// Inbox takes what daemons on other nodes, and on this one, sent and published. It is safe
// for concurrent use.
type Inbox struct {
	env      *env.Env
	channels Channels
	daemons  Receivers
	locator  Locator
}

// NewInbox returns an inbox for the channels and daemons of a node.
func NewInbox(e *env.Env, c Channels, d Receivers, l Locator) *Inbox {
	return &Inbox{env: e, channels: c, daemons: d, locator: l}
}

// Serve takes effects that a node brings on a stream, until the stream ends. An error is
// the answer to the last message.
func (in *Inbox) Serve(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, conn channel.Conn, m *channel.Carry) error {
	for {
		taken, err := in.take(ctx, from, may, m)
		if err != nil && (taken == 0 || errors.Is(err, channel.ErrPassedOver)) {
			return err
		}

		last := m.Effects[taken-1] // the sender brings the rest again
		if err := errors.Join(conn.Send(&channel.Carried{Epoch: last.Epoch, Number: last.Number}), conn.Flush()); err != nil {
			return err
		}

		msg, err := conn.Recv()
		if err != nil {
			return nil // it is done
		}

		next, ok := channel.Brought(msg)
		if !ok {
			return fmt.Errorf("%w: a %T among effects", channel.ErrBadMessage, msg)
		}

		m = next
	}
}

// take returns how many effects of the message are durable here, in order: all,
// or err says why not.
func (in *Inbox) take(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, m *channel.Carry) (taken int, err error) {
	if err := in.channels.Attempt(from); err != nil {
		return 0, err
	}

	if err := in.provenSender(ctx, from, m); err != nil {
		in.channels.Attempted(from, true)
		return 0, err
	}

	if m.Channel != "" {
		if err := in.channels.PublishEffects(ctx, from, may, m); err != nil {
			return 0, err
		}
		return len(m.Effects), nil
	}

	via := from
	if from == in.env.Self {
		via = 0
	}
	return in.takeSent(ctx, via, m)
}

// provenSender returns nil where the daemon has said that it is on the node, under
// no earlier epoch than that of the effects. What is on this node needs no proof.
func (in *Inbox) provenSender(ctx context.Context, from identity.NodeID, m *channel.Carry) error {
	if from == in.env.Self {
		return nil
	}

	epoch, err := channel.CheckResidence(m.Residence, m.From, from)
	if err != nil {
		return err
	}

	// A node that had the daemon before can sign that, too. What it says of its epoch
	// holds where the node proves that it has the daemon.
	node, proven, err := in.locator.Prove(ctx, m.From, from, 0)
	if err == nil && node != from {
		err = fmt.Errorf("%w: node %s has it", daemon.ErrUnproven, node)
	}

	if err != nil {
		return fmt.Errorf("%w: %s: %w", channel.ErrResidence, m.From.Origin(), err)
	}

	epoch = min(epoch, proven)
	if last := m.Effects[len(m.Effects)-1]; last.Epoch > epoch {
		return fmt.Errorf("%w: it was so under epoch %d, the effect is of epoch %d", channel.ErrResidence, epoch, last.Epoch)
	}
	return nil
}

// takeSent has a daemon of this node take what another sent, and returns how many events
// are durable. A *passedOverError says that some of them were passed over.
func (in *Inbox) takeSent(ctx context.Context, via identity.NodeID, m *channel.Carry) (taken int, err error) {
	var passed passedOverError
	for err == nil && taken < len(m.Effects) {
		var t Taken
		t, err = in.daemons.Take(ctx, via, m, m.Effects[taken:])
		taken += t.Events
		if passed.events == 0 {
			passed.first = t.First
		}
		passed.events += t.PassedOver
	}

	if passed.events > 0 { // of another error the sender hears when it comes again
		return taken, &passed
	}
	return taken, err
}

// passedOverError tells who sent events to a daemon that some of them were passed over.
type passedOverError struct {
	events int
	first  error
}

func (e *passedOverError) Error() string {
	return fmt.Sprintf("%d events were passed over, the first: %v", e.events, e.first)
}

func (e *passedOverError) Unwrap() error { return channel.ErrPassedOver }

// passedOver returns how many events were passed over by the text of the receiving node's
// answer, a passedOverError: from 1 to as many as were brought.
func passedOver(err error, brought int) int {
	n := 1
	if _, scanErr := fmt.Sscanf(err.Error(), "%d events", &n); scanErr != nil {
		return 1
	}
	return min(max(n, 1), brought)
}

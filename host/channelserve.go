package host

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// handleChannel is mesh.Handler.HandleChannel.
func (r *Runtime) handleChannel(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, c channel.Conn) {
	if !r.env.Work.Begin() {
		r.tell(c, channel.Refuse(identity.EntityID{}, fmt.Errorf("%w: it is shutting down", channel.ErrNotReady)))
		return
	}
	defer r.env.Work.Done()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.env.Context, cancel)()
	defer context.AfterFunc(ctx, c.Abort)()
	msg, err := c.Recv()
	if err != nil {
		r.env.Logger.Debug("a channel stream broke", "from", from, "error", err)
		return
	}

	if err := r.ready(); err != nil {
		r.tell(c, channel.Refuse(identity.EntityID{}, fmt.Errorf("%w: %w", channel.ErrNotReady, err)))
		return
	}

	switch msg := msg.(type) {
	case *channel.Open:
		err = r.broker.ServeOpen(ctx, from, may, c, msg)
	case *channel.Fetch:
		err = r.broker.ServeFetch(ctx, from, c, msg)
	case *channel.Publish:
		err = r.broker.ServePublish(ctx, from, may, c, msg)
	case *channel.Carry, *channel.Calls, *channel.Replies:
		brought, _ := channel.Brought(msg)
		err = r.inbox.Serve(ctx, from, may, c, brought)
	case *channel.Locate:
		err = r.serveLocate(ctx, c, msg)
	case *channel.Standings:
		err = r.serveStandings(c, from, msg)
	case *channel.Testify:
		err = r.serveTestify(c, msg)
	case *channel.Revocations:
		err = r.broker.ServeRevocations(c, msg)
	default:
		err = fmt.Errorf("%w: a %T at the beginning of a stream", channel.ErrBadMessage, msg)
	}

	if err != nil {
		r.env.Logger.Debug("a channel stream ended", "from", from, "error", err)
		r.tell(c, lastWord(err))
	}
}

// lastWord is what ends a stream because of err.
func lastWord(err error) channel.Message {
	var moved *daemon.MovedError
	if errors.As(err, &moved) {
		return &channel.Moved{Node: moved.Node}
	}
	if channel.CodeOf(err) == channel.CodeOf(channel.ErrOther) && passes(err) {
		err = fmt.Errorf("%w: %w", channel.ErrNotReady, err)
	}
	return channel.Refuse(identity.EntityID{}, err)
}

// passes reports whether what fails here with err may succeed in a moment.
func passes(err error) bool {
	for _, passing := range []error{daemon.ErrHolding, daemon.ErrComing, daemon.ErrNotReady, daemon.ErrShuttingDown, context.DeadlineExceeded, context.Canceled} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// refusedBy is the error of a node that was asked for a proof about a daemon, and refuses.
// It is never channel.ErrOther, which is of channels alone: a refusal without a name is
// ErrUnproven.
func refusedBy(node identity.NodeID, m *channel.Refused) error {
	why := &channel.Refusal{Code: m.Code, Text: m.Text}
	if errors.Is(why, channel.ErrOther) {
		return fmt.Errorf("%w: node %s: %s", daemon.ErrUnproven, node, m.Text)
	}
	return why
}

// tell sends what nobody waits to be sent.
func (r *Runtime) tell(c channel.Conn, m channel.Message) {
	if err := errors.Join(c.Send(m), c.Flush()); err != nil {
		r.env.Logger.Debug("answering on a channel stream", "error", err)
	}
}

// startChannels begins what goes on for channels as long as the runtime is
// ready.
func (r *Runtime) startChannels() {
	r.startAllSubscriptions()
	r.startAllEffects()
	r.broker.Start()
}

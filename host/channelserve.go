package host

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost/host/channel"
	"wasmhost/host/mesh"
	"wasmhost/identity"
)

// HandleChannel implements Handler.
func (r *Runtime) HandleChannel(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, c channel.Conn) {
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
		err = r.hub.serveFeed(ctx, from, may, c, msg)
	case *channel.Fetch:
		err = r.hub.serveFetch(ctx, from, c, msg)
	case *channel.Publish:
		err = r.hub.servePublish(ctx, from, may, c, msg)
	case *channel.Carry:
		err = r.serveCarry(ctx, from, may, c, msg)
	case *channel.Locate:
		err = r.serveLocate(ctx, c, msg)
	case *channel.Standings:
		err = r.serveStandings(c, from, msg)
	case *channel.Testify:
		err = r.serveTestify(c, msg)
	case *channel.Revocations:
		err = r.hub.serveRevocations(c, msg)
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
	var moved *MovedError
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
	for _, passing := range []error{ErrHolding, ErrComing, ErrNotReady, ErrShuttingDown, context.DeadlineExceeded, context.Canceled} {
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
		return fmt.Errorf("%w: node %s: %s", ErrUnproven, node, m.Text)
	}
	return why
}

// tell sends what nobody waits to be sent.
func (r *Runtime) tell(c channel.Conn, m channel.Message) {
	if err := errors.Join(c.Send(m), c.Flush()); err != nil {
		r.env.Logger.Debug("answering on a channel stream", "error", err)
	}
}

// permission is what lets a daemon hear a channel.
type permission struct {
	chain   *identity.TokenChain // nil: the channel is open
	use     identity.TokenUse
	epoch   uint64 // of the daemon's ownership; 0: not proven
	expires time.Time
}

// permit returns what lets whoever presents the token do action. presenter is
// proven by residence to be on node, unless it is the node. Errors are those of
// tokens, channel.ErrNoToken, channel.ErrDenied and channel.ErrResidence.
func (h *hub) permit(p *ChannelPolicy, name string, node identity.NodeID, may mesh.ChannelAccess, presenter identity.EntityID, token, residence []byte, action identity.Scope) (*permission, error) {
	out := &permission{}
	if len(residence) > 0 {
		var err error
		if out.epoch, err = channel.CheckResidence(residence, presenter, node); err != nil {
			return nil, err
		}
	}
	if !p.gated() {
		if may&mesh.AccessChannels == 0 {
			return nil, fmt.Errorf("%w: %q", channel.ErrDenied, name)
		}
		return out, nil
	}
	if len(token) == 0 {
		return nil, fmt.Errorf("%w: %q", channel.ErrNoToken, name)
	}
	if out.epoch == 0 && presenter.Node() != node {
		return nil, fmt.Errorf("%w: %s", channel.ErrResidence, presenter.Origin())
	}
	out.use = identity.TokenUse{Presenter: presenter, Action: action, Channel: name, Roots: p.Roots}
	var err error
	if out.chain, err = h.verifier.Verify(token, out.use); err != nil {
		return nil, err
	}
	out.expires = h.verifier.Expires(out.chain)
	return out, nil
}

// PermitChannel returns nil where the node's owner, or whoever presents the
// token for presenter, may do action on a channel of this node. It is for those
// who have made sure of who the presenter is.
func (r *Runtime) PermitChannel(name string, presenter identity.EntityID, may mesh.ChannelAccess, token []byte, action identity.Scope) error {
	p, err := r.hub.policy(name)
	if err != nil {
		return err
	}
	_, err = r.hub.permit(p, name, presenter.Node(), may, presenter, token, nil, action)
	return err
}

// policy is that of the channel, or of a daemon's outputs: its own tokens are
// good for them.
func (h *hub) policy(name string) (*ChannelPolicy, error) {
	if o, ok := channel.IsOutputs(name); ok {
		d, err := h.rt.byOrigin(o)
		if err != nil {
			return nil, err
		}
		return &ChannelPolicy{Roots: []identity.EntityID{d.id}}, nil
	}
	c, err := h.find(name)
	if err != nil {
		return nil, err
	}
	return &c.rec.Policy, nil
}

// servePublish publishes what a peer asks for.
func (h *hub) servePublish(ctx context.Context, from identity.NodeID, may mesh.ChannelAccess, conn channel.Conn, m *channel.Publish) error {
	if err := h.attempt(from); err != nil {
		return err
	}
	if _, ok := channel.IsOutputs(m.Channel); ok {
		return fmt.Errorf("%w: %q", channel.ErrReserved, m.Channel)
	}
	c, err := h.find(m.Channel)
	if err == nil {
		var p *permission
		p, err = h.permit(&c.rec.Policy, m.Channel, from, may, m.From, m.Token, m.Residence, identity.ScopePublish)
		if err == nil && p.epoch == 0 && m.From.Node() != from {
			err = fmt.Errorf("%w: %s", channel.ErrResidence, m.From.Origin())
		}
		h.throttle.Note(from, err != nil, h.env.Clock())
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

func (h *hub) attempt(from identity.NodeID) error {
	if from != h.env.Self && !h.throttle.Allow(from, h.env.Clock()) {
		return channel.ErrThrottled
	}
	return nil
}

// serveFetch sends past events to a node that has a daemon on a feed.
func (h *hub) serveFetch(ctx context.Context, from identity.NodeID, conn channel.Conn, m *channel.Fetch) error {
	if !h.hears(m.Channel, from, m.Entity) {
		return fmt.Errorf("%w: %s", channel.ErrNotMember, m.Entity.Origin())
	}
	src, err := h.source(m.Channel)
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

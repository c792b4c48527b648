package broker

import (
	"fmt"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

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
func (b *Broker) permit(p *Policy, name string, node identity.NodeID, may mesh.ChannelAccess, presenter identity.EntityID, token, residence []byte, action identity.Scope) (*permission, error) {
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
	if out.chain, err = b.verifier.Verify(token, out.use); err != nil {
		return nil, err
	}

	out.expires = b.verifier.Expires(out.chain)
	return out, nil
}

// Permit returns nil where the node's owner, or whoever presents the
// token for presenter, may do action on a channel of this node. It is for those
// who have made sure of who the presenter is.
func (b *Broker) Permit(name string, presenter identity.EntityID, may mesh.ChannelAccess, token []byte, action identity.Scope) error {
	p, err := b.policy(name)
	if err != nil {
		return err
	}
	_, err = b.permit(p, name, presenter.Node(), may, presenter, token, nil, action)
	return err
}

// policy is that of the channel, or of a daemon's outputs: its own tokens are
// good for them.
func (b *Broker) policy(name string) (*Policy, error) {
	if o, ok := channel.IsOutputs(name); ok {
		id, err := b.cfg.Outputs.ByOrigin(o)
		if err != nil {
			return nil, err
		}
		return &Policy{Roots: []identity.EntityID{id}}, nil
	}

	c, err := b.find(name)
	if err != nil {
		return nil, err
	}
	return &c.rec.Policy, nil
}

// Attempt returns nil where the peer may try to use a channel now; channel.ErrThrottled
// where too many of its tries were refused. The caller says by Attempted what came of it.
func (b *Broker) Attempt(from identity.NodeID) error {
	if from != b.env.Self && !b.throttle.Allow(from, b.env.Clock()) {
		return channel.ErrThrottled
	}
	return nil
}

// Attempted notes whether what the peer tried was refused.
func (b *Broker) Attempted(from identity.NodeID, refused bool) {
	b.throttle.Note(from, refused, b.env.Clock())
}

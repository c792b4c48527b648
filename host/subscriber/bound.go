package subscriber

import (
	"context"
	"fmt"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// Unbound is a subscription that a target could not bind yet.
type Unbound struct {
	Publisher identity.NodeID
	Channel   string
	Err       error // a *channel.Refusal, or what stands in the way
}

// bindTimeout is how long Unbound waits.
const bindTimeout = 3 * time.Second

// Unbound waits, for a while, until the daemon's subscriptions are accepted by their
// publishers, and returns those that are not, and why.
func (s *Subscriber) Unbound(ctx context.Context, id identity.EntityID, list []channel.Binding) []Unbound {
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	var out []Unbound
	for _, b := range list {
		if err := s.whyUnbound(ctx, id, b); err != nil {
			out = append(out, Unbound{b.Publisher, b.Channel, err})
		}
	}

	return out
}

// whyUnbound waits for one subscription; nil where it is bound.
func (s *Subscriber) whyUnbound(ctx context.Context, id identity.EntityID, b channel.Binding) error {
	in := s.get(b.Publisher, b.Channel)
	if in == nil {
		return ErrNotSubscribed
	}

	for {
		in.mu.Lock()
		m, changed := in.members[id], in.changed
		var state memberState
		var why error
		if m != nil {
			state, why = m.state, m.err
		}
		in.mu.Unlock()

		switch {
		case m == nil:
			return ErrNotSubscribed
		case state == memberLive:
			return nil
		case why != nil:
			return why
		}

		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: node %s has not answered yet", mesh.ErrUnreachable, b.Publisher)
		}
	}
}

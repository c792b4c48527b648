package host

import (
	"context"
	"fmt"
	"time"

	"wasmhost/host/channel"
	"wasmhost/host/mesh"
	"wasmhost/host/migration"
	"wasmhost/identity"
)

// A daemon's subscriptions are bound on the target, from their cursors, as soon as
// it serves there, and before the source lets go of them. What has come of that
// is part of the migration's report; what could not be bound is tried again.

// Unbound is a subscription that a target could not bind yet.
type Unbound struct {
	Publisher identity.NodeID
	Channel   string
	Err       error // a *channel.Refusal, or what stands in the way
}

// How long a target looks whether subscriptions get bound before it says so, and
// how long the source waits for that.
const (
	bindPatience  = 3 * time.Second
	boundPatience = 2 * bindPatience
)

// errNotHeard is why a subscription is reported of which the target said nothing.
var errNotHeard = fmt.Errorf("%w: the target has not said whether it is bound", channel.ErrOther)

// tellBound says which of the daemon's subscriptions are not bound, where it has
// any.
func (r *Runtime) tellBound(c migration.Conn, id identity.EntityID) {
	d, err := r.find(id)
	if err != nil {
		return
	}
	d.mu.Lock()
	list := d.ledger.All()
	d.mu.Unlock()
	if len(list) == 0 {
		return
	}
	if err := c.Send(&migration.Bound{Unbound: r.subs.unbound(r.env.Context, id, list)}); err != nil {
		r.env.Logger.Debug("saying which subscriptions are bound", "daemon", id.Origin(), "error", err)
	}
}

// unbound waits until the subscriptions are bound, or it is known why not.
func (s *subscriptions) unbound(ctx context.Context, id identity.EntityID, list []channel.Binding) []migration.Unbound {
	ctx, cancel := context.WithTimeout(ctx, bindPatience)
	defer cancel()
	var out []migration.Unbound
	for _, b := range list {
		if err := s.whyUnbound(ctx, id, b); err != nil {
			out = append(out, migration.NewUnbound(b.Publisher, b.Channel, uint16(channel.CodeOf(err)), err))
		}
	}
	return out
}

// whyUnbound waits for one subscription; nil where it is bound.
func (s *subscriptions) whyUnbound(ctx context.Context, id identity.EntityID, b channel.Binding) error {
	s.mu.Lock()
	in := s.hearings[hearingKey{b.Publisher, b.Channel}]
	s.mu.Unlock()
	if in == nil {
		return errUnbound
	}
	for {
		in.mu.Lock()
		m, changed := in.members[id], in.changed
		var state int
		var why error
		if m != nil {
			state, why = m.state, m.err
		}
		in.mu.Unlock()
		switch {
		case m == nil:
			return errUnbound
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

// rebound hears which of the daemon's subscriptions the target has bound, and
// lets go of them here.
func (s *sourceWalk) rebound(list []channel.Binding) {
	for _, m := range s.m.rt.subs.linger(s.d.id) {
		defer s.m.rt.subs.leave(m)
	}
	if len(list) == 0 {
		return
	}
	var out []Unbound
	bound, err := s.hearBound()
	if err == nil {
		out = unboundOf(bound.Unbound)
	} else {
		for _, b := range list {
			out = append(out, Unbound{b.Publisher, b.Channel, fmt.Errorf("%w: %w", errNotHeard, err)})
		}
	}
	for _, u := range out {
		s.m.env.Logger.Warn("a subscription is not bound on the target yet", "daemon", s.d.id.Origin(), "publisher", u.Publisher, "channel", u.Channel, "error", u.Err)
	}
	s.m.mu.Lock()
	s.m.unbound = out
	s.m.mu.Unlock()
}

func (s *sourceWalk) hearBound() (*migration.Bound, error) {
	if s.conn == nil {
		return nil, mesh.ErrUnreachable
	}
	defer time.AfterFunc(boundPatience, s.conn.Abort).Stop()
	return receive[*migration.Bound](s.conn)
}

func unboundOf(list []migration.Unbound) []Unbound {
	var out []Unbound
	for _, u := range list {
		out = append(out, Unbound{u.Publisher, u.Channel, &channel.Refusal{Code: channel.Code(u.Code), Text: u.Text}})
	}
	return out
}

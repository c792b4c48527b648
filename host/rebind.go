package host

import (
	"fmt"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// A daemon's subscriptions are bound on the target, from their cursors, as soon as
// it serves there, and before the source lets go of them. What has come of that
// is part of the migration's report; what could not be bound is tried again.

// boundTimeout is how long the source waits for the target to say which subscriptions
// are bound there. The target says it within half of that.
const boundTimeout = 6 * time.Second

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

	var unbound []migration.Unbound
	for _, u := range r.subscriber.Unbound(r.env.Context, id, list) {
		unbound = append(unbound, migration.NewUnbound(u.Publisher, u.Channel, uint16(channel.CodeOf(u.Err)), u.Err))
	}
	if err := c.Send(&migration.Bound{Unbound: unbound}); err != nil {
		r.env.Logger.Debug("saying which subscriptions are bound", "daemon", id.Origin(), "error", err)
	}
}

// rebound hears which of the daemon's subscriptions the target has bound, and
// lets go of them here.
func (s *sourceWalk) rebound(list []channel.Binding) {
	defer s.m.rt.subscriber.Linger(s.d.id)()
	if len(list) == 0 {
		return
	}
	var out []subscriber.Unbound
	bound, err := s.hearBound()
	if err == nil {
		out = unboundOf(bound.Unbound)
	} else {
		for _, b := range list {
			out = append(out, subscriber.Unbound{Publisher: b.Publisher, Channel: b.Channel, Err: fmt.Errorf("%w: %w", errNotHeard, err)})
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
	defer time.AfterFunc(boundTimeout, s.conn.Abort).Stop()
	return exchange.Receive[*migration.Bound](s.conn)
}

func unboundOf(list []migration.Unbound) []subscriber.Unbound {
	var out []subscriber.Unbound
	for _, u := range list {
		out = append(out, subscriber.Unbound{Publisher: u.Publisher, Channel: u.Channel, Err: &channel.Refusal{Code: channel.Code(u.Code), Text: u.Text}})
	}
	return out
}

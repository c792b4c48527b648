package source

import (
	"fmt"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/subscriber"
)

// boundTimeout is how long the source waits for the target to say which subscriptions
// are bound there. The target says it within half of that.
const boundTimeout = 6 * time.Second

// errNotHeard is why a subscription is reported of which the target said nothing.
var errNotHeard = fmt.Errorf("%w: the target has not said whether it is bound", channel.ErrOther)

// rebound hears which of the daemon's subscriptions the target has bound, and
// lets go of them here.
func (s *sourceWalk) rebound(list []channel.Binding) {
	defer s.m.of.node.Linger(s.m.entity)()
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
		s.m.env.Logger.Warn("a subscription is not bound on the target yet", "daemon", s.m.entity.Origin(), "publisher", u.Publisher, "channel", u.Channel, "error", u.Err)
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

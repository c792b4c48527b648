package broker

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/host/channel"
	"wasmhost.example/identity"
)

// maxSubscribers bounds the daemons that one feed is for.
const maxSubscribers = 1 << 16

// notSuperseded returns channel.ErrSuperseded where a later owner of the daemon
// hears the channel.
func (b *Broker) notSuperseded(s *Stream, entity identity.EntityID, epoch uint64) error {
	for _, o := range b.streamsOf(s.name) {
		if o == s {
			continue
		}

		o.mu.Lock()
		m := o.members[entity]
		later := m != nil && m.epoch > epoch
		o.mu.Unlock()
		if later {
			return fmt.Errorf("%w: %s, on node %s", channel.ErrSuperseded, entity.Origin(), o.from)
		}
	}

	return nil
}

// supersede takes the daemon off the feeds of its earlier owners.
func (b *Broker) supersede(s *Stream, entity identity.EntityID, epoch uint64) {
	if epoch == 0 {
		return
	}

	for _, o := range b.streamsOf(s.name) {
		o.mu.Lock()
		m := o.members[entity]
		earlier := o != s && m != nil && m.epoch < epoch
		if earlier {
			delete(o.members, entity)
		}
		o.mu.Unlock()

		if earlier {
			go o.dismiss(entity) // its stream may be stuck
		}
	}
}

// dismiss tells a node that its daemon has moved on, unless it has come back.
func (s *Stream) dismiss(entity identity.EntityID) {
	s.sending.Lock()
	defer s.sending.Unlock()
	s.mu.Lock()
	back := s.members[entity] != nil
	s.mu.Unlock()
	if back {
		return
	}

	if err := errors.Join(s.conn.Send(channel.Refuse(entity, channel.ErrSuperseded)), s.conn.Flush()); err != nil {
		s.broker.env.Logger.Debug("telling a node that its daemon moved on", "node", s.from, "error", err)
	}
}

func (b *Broker) streamsOf(name string) []*Stream {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*Stream
	for s := range b.streams {
		if s.name == name {
			out = append(out, s)
		}
	}

	return out
}

// hears reports whether the node has the daemon on a feed of the channel.
func (b *Broker) hears(name string, node identity.NodeID, entity identity.EntityID) bool {
	for _, s := range b.streamsOf(name) {
		s.mu.Lock()
		_, ok := s.members[entity]
		s.mu.Unlock()
		if ok && s.from == node {
			return true
		}
	}

	return false
}

// subscribers returns who hears the channel.
func (b *Broker) subscribers(name string) []Subscriber {
	out := []Subscriber{}
	for _, s := range b.streamsOf(name) {
		s.mu.Lock()
		for id, m := range s.members {
			out = append(out, Subscriber{Entity: id, Node: s.from, Cursor: m.cursor, Expires: m.expires})
		}
		s.mu.Unlock()
	}

	slices.SortFunc(out, func(a, b Subscriber) int {
		return cmp.Or(a.Entity.Compare(b.Entity), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// recheck takes off all feeds whoever's token was revoked.
func (b *Broker) recheck() {
	b.mu.Lock()
	all := make([]*Stream, 0, len(b.streams))
	for s := range b.streams {
		all = append(all, s)
	}
	b.mu.Unlock()

	for _, s := range all {
		s.mu.Lock()
		s.stale = true
		s.mu.Unlock()
		s.wake()
	}
}

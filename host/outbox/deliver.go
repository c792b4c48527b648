package outbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// deliver carries the list to its place, wherever that is, and returns as much of it as
// was taken there, one at least.
func (d *delivery) deliver(ctx context.Context, list []channel.Carriage) (taken []channel.Carriage, err error) {
	if d.place.Channel != "" {
		return d.deliverTo(ctx, d.place.Node, list)
	}

	err = d.sender.search(d.place.To, func(at, by identity.NodeID) (err error) {
		taken, err = d.deliverProven(ctx, at, by, list)
		return err
	})

	return taken, err
}

// search tries nodes until one has the daemon: first where it is believed to be, then where
// that node says that it is, then the others. by is the node that said so; 0: none did.
func (s *Sender) search(id identity.EntityID, try func(at, by identity.NodeID) error) error {
	asked := make(map[identity.NodeID]bool)
	var unheard error // of a node that may have the daemon
	at, by, redirects := s.believed(id), identity.NodeID(0), 0

	for {
		asked[at] = true
		err := try(at, by)
		var moved *channel.MovedError

		switch {
		case err == nil:
			s.remember(id, at)
			return nil
		case errors.As(err, &moved):
			if redirects++; redirects > maxRedirects {
				return fmt.Errorf("daemon %s moved on %d times: %w", id.Origin(), redirects, err)
			}
			at, by = moved.Node, at
			continue

		case errors.Is(err, channel.ErrNoReceiver):
		case errors.Is(err, mesh.ErrUnreachable), errors.Is(err, mesh.ErrUnknownNode), errors.Is(err, daemon.ErrUnproven):
			unheard = err
		default:
			return err
		}

		next, ok := s.another(asked)
		if !ok && unheard != nil {
			return unheard
		}
		if !ok {
			return err
		}

		at, by = next, 0
	}
}

// remember keeps where a daemon was found.
func (s *Sender) remember(id identity.EntityID, at identity.NodeID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.found) >= mostFound {
		clear(s.found) // it is a cache
	}
	s.found[id] = at
}

// believed is where the receiving daemon is looked for first.
func (s *Sender) believed(id identity.EntityID) identity.NodeID {
	if at, ok := s.locator.Believed(id); ok {
		return at
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if at, ok := s.found[id]; ok {
		return at
	}
	return s.env.Self
}

// another returns a node that was not asked.
func (s *Sender) another(asked map[identity.NodeID]bool) (identity.NodeID, bool) {
	for _, id := range append([]identity.NodeID{s.env.Self}, s.peers.PeerIDs()...) {
		if !asked[id] {
			return id, true
		}
	}
	return 0, false
}

// deliverProven is deliverTo where the node proves that it has the receiving daemon. by
// is the node that said so; 0: none did.
func (d *delivery) deliverProven(ctx context.Context, at, by identity.NodeID, list []channel.Carriage) (taken []channel.Carriage, err error) {
	if d.conn == nil || d.at != at { // where one is open, it was proven
		if err := d.sender.prove(ctx, d.place.To, at, by); err != nil {
			return nil, err
		}
	}

	return d.deliverTo(ctx, at, list)
}

// prove returns nil where the node proves that it has the daemon; *channel.MovedError where
// another does.
func (s *Sender) prove(ctx context.Context, id identity.EntityID, at, by identity.NodeID) error {
	has, _, err := s.locator.Prove(ctx, id, at, by)
	var moved *daemon.MovedError
	switch {
	case errors.As(err, &moved):
		return &channel.MovedError{Node: moved.Node}
	case err == nil && has != at:
		return &channel.MovedError{Node: has}
	}

	return err
}

// deliverTo carries the list to a node, and returns as much of it as is taken there.
func (d *delivery) deliverTo(ctx context.Context, at identity.NodeID, list []channel.Carriage) (taken []channel.Carriage, err error) {
	if d.conn == nil || d.at != at {
		d.hangUp()
		if d.conn, err = d.sender.peers.OpenChannel(ctx, at); err != nil {
			return nil, err
		}
		d.at = at
	}

	if d.shown, err = d.sender.daemons.Credentials(ctx, d.daemon, d.place, d.shown); err != nil {
		return nil, err
	}
	if len(d.shown.Residence) == 0 && at != d.sender.env.Self {
		return nil, fmt.Errorf("daemon %s cannot say who it is to another node: %w", d.daemon.Origin(), identity.ErrReadOnly)
	}

	m := &channel.Carry{Version: channel.Version, From: d.daemon, To: d.place.To, Channel: d.place.Channel, Effects: list,
		Residence: d.shown.Residence, Token: d.shown.Token}
	msg, err := d.exchange(m.Message())
	if err != nil {
		d.hangUp()
		return nil, fmt.Errorf("%w: %w", mesh.ErrUnreachable, err)
	}

	if taken, err = takenOf(list, msg); err != nil {
		d.hangUp()
	}
	return taken, err
}

// exchange sends a message and returns the answer. Both are given answerWait.
func (d *delivery) exchange(m channel.Message) (channel.Message, error) {
	defer time.AfterFunc(answerWait, d.conn.Abort).Stop()
	if err := errors.Join(d.conn.Send(m), d.conn.Flush()); err != nil {
		return nil, err
	}
	return d.conn.Recv()
}

// takenOf returns how much of the list was taken by an answer.
func takenOf(list []channel.Carriage, msg channel.Message) ([]channel.Carriage, error) {
	switch msg := msg.(type) {
	case *channel.Carried:
		n := slices.IndexFunc(list, func(e channel.Carriage) bool { return e.Epoch == msg.Epoch && e.Number == msg.Number })
		if n < 0 {
			return nil, fmt.Errorf("%w: it is said to have taken effect %d", channel.ErrBadMessage, msg.Number)
		}
		return list[:n+1], nil

	case *channel.Moved:
		return nil, &channel.MovedError{Node: msg.Node}
	case *channel.Refused:
		return nil, &channel.Refusal{Code: msg.Code, Text: msg.Text}
	default:
		return nil, fmt.Errorf("%w: a %T in answer to effects", channel.ErrBadMessage, msg)
	}
}

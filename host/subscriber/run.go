package subscriber

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/backoff"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
)

// run keeps the feed going as long as the subscription has members.
func (in *subscription) run(ctx context.Context) {
	tries, moves := streamRetry.Start(), 0
	for ctx.Err() == nil && !in.over() {
		good, err := in.once(ctx)
		var moved *channel.MovedError
		if errors.As(err, &moved) {
			if moves++; moves <= maxMoves {
				continue
			}
		}

		if good {
			tries.Reset()
			moves = 0
		}

		in.disconnected(err)
		if in.over() {
			return
		}
		if err := tries.Wait(ctx, in.kick); err != nil && !errors.Is(err, backoff.ErrStopped) {
			break
		}
	}

	in.disconnected(daemon.ErrShuttingDown)
}

func (in *subscription) over() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.ended
}

// once connects and takes what comes, until the connection ends. good says that
// a member was accepted over it.
func (in *subscription) once(ctx context.Context) (good bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in.mu.Lock()
	at := in.at
	in.mu.Unlock()
	conn, err := in.of.peers.OpenChannel(ctx, at)
	if err == nil {
		defer conn.Abort()
		err = in.send(conn, &channel.Open{Version: channel.Version, Channel: in.key.name})
	}

	if err != nil {
		in.mu.Lock()
		in.at = in.key.publisher // it may have moved on from where it moved to
		in.mu.Unlock()
		return false, err
	}

	in.mu.Lock()
	in.conn, in.next, in.owed = conn, 0, 0
	in.ring, in.bytes = nil, 0
	members := make([]*member, 0, len(in.members))
	for _, m := range in.members {
		members = append(members, m)
	}
	in.mu.Unlock()

	for _, m := range members {
		go in.say(conn, m)
	}

	go in.tick(ctx, conn)
	for {
		msg, err := conn.Recv()
		if err != nil {
			return good, err
		}

		accepted, err := in.take(msg)
		good = good || accepted
		if err != nil {
			return good, err
		}
	}
}

// disconnected tells the members that nothing comes for now, and why.
func (in *subscription) disconnected(err error) {
	var refused *channel.Refusal
	if !errors.As(err, &refused) && !errors.Is(err, mesh.ErrUnknownNode) && !errors.Is(err, mesh.ErrUnreachable) && !errors.Is(err, daemon.ErrShuttingDown) {
		err = fmt.Errorf("%w: %w", mesh.ErrUnreachable, err)
	}

	in.mu.Lock()
	defer in.mu.Unlock()
	in.conn = nil

	for _, m := range in.members {
		m.state, m.err = memberConnecting, err
		if refused != nil {
			m.state = memberRefused
		}
		m.reply(memberAnswer{err: err})
	}

	in.wake()
}

// take handles one message. accepted says that it was a member's acceptance.
func (in *subscription) take(msg channel.Message) (accepted bool, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	switch msg := msg.(type) {
	case *channel.Accepted:
		in.accept(msg)
		accepted = true
	case *channel.Refused:
		why := &channel.Refusal{Code: msg.Code, Text: msg.Text}
		if msg.Entity.IsZero() {
			return false, why
		}
		in.refuse(msg.Entity, why)

	case *channel.Released:
		if m := in.members[msg.Entity]; m != nil && m.leaving {
			m.reply(memberAnswer{})
		}

	case *channel.Events:
		n, _, err := channel.Count(msg.Bytes)
		if err != nil || n == 0 {
			return false, errors.Join(channel.ErrBadMessage, err)
		}
		in.head = max(in.head, msg.Head)
		in.push(ringEntry{msg.First, msg.First + uint64(n) - 1, msg.Bytes})

	case *channel.Gap:
		in.push(ringEntry{msg.From, msg.To, nil})
	case *channel.Moved:
		in.at, in.conn = msg.Node, nil
		return false, &channel.MovedError{Node: msg.Node}
	default:
		return false, fmt.Errorf("%w: a %T on a feed", channel.ErrBadMessage, msg)
	}

	in.wake()
	return accepted, nil
}

// accept makes a member live. It needs in.mu.
func (in *subscription) accept(a *channel.Accepted) {
	m := in.members[a.Entity]
	if m == nil || m.leaving {
		return
	}
	if in.next == 0 {
		in.next = a.Next
	}

	in.head = max(in.head, a.After)
	m.expires = time.Time{}
	if a.Expires != 0 {
		m.expires = time.Unix(a.Expires, 0)
	}

	switch {
	case m.source.IsZero():
		m.source, m.cursor = a.Source, a.After
	case m.source != a.Source && m.begun:
		m.renewed = a
	case m.source != a.Source:
		m.source, m.cursor = a.Source, a.After
	}

	m.state, m.err, m.pause = memberLive, nil, 0
	m.reply(memberAnswer{accepted: a})
}

// refuse makes a member wait before it asks again. It needs in.mu.
func (in *subscription) refuse(id identity.EntityID, why *channel.Refusal) {
	m := in.members[id]
	if m == nil {
		return
	}

	if m.answer != nil && m.begun && m.state == memberLive {
		m.reply(memberAnswer{err: why}) // of another token; the earlier one holds
		return
	}

	m.state, m.err = memberRefused, why
	m.pause = min(max(2*m.pause, refusedFirst), refusedMost)
	m.retry = time.Now().Add(m.pause)
	m.reply(memberAnswer{err: why})
	in.of.env.Logger.Warn("a subscription was refused", "daemon", id.Origin(), "publisher", in.key.publisher, "channel", in.key.name, "error", why)
}

// tick says how far the daemons are, and has those ask again that were refused.
func (in *subscription) tick(ctx context.Context, conn channel.Conn) {
	ticker := time.NewTicker(reportEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.kick:
			if in.over() {
				conn.Abort()
				return
			}
			continue

		case <-ticker.C:
		}

		var again []*member
		report := &channel.Cursors{}
		in.mu.Lock()

		for _, m := range in.members {
			if m.state == memberRefused && !m.leaving && time.Now().After(m.retry) {
				again = append(again, m)
			}

			if m.isDurable() && m.settled > m.reported && len(report.List) < channel.MaxCursors {
				m.reported = m.settled
				report.List = append(report.List, channel.Cursor{Entity: m.entity, Sequence: m.settled})
			}
		}
		in.mu.Unlock()

		for _, m := range again {
			go in.say(conn, m)
		}

		if len(report.List) > 0 {
			if err := in.send(conn, report); err != nil {
				return // the receiver hears of it too
			}
		}
	}
}

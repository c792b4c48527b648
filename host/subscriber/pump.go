package subscriber

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
)

// pump gives the member's daemon its events, in order, until it is no member any
// more.
func (m *member) pump(ctx context.Context) {
	tries := streamRetry.Start()
	for ctx.Err() == nil {
		step, wait := m.next()
		if step == nil {
			if wait == nil {
				return
			}

			select {
			case <-wait:
			case <-ctx.Done():
			}

			continue
		}

		err := step(ctx)
		if err == nil {
			tries.Reset()
			continue
		}

		var moved *daemon.MovedError
		if errors.As(err, &moved) {
			return // the migration takes it off the feed
		}

		if final(err) {
			m.in.of.leave(m)
			return
		}

		m.in.mu.Lock()
		m.err = err
		m.in.mu.Unlock()
		if tries.Wait(ctx, nil) != nil {
			return
		}
	}
}

// final reports whether a daemon gets no more events here.
func final(err error) bool {
	return errors.Is(err, daemon.ErrNotFound) || errors.Is(err, daemon.ErrStopped) || errors.Is(err, daemon.ErrShuttingDown) || errors.Is(err, ErrNotSubscribed)
}

// next returns what is to be done next, or else what to wait for; neither where
// it is no member any more.
func (m *member) next() (step func(context.Context) error, wait <-chan struct{}) {
	in := m.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if m.gone || m.lingers {
		return nil, nil
	}
	if a := m.renewed; a != nil {
		return func(ctx context.Context) error { return m.renew(ctx, a) }, nil
	}

	want := m.cursor + 1
	start := in.next
	if len(in.ring) > 0 {
		start = in.ring[0].first
	}

	if m.state != memberLive || in.next == 0 || want >= in.next {
		return nil, in.changed
	}
	if want < start {
		return func(ctx context.Context) error { return m.fetch(ctx, want-1, start-1) }, nil
	}

	lo, hi := 0, len(in.ring)
	for lo < hi {
		if mid := (lo + hi) / 2; in.ring[mid].last < want {
			lo = mid + 1
		} else {
			hi = mid
		}
	}

	e := in.ring[lo]
	return func(ctx context.Context) error { return m.deliver(ctx, e) }, nil
}

// deliver gives the daemon what an entry holds.
func (m *member) deliver(ctx context.Context, e ringEntry) error {
	in := m.in
	var cursor uint64
	var durable func() bool
	var err error
	if e.events == nil {
		cursor, durable, err = in.of.daemons.DeliverGap(ctx, m.entity, m.source, e.last)
	} else {
		cursor, durable, err = in.of.daemons.Deliver(ctx, m.entity, m.source, e.first, e.events)
	}

	if cursor == 0 && err != nil {
		return err
	}

	in.mu.Lock()
	if err == nil && m.state == memberLive {
		m.err = nil
	}

	m.cursor = cursor
	if m.isDurable() || m.settled > cursor {
		m.settled, m.durable = cursor, durable
	}

	room, conn := in.consumed(), in.conn
	in.mu.Unlock()
	if room > 0 && conn != nil {
		if err := in.send(conn, &channel.Window{Bytes: uint64(room)}); err != nil {
			in.of.env.Logger.Debug("a channel's connection broke", "channel", in.key.name, "error", err)
		}
	}

	return err
}

// renew goes on with a channel that was made anew.
func (m *member) renew(ctx context.Context, a *channel.Accepted) error {
	if err := m.in.of.daemons.Rebind(ctx, m.entity, m.source, a); err != nil {
		return err
	}
	m.in.mu.Lock()
	defer m.in.mu.Unlock()
	m.source, m.cursor, m.renewed = a.Source, a.After, nil
	m.reported, m.settled, m.durable = 0, 0, nil
	return nil
}

// fetch gets the events that the ring has not.
func (m *member) fetch(ctx context.Context, after, until uint64) error {
	in := m.in
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	in.mu.Lock()
	at := in.at
	in.mu.Unlock()
	conn, err := in.of.peers.OpenChannel(ctx, at)
	if err != nil {
		return err
	}

	defer conn.Abort()
	if err := errors.Join(conn.Send(&channel.Fetch{Version: channel.Version, Channel: in.key.name, Entity: m.entity, After: after, Until: until}), conn.Flush()); err != nil {
		return err
	}

	for {
		msg, err := conn.Recv()
		if err != nil {
			return err
		}

		e := ringEntry{}
		switch msg := msg.(type) {
		case *channel.Events:
			n, _, err := channel.Count(msg.Bytes)
			if err != nil || n == 0 {
				return errors.Join(channel.ErrBadMessage, err)
			}
			e = ringEntry{msg.First, msg.First + uint64(n) - 1, msg.Bytes}

		case *channel.Gap:
			e = ringEntry{msg.From, msg.To, nil}
		case *channel.Released:
			in.mu.Lock()
			stuck := m.cursor < until && m.cursor == after
			in.mu.Unlock()
			if stuck {
				return fmt.Errorf("%w: nothing came of events %d to %d", channel.ErrOther, after+1, until)
			}
			return nil

		case *channel.Refused:
			return &channel.Refusal{Code: msg.Code, Text: msg.Text}
		default:
			return fmt.Errorf("%w: a %T in answer to a fetch", channel.ErrBadMessage, msg)
		}

		if err := m.deliverAll(ctx, e); err != nil {
			return err
		}
	}
}

// deliverAll is deliver until the daemon has all of the entry, or nothing of it is
// new to it.
func (m *member) deliverAll(ctx context.Context, e ringEntry) error {
	for {
		before := m.at()
		if err := m.deliver(ctx, e); err != nil {
			return err
		}
		if at := m.at(); at >= e.last || at == before {
			return nil
		}
	}
}

// at returns the last event that the daemon has.
func (m *member) at() uint64 {
	m.in.mu.Lock()
	defer m.in.mu.Unlock()
	return m.cursor
}

// isDurable reports whether settled is. It needs the subscription's lock.
func (m *member) isDurable() bool { return m.durable == nil || m.durable() }

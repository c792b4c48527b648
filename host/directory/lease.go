package directory

import (
	"context"
	"errors"
	"time"

	"wasmhost.example/identity"
)

// held is for how much of a lease its node holds it.
func held(ttl time.Duration) time.Duration { return ttl - ttl/8 }

// seen is another node's session as it was seen last.
type seen struct {
	node    Node
	session int64
	beat    int64
	at      time.Duration // when the beat was seen, or the engine was away until
}

// register asks for a session. One of an earlier life is waited for.
func (m *Member) register(ctx context.Context) error {
	var old int64 // beat of an earlier life, and since when it is the same
	var since time.Duration
	for {
		ask, done := m.ask(ctx)
		life, session, err := m.engine.Get(ask, sessionKey(m.id))
		var beat int64
		if err == nil {
			_, beat, err = m.engine.Get(ask, beatKey(m.id))
		}

		done()
		if err != nil {
			return err
		}

		now := m.clock.Now()
		ours := session != 0 && string(life) == string(m.life)
		if session == 0 || ours || beat == old && old != 0 && now-since >= m.self.TTL {
			return m.begin(ctx, session, beat)
		}
		if beat != old {
			if old != 0 {
				m.logger.Error("another process runs as this node", "node", m.id)
			}
			old, since = beat, now
		}

		m.pause(ctx, m.self.TTL/8)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func (m *Member) begin(ctx context.Context, session, beat int64) error {
	record, err := m.self.encode()
	if err != nil {
		return err
	}

	ask, done := m.ask(ctx)
	defer done()
	sent := m.clock.Now()
	revision, err := m.engine.Commit(ask, []Condition{{sessionKey(m.id), session}, {beatKey(m.id), beat}, {removedKey(m.id), 0}},
		[]Write{{sessionKey(m.id), m.life}, {memberKey(m.id), record}, {beatKey(m.id), record}})
	if errors.Is(err, ErrConflict) {
		err = errors.Join(err, m.removed(ctx))
	}

	if err != nil {
		return err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	m.session++
	m.revision, m.beat, m.lastErr = revision, revision, nil
	m.extend(sent)
	return nil
}

// extend makes the lease run from a moment on. It needs m.mu.
func (m *Member) extend(sent time.Duration) {
	m.until = max(m.until, sent+held(m.self.TTL))
	now := m.clock.Now()

	// While the engine answers nobody, others could not beat either: their silence
	// until now says little.
	if now-m.beaten > m.self.TTL/2 {
		for _, s := range m.nodes {
			s.at = max(s.at, now-s.node.TTL/2)
		}
	}

	m.beaten = now
}

// beats keeps the session up until it is gone or ctx ends.
func (m *Member) beats(ctx context.Context, o Observer) {
	record, err := m.self.encode()
	if err != nil {
		m.note(err)
		return
	}

	pause := m.self.TTL / 5
	for {
		m.pause(ctx, pause)
		if ctx.Err() != nil {
			return
		}

		pause = m.self.TTL / 5
		m.mu.Lock()
		session := m.revision
		m.mu.Unlock()
		ask, done := m.ask(ctx)
		sent := m.clock.Now()
		revision, err := m.engine.Commit(ask, []Condition{{sessionKey(m.id), session}}, []Write{{beatKey(m.id), record}})
		done()
		m.note(err)
		if errors.Is(err, ErrConflict) {
			m.logger.Error("this node's session is over: others may answer for its daemons", "node", m.id)
			m.mu.Lock()
			m.revision, m.until = 0, 0
			m.mu.Unlock()
			m.tellLease(o)
			return
		}

		if err != nil {
			pause = m.self.TTL / 16
			continue
		}

		m.mu.Lock()
		m.beat = revision
		m.extend(sent)
		m.mu.Unlock()
		m.tellLease(o)
	}
}

// watchLease tells when the lease ends by itself.
func (m *Member) watchLease(ctx context.Context, o Observer) {
	for ctx.Err() == nil {
		m.pause(ctx, m.self.TTL/16)
		m.tellLease(o)
	}
}

func (m *Member) tellLease(o Observer) {
	m.telling.Lock()
	defer m.telling.Unlock()
	_, holds := m.Lease()
	if m.told == holds {
		return
	}
	m.told = holds
	o.LeaseChanged(holds)
}

// watchOthers removes the sessions of nodes that are silent for their lease.
func (m *Member) watchOthers(ctx context.Context) {
	for ctx.Err() == nil {
		m.pause(ctx, m.self.TTL/16)
		for id, s := range m.silent() {
			m.evict(ctx, id, s)
		}
	}
}

// silent returns the nodes whose lease has ended; none while this node's own
// does not hold.
func (m *Member) silent() map[identity.NodeID]seen {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.clock.Now()
	if m.revision == 0 || now >= m.until {
		return nil
	}

	out := make(map[identity.NodeID]seen)
	for id, s := range m.nodes {
		if id != m.id && s.session != 0 && s.beat != 0 && now-s.at >= s.node.TTL {
			out[id] = *s
		}
	}

	return out
}

func (m *Member) evict(ctx context.Context, id identity.NodeID, s seen) {
	m.mu.Lock()
	own := m.revision
	m.mu.Unlock()
	ask, done := m.ask(ctx)
	defer done()
	_, err := m.engine.Commit(ask, []Condition{{sessionKey(m.id), own}, {sessionKey(id), s.session}, {beatKey(id), s.beat}},
		[]Write{{Key: sessionKey(id)}, {Key: beatKey(id)}})

	switch {
	case err == nil:
		m.logger.Warn("a node's lease has ended", "node", id, "name", s.node.Name)
	case errors.Is(err, ErrConflict): // another was faster, or it spoke
	default:
		m.note(err)
	}
}

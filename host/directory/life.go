package directory

import (
	"context"

	"wasmhost.example/identity"
)

// Life returns what the node said of its process last, nil: nothing, and the revision
// of that.
func (m *Member) Life(ctx context.Context) ([]byte, int64, error) {
	ask, done := m.ask(ctx)
	defer done()
	return m.engine.Get(ask, lifeKey(m.id))
}

// SetLife says life, of at most 64 bytes, of the node's process, where what was said
// before has the revision. It returns the new revision. ErrConflict, ErrNoSession.
func (m *Member) SetLife(ctx context.Context, life []byte, revision int64) (int64, error) {
	m.mu.Lock()
	session := m.revision
	m.mu.Unlock()
	if session == 0 {
		return 0, ErrNoSession
	}

	ask, done := m.ask(ctx)
	defer done()
	return m.engine.Commit(ask, []Condition{{sessionKey(m.id), session}, {lifeKey(m.id), revision}}, []Write{{lifeKey(m.id), life}})
}

// Knows reports whether the node is a member: it was not removed.
func (m *Member) Knows(id identity.NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, ok := m.members[id]
	return ok
}

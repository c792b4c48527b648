package directory

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Grant is what a node was granted when it was let into the cluster: every member trusts
// it with these rights, and with no more, until its operator says otherwise.
type Grant struct {
	Key    identity.EntityID
	Rights uint8
	By     identity.NodeID // the member that let it in
}

type grantRecord struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Key     identity.EntityID
	Rights  uint8
	By      identity.NodeID
}

func grantedKey(id identity.NodeID) string { return "granted/" + id.String() }

func (g *Grant) encode() ([]byte, error) {
	return canon.Marshal(&grantRecord{Version: recordVersion, Key: g.Key, Rights: g.Rights, By: g.By})
}

func decodeGrant(b []byte) (Grant, error) {
	var r grantRecord
	if err := canon.Unmarshal(b, &r); err != nil {
		return Grant{}, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	if r.Version != recordVersion || r.Key.IsZero() {
		return Grant{}, fmt.Errorf("%w: version %d of a grant", ErrBadRecord, r.Version)
	}
	return Grant{Key: r.Key, Rights: r.Rights, By: r.By}, nil
}

// SetGrant records what a node is granted. With onlyNew it leaves a grant that is there.
// ErrRemoved if the node was removed and not let in since.
func SetGrant(ctx context.Context, e Engine, g Grant, onlyNew bool) error {
	if _, revision, err := e.Get(ctx, removedKey(g.Key.Node())); err != nil {
		return err
	} else if revision != 0 {
		return ErrRemoved
	}

	value, err := g.encode()
	if err != nil {
		return err
	}

	conditions := []Condition{{removedKey(g.Key.Node()), 0}}
	if onlyNew {
		conditions = append(conditions, Condition{grantedKey(g.Key.Node()), 0})
	}

	_, err = e.Commit(ctx, conditions, []Write{{grantedKey(g.Key.Node()), value}})
	if onlyNew && errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// IsMember asks the engine whether a node is a member. ErrRemoved if it was removed.
func IsMember(ctx context.Context, e Engine, key identity.EntityID) (bool, error) {
	if _, revision, err := e.Get(ctx, removedKey(key.Node())); err != nil {
		return false, err
	} else if revision != 0 {
		return false, ErrRemoved
	}

	b, revision, err := e.Get(ctx, memberKey(key.Node()))
	if err != nil || revision == 0 {
		return false, err
	}

	n, err := decodeNode(b)
	return err == nil && n.Key == key, err
}

// Granted returns what a node was granted, as was heard last.
func (m *Member) Granted(id identity.NodeID) (Grant, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g, ok := m.grants[id]
	return g, ok
}

// seeGrant takes in a grant, or the end of one.
func (m *Member) seeGrant(id identity.NodeID, c *Change) {
	if c.Value == nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.grants, id)
		return
	}

	g, err := decodeGrant(c.Value)
	if err != nil || g.Key.Node() != id {
		m.logger.Error("the directory's record of what a node was granted", "node", id, "error", errors.Join(err, ErrBadRecord))
		return
	}

	m.mu.Lock()
	m.grants[id] = g
	m.mu.Unlock()
	if m.granted != nil && id != m.id {
		m.granted(g)
	}
}

// isMember reports whether the node of that key is a member, as was heard last.
func (m *Member) isMember(key identity.EntityID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, ok := m.members[key.Node()]
	return ok && n.Key == key
}

// sawSilent reports whether this node has itself seen no beat after that one for the
// whole lease of the session.
func (m *Member) sawSilent(id identity.NodeID, session, beat int64) bool {
	s, ok := m.silent()[id]
	return ok && s.session == session && s.beat == beat
}

// owns is how many daemons a node has, as was heard last.
func (m *Member) owns(id identity.NodeID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.owned[id]
}

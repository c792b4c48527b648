package directory

import (
	"context"
	"errors"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// The name of a group is one node's in the whole cluster: its keeper's, who makes it
// known by a transaction before the group has members.
//
//	the key of the name         | a node makes a group of it | its keeper removes the group
//	not there                   | is written                 | stays so
//	says this node              | stays so                   | is removed
//	says another                | refused: GroupTakenError   | stays so
//	says a node that is removed | is written anew            | stays so

// GroupTakenError says that another node of the cluster keeps a group of the name.
type GroupTakenError struct {
	Name   string
	Keeper identity.NodeID
}

func (e *GroupTakenError) Error() string {
	return fmt.Sprintf("node %s keeps a group named %q", e.Keeper, e.Name)
}

// MaxGroups is how many groups' names a node without a vote may have in the directory.
const MaxGroups = 1 << 12

func groupKey(name string) string { return "group/" + name }

type groupRecord struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Keeper  identity.NodeID
}

func encodeGroup(keeper identity.NodeID) ([]byte, error) {
	return canon.Marshal(&groupRecord{Version: recordVersion, Keeper: keeper})
}

func decodeGroup(b []byte) (identity.NodeID, error) {
	var r groupRecord
	if err := canon.Unmarshal(b, &r); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	if r.Version != recordVersion || r.Keeper == 0 {
		return 0, fmt.Errorf("%w: version %d of who keeps a group", ErrBadRecord, r.Version)
	}
	return r.Keeper, nil
}

// ClaimGroup makes a group's name this node's. *GroupTakenError; ErrNoSession. After any
// other error whether it was made is not known; it is made again then.
func (m *Member) ClaimGroup(ctx context.Context, name string) error {
	value, err := encodeGroup(m.id)
	if err != nil {
		return err
	}

	var at int64 // nobody keeps it, in most cases
	var also []Condition
	for {
		err := m.writeGroup(ctx, Write{groupKey(name), value}, at, also...)
		if !errors.Is(err, ErrConflict) {
			return err
		}

		keeper, revision, err := m.groupKeeper(ctx, name)
		switch {
		case err != nil:
			return err
		case revision != 0 && keeper == m.id:
			return nil
		case revision == 0 && at == 0:
			return fmt.Errorf("%w: the name of group %q", ErrConflict, name) // it is the session
		case revision == 0:
			at, also = 0, nil
			continue
		}

		removed, err := m.revisionOf(ctx, removedKey(keeper))
		if err != nil {
			return err
		}
		if removed == 0 {
			return &GroupTakenError{Name: name, Keeper: keeper}
		}
		if at == revision {
			return fmt.Errorf("%w: the name of group %q", ErrConflict, name)
		}

		at, also = revision, []Condition{{removedKey(keeper), removed}}
	}
}

// ReleaseGroup makes a group's name nobody's, if it is this node's.
func (m *Member) ReleaseGroup(ctx context.Context, name string) error {
	keeper, revision, err := m.groupKeeper(ctx, name)
	if err != nil || revision == 0 || keeper != m.id {
		return err
	}
	return m.writeGroup(ctx, Write{Key: groupKey(name)}, revision)
}

// Keeps returns the names of the groups that a node keeps, in no order, as the directory
// was heard last.
func (m *Member) Keeps(node identity.NodeID) (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, keeper := range m.groups {
		if keeper == node {
			names = append(names, name)
		}
	}
	return names
}

func (m *Member) writeGroup(ctx context.Context, w Write, at int64, also ...Condition) error {
	m.mu.Lock()
	session := m.revision
	m.mu.Unlock()
	if session == 0 {
		return ErrNoSession
	}

	ask, done := m.ask(ctx)
	defer done()
	_, err := m.engine.Commit(ask, append([]Condition{{sessionKey(m.id), session}, {w.Key, at}}, also...), []Write{w})
	return err
}

func (m *Member) groupKeeper(ctx context.Context, name string) (identity.NodeID, int64, error) {
	ask, done := m.ask(ctx)
	defer done()
	b, revision, err := m.engine.Get(ask, groupKey(name))
	if err != nil || revision == 0 {
		return 0, 0, err
	}
	keeper, err := decodeGroup(b)
	return keeper, revision, err
}

func (m *Member) revisionOf(ctx context.Context, key string) (int64, error) {
	ask, done := m.ask(ctx)
	defer done()
	_, revision, err := m.engine.Get(ask, key)
	return revision, err
}

func (m *Member) seeGroup(name string, c *Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c.Value == nil {
		delete(m.groups, name)
		return
	}

	keeper, err := decodeGroup(c.Value)
	if err != nil {
		m.logger.Error("the directory's record of who keeps a group", "group", name, "error", err)
		return
	}

	m.groups[name] = keeper
}

// judgeGroup returns why a node may not write who keeps a group.
func (g *Guard) judgeGroup(ctx context.Context, t *transaction, key, name string) error {
	at, asked := t.asks[key]
	switch {
	case !t.only(key):
		return t.deny("no transaction of the directory writes %v", t.order)
	case !t.hasSession():
		return t.deny("it writes %q without asking for its session", key)
	case !asked:
		return t.deny("it writes %q without asking for a revision", key)
	}

	b, revision, err := g.engine.Get(ctx, key)
	if err != nil {
		return g.engineError(err)
	}
	if revision != at {
		return fmt.Errorf("%w: the name of group %q", ErrConflict, name)
	}

	var before identity.NodeID
	if revision != 0 {
		if before, err = decodeGroup(b); err != nil {
			return g.engineError(err)
		}
	}

	if !t.sets(key) {
		if before != t.self {
			return t.deny("it removes the name of group %q, which node %s keeps", name, before)
		}
		return nil
	}

	if keeper, err := decodeGroup(t.writes[key]); err != nil || keeper != t.self {
		return fmt.Errorf("%w: it makes group %q known as node %s's: %w", ErrDenied, name, keeper, errors.Join(err, ErrBadRecord))
	}
	if before != 0 && before != t.self && t.asks[removedKey(before)] == 0 {
		return t.deny("it takes the name of group %q, which node %s keeps", name, before)
	}
	if v := g.view.Load(); v != nil && before != t.self && len(v.Keeps(t.self)) >= MaxGroups {
		return t.deny("it keeps %d groups, the limit is %d", MaxGroups, MaxGroups)
	}

	return nil
}

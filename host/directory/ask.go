package directory

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"wasmhost.example/identity"
)

// ErrNoSession says that a node is no member at the moment: it may change nothing.
var ErrNoSession = errors.New("this node has no session with the cluster's directory")

// ErrNotListed says that the directory knows nothing of a daemon.
var ErrNotListed = errors.New("the directory does not know the daemon")

// Put makes d what the directory says of the daemon, where it says old by now, an
// entry of revision 0 being none, and leaves who has its name; of a new owner it is the
// old owner's hand that makes it. ErrConflict: it says otherwise. After any other error,
// whether it was made is not known, and Read tells.
func (m *Member) Put(ctx context.Context, old Entry, d Daemon) (Entry, error) {
	return m.put(ctx, old, &d, nil)
}

// TakeOver makes this node the daemon's owner where its owner has no session.
// ErrConflict as for Put.
func (m *Member) TakeOver(ctx context.Context, old Entry) (Entry, error) {
	if !old.InSync(m.id) {
		return Entry{}, fmt.Errorf("%w: node %s is not in sync with daemon %s", ErrConflict, m.id, old.Entity.Origin())
	}
	d := old.Daemon.Without(m.id)
	d.Owner, d.Epoch = m.id, old.Epoch+1
	return m.put(ctx, old, &d, []Condition{{sessionKey(old.Owner), 0}})
}

func (m *Member) put(ctx context.Context, old Entry, d *Daemon, also []Condition, writes ...Write) (Entry, error) {
	m.mu.Lock()
	session := m.revision
	m.mu.Unlock()
	if session == 0 {
		return Entry{}, ErrNoSession
	}

	w := Write{}
	if d == nil {
		w.Key = daemonKey(old.Entity)
	} else {
		b, err := d.encode()
		if err != nil {
			return Entry{}, err
		}
		w = Write{daemonKey(d.Entity), b}
	}

	ask, done := m.ask(ctx)
	defer done()
	revision, err := m.engine.Commit(ask, append([]Condition{{sessionKey(m.id), session}, {w.Key, old.Revision}}, also...), append([]Write{w}, writes...))
	if err != nil {
		return Entry{}, err
	}
	if d == nil {
		return Entry{}, nil
	}

	return Entry{*d, revision}, nil
}

// Read asks the engine what it says of a daemon. ErrNotListed where it says
// nothing.
func (m *Member) Read(ctx context.Context, id identity.EntityID) (Entry, error) {
	ask, done := m.ask(ctx)
	defer done()
	b, revision, err := m.engine.Get(ask, daemonKey(id))
	if err != nil {
		return Entry{}, err
	}
	if revision == 0 {
		return Entry{}, fmt.Errorf("%w: %s", ErrNotListed, id.Origin())
	}

	d, err := decodeDaemon(b)
	if err != nil {
		return Entry{}, err
	}
	return Entry{d, revision}, nil
}

// Answers returns nil if the engine answers a read.
func (m *Member) Answers(ctx context.Context) error {
	ask, done := m.ask(ctx)
	defer done()
	_, _, err := m.engine.Get(ask, memberKey(m.id))
	return err
}

// Remove forgets a node that has no session: it gets none until it is let in anew, and
// every member hears of it. ErrConflict where it has one.
func (m *Member) Remove(ctx context.Context, n Node) error {
	record, err := n.encode()
	if err != nil {
		return err
	}

	ask, done := m.ask(ctx)
	defer done()
	_, err = m.engine.Commit(ask, []Condition{{sessionKey(n.ID()), 0}}, []Write{{Key: memberKey(n.ID())}, {Key: grantedKey(n.ID())}, {removedKey(n.ID()), record}})
	if err != nil {
		return err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.members, n.ID()) // who asks here sees it at once; others hear of it
	return nil
}

// LetIn lets a node be a member again that was removed.
func (m *Member) LetIn(ctx context.Context, id identity.NodeID) error {
	ask, done := m.ask(ctx)
	defer done()
	_, err := m.engine.Commit(ask, nil, []Write{{Key: removedKey(id)}})
	return err
}

// ErrRemoved says that this node was removed from its cluster.
var ErrRemoved = errors.New("this node was removed from the cluster: to let it in anew, join one of its nodes with a token")

// removed returns ErrRemoved where this node was.
func (m *Member) removed(ctx context.Context) error {
	ask, done := m.ask(ctx)
	defer done()
	if _, revision, err := m.engine.Get(ask, removedKey(m.id)); err != nil || revision == 0 {
		return err
	}
	return ErrRemoved
}

// Look returns what was heard last of a daemon.
func (m *Member) Look(id identity.EntityID) (Entry, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.daemons[id]
	return e, ok
}

// Daemons returns what was heard last of all daemons, by name.
func (m *Member) Daemons() []Entry {
	m.mu.Lock()
	out := slices.Collect(maps.Values(m.daemons))
	m.mu.Unlock()
	slices.SortFunc(out, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), slices.Compare(a.Entity[:], b.Entity[:]))
	})
	return out
}

// Named returns the daemons of which fn says so, in no order.
func (m *Member) Named(fn func(Entry) bool) (out []Entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.daemons {
		if fn(e) {
			out = append(out, e)
		}
	}
	return out
}

// NodeState is a member and whether it has a session.
type NodeState struct {
	Node
	Here bool
}

// Nodes returns the members, by id.
func (m *Member) Nodes() []NodeState {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []NodeState
	for id, n := range m.members {
		s := m.nodes[id]
		out = append(out, NodeState{n, s != nil && s.session != 0})
	}

	slices.SortFunc(out, func(a, b NodeState) int { return cmp.Compare(a.ID(), b.ID()) })
	return out
}

// Here reports whether a node has a session, as was heard last.
func (m *Member) Here(id identity.NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.nodes[id]
	return s != nil && s.session != 0 && s.node.TTL != 0
}

// Err is what the engine answered last; nil: it works.
func (m *Member) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lastErr
}

// Candidates returns the nodes that are there, but for the owner, in the order
// in which they are to be the daemon's standbys: each node knows the same
// order, and it differs from daemon to daemon.
func (m *Member) Candidates(id identity.EntityID, owner identity.NodeID) []identity.NodeID {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []identity.NodeID
	for n, s := range m.nodes {
		if n != owner && s.session != 0 && s.node.TTL != 0 {
			out = append(out, n)
		}
	}

	rank := func(n identity.NodeID) uint64 {
		h := fnv.New64a()
		h.Write(id[:])
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(n)))
		return h.Sum64()
	}

	slices.SortFunc(out, func(a, b identity.NodeID) int { return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(a, b)) })
	return out
}

// Now is the time of the member's clock.
func (m *Member) Now() time.Duration { return m.clock.Now() }

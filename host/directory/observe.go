package directory

import (
	"context"
	"errors"
	"strings"

	"wasmhost.example/identity"
)

// Observer hears what the directory says. Its methods are called one at a time
// and must not block.
type Observer interface {
	// DaemonChanged tells what is said of a daemon; nil: nothing any more. That nothing
	// is said does not mean that the daemon is no more.
	DaemonChanged(id identity.EntityID, e *Entry)

	// DaemonRemoved tells that a daemon was removed of which the directory says nothing
	// now. The signature is not checked.
	DaemonRemoved(r Removal)

	// NodeCame and NodeGone tell of sessions.
	NodeCame(n Node)
	NodeGone(id identity.NodeID)

	// NodeRemoved tells of a node that was removed: nobody is to trust it any more.
	NodeRemoved(n Node)

	// SessionBegan tells that this node has a session. All that was told by then is
	// at least as new as the session: of what this node owned, what is its own still
	// stays so while the session lasts.
	SessionBegan(session uint64)

	// LeaseChanged tells that the lease has ended, or that it runs again.
	LeaseChanged(held bool)
}

// Left reports whether the node was removed from the cluster, as the directory was heard
// last.
func (m *Member) Left(id identity.NodeID) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left[id]
}

// watch follows the directory for one session.
func (m *Member) watch(ctx context.Context, o Observer) {
	began := false
	for ctx.Err() == nil {
		l := &listing{m: m, o: o, fresh: make(map[string]*Change)}
		err := m.engine.Watch(ctx, "", func(c *Change) {
			l.take(c)
			if l.fresh == nil && !began {
				began = true
				m.mu.Lock()
				session := m.session
				m.mu.Unlock()
				m.telling.Lock()
				o.SessionBegan(session)
				m.telling.Unlock()
				m.tellLease(o)
			}
		})

		if ctx.Err() == nil {
			m.note(err)
			m.pause(ctx, m.self.TTL/16)
		}
	}
}

// listing gathers all keys, and then hands on changes.
type listing struct {
	m     *Member
	o     Observer
	fresh map[string]*Change // nil: all are there
}

func (l *listing) take(c *Change) {
	switch {
	case c == nil:
		fresh := l.fresh
		l.fresh = nil
		l.m.mu.Lock()
		var gone []string
		for id, e := range l.m.daemons {
			if k := daemonKey(e.Entity); fresh[k] == nil {
				gone = append(gone, daemonKey(id))
			}
		}

		for id, s := range l.m.nodes {
			if s.session != 0 && fresh[sessionKey(id)] == nil {
				gone = append(gone, sessionKey(id))
			}
		}

		for id := range l.m.members {
			if fresh[memberKey(id)] == nil {
				gone = append(gone, memberKey(id))
			}
		}

		for id := range l.m.grants {
			if fresh[grantedKey(id)] == nil {
				gone = append(gone, grantedKey(id))
			}
		}

		for id := range l.m.gone {
			if fresh[goneKey(id)] == nil {
				gone = append(gone, goneKey(id))
			}
		}

		for name := range l.m.groups {
			if fresh[groupKey(name)] == nil {
				gone = append(gone, groupKey(name))
			}
		}
		l.m.mu.Unlock()
		for _, k := range gone {
			l.m.see(l.o, &Change{Key: k})
		}

		for turn := range turns {
			for k, c := range fresh {
				if turnOf(k) == turn {
					l.m.see(l.o, c)
				}
			}
		}

	case l.fresh != nil:
		l.fresh[c.Key] = &Change{Key: c.Key, Value: c.Value, Revision: c.Revision}
	default:
		l.m.see(l.o, c)
	}
}

// turnOf returns in which turn a listing's key is taken in: what a node was granted
// before the node itself, and removals once all daemons are known.
func turnOf(key string) int {
	switch {
	case strings.HasPrefix(key, "granted/"):
		return 0
	case strings.HasPrefix(key, "gone/"):
		return 2
	default:
		return 1
	}
}

// see takes one change into what is known, and tells of it.
func (m *Member) see(o Observer, c *Change) {
	kind, name, _ := strings.Cut(c.Key, "/")
	switch kind {
	case "daemon":
		m.seeDaemon(o, name, c)
		return
	case "gone":
		m.seeRemoval(o, name, c)
		return
	case "group":
		m.seeGroup(name, c)
		return
	case "name", "life":
		return // it is asked for when it matters
	}

	id, err := identity.ParseNodeID(name)
	if err != nil {
		m.logger.Warn("the directory holds a key that is none of ours", "key", c.Key)
		return
	}

	switch kind {
	case "removed":
		m.seeRemoved(o, id, c)
		return
	case "granted":
		m.seeGrant(id, c)
		return
	}

	m.mu.Lock()
	s := m.nodes[id]
	if s == nil {
		s = &seen{}
		m.nodes[id] = s
	}

	was := s.session != 0 && s.node.TTL != 0
	switch kind {
	case "session":
		if s.session = c.Revision; c.Value == nil {
			s.session = 0
		}
		s.at = m.clock.Now()
	case "beat", "member":
		n, err := Node{}, error(nil)
		if c.Value != nil {
			if n, err = decodeNode(c.Value); err == nil && n.ID() != id {
				err = ErrBadRecord
			}
		}

		if err != nil {
			m.mu.Unlock()
			m.logger.Error("the directory's record of a node", "node", id, "error", err)
			return
		}

		if kind == "member" {
			if m.members[id] = n; c.Value == nil {
				delete(m.members, id)
			}
			break
		}

		if c.Value == nil {
			s.beat = 0
		} else if c.Revision != s.beat {
			s.node, s.beat, s.at = n, c.Revision, m.clock.Now()
		}
	}

	is, node := s.session != 0 && s.node.TTL != 0, s.node
	if s.session == 0 && s.beat == 0 {
		delete(m.nodes, id)
	}
	m.mu.Unlock()
	if was == is {
		return
	}

	m.telling.Lock()
	defer m.telling.Unlock()
	if is {
		o.NodeCame(node)
	} else {
		o.NodeGone(id)
	}
}

func (m *Member) seeRemoved(o Observer, id identity.NodeID, c *Change) {
	m.mu.Lock()
	if m.left[id] = true; c.Value == nil {
		delete(m.left, id)
	}
	m.mu.Unlock()
	if c.Value == nil {
		return // let in again, it shows by its session
	}

	n, err := decodeNode(c.Value)
	if err != nil || removedKey(n.ID()) != c.Key {
		m.logger.Error("the directory's record of a node that was removed", "key", c.Key, "error", errors.Join(err, ErrBadRecord))
		return
	}

	m.telling.Lock()
	defer m.telling.Unlock()
	o.NodeRemoved(n)
}

func (m *Member) seeDaemon(o Observer, name string, c *Change) {
	id, err := identity.ParseEntityID(name)
	var e *Entry
	if err == nil && c.Value != nil {
		var d Daemon
		if d, err = decodeDaemon(c.Value); err == nil && d.Entity != id {
			err = ErrBadRecord
		}
		e = &Entry{d, c.Revision}
	}

	if err != nil {
		m.logger.Error("the directory's record of a daemon", "key", c.Key, "error", err)
		return
	}

	m.mu.Lock()
	if old, ok := m.daemons[id]; ok && e != nil && old.Revision >= e.Revision {
		m.mu.Unlock()
		return
	}

	m.disown(id)
	if e != nil {
		m.daemons[id] = *e
		m.owned[e.Owner]++
	}
	m.mu.Unlock()
	m.telling.Lock()
	defer m.telling.Unlock()
	o.DaemonChanged(id, e)
}

// disown forgets a daemon. It needs m.mu.
func (m *Member) disown(id identity.EntityID) {
	old, ok := m.daemons[id]
	if !ok {
		return
	}
	delete(m.daemons, id)
	if m.owned[old.Owner]--; m.owned[old.Owner] == 0 {
		delete(m.owned, old.Owner)
	}
}

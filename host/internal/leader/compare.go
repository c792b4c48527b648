package leader

import (
	"context"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
)

// A daemon does not serve before it was compared with its standbys, which the node does. One
// that is not read from the store yet is not looked at: no session knows it as the node's.

const (
	maxComparing = 32 // daemons that are compared with their standbys at a time
	maxUrgent    = 8  // further ones, of those that somebody waits for

	comparePatience = 5 * time.Second // for how long who moves a daemon waits until it was compared
)

// IsUnread reports whether the daemon is not read from the store yet.
func (l *Leader) IsUnread() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unread
}

// Read says that the daemon was read from the store.
func (l *Leader) Read() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unread = false
}

// BeginComparing has the daemon serve in the session, where the entry e names this node its
// owner and no comparison is needed, or reports that the caller is to compare it, and to
// call EndComparing then. epoch is the daemon's; held says that an operator decides first.
func (l *Leader) BeginComparing(e directory.Entry, session, epoch uint64, held bool) bool {
	l.mu.Lock()
	if !l.compared && len(e.Standbys) == 0 && epoch == e.Epoch && !held {
		l.compared = true
	}
	if l.compared && epoch <= e.Epoch {
		l.waits = nil
		l.mu.Unlock()
		l.Verified(e, session)
		return false
	}
	busy := l.comparing || l.over != nil
	l.comparing = l.comparing || !busy
	l.mu.Unlock()

	return !busy
}

// EndComparing lets another comparison begin.
func (l *Leader) EndComparing() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.comparing = false
}

// Compared reports whether the daemon was compared with its standbys.
func (l *Leader) Compared() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.compared
}

// SetCompared says that the daemon was compared with its standbys, or that an operator lets
// it go on without.
func (l *Leader) SetCompared() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.compared, l.waits = true, nil
}

// Settled reports whether the daemon has not to be compared with its standbys any more: it
// was, or is not this node's.
func (l *Leader) Settled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.compared || l.over != nil
}

// Ended reports whether the daemon is not this node's any more.
func (l *Leader) Ended() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.over != nil
}

// awaitCompared waits a while until the daemon was compared with its standbys: what may be
// older than theirs goes nowhere. Where it was not, the error says why it waits.
func (l *Leader) awaitCompared(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, comparePatience)
	defer cancel()

	for !l.Settled() {
		held := l.Holding()
		if held == nil { // it was, since
			return nil
		}
		select {
		case <-held:
		case <-ctx.Done():
			return fmt.Errorf("moving daemon %s, which was not compared with its standbys yet: %w", l.daemon.Entity().Origin(), l.why())
		}
	}
	return nil
}

// why says why the daemon does not serve.
func (l *Leader) why() error {
	if err := l.Waits(); err != nil {
		return err
	}
	if err := l.group.Holding(); err != nil {
		return err
	}
	return daemon.ErrHolding
}

// PlaceToCompare waits for a place, which the caller gives back by done; nil: ctx ended
// before. Daemons that somebody waits for do not wait for all others.
func (l *Leader) PlaceToCompare(ctx context.Context) (done func()) {
	g := l.group
	asked := make(chan struct{})
	l.mu.Lock()
	if l.changed != nil {
		close(asked)
	} else {
		l.asked = asked
	}
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.asked = nil
		l.mu.Unlock()
	}()

	ordinary := func() { <-g.comparisons }
	select {
	case g.comparisons <- struct{}{}:
		return ordinary
	case <-ctx.Done():
		return nil
	case <-asked:
	}
	select {
	case g.comparisons <- struct{}{}:
		return ordinary
	case g.urgent <- struct{}{}:
		return func() { <-g.urgent }
	case <-ctx.Done():
		return nil
	}
}

// Wait shows that the daemon waits, and for whom, unless an operator has let it go on
// meanwhile.
func (l *Leader) Wait(h *daemon.HeldDaemon) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.compared {
		return
	}
	if l.waits != nil {
		h.Since = l.waits.Since
	} else {
		h.Since = l.group.env.Clock()
	}
	h.Name, l.waits = l.daemon.Name(), h
}

// WaitsFor returns for whom the daemon waits; nil: it does not.
func (l *Leader) WaitsFor() *daemon.HeldDaemon {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.waits
}

// Waits is WaitsFor as an error, a *daemon.HeldError.
func (l *Leader) Waits() error {
	if h := l.WaitsFor(); h != nil {
		return &daemon.HeldError{Entity: h.Entity, Reason: h.Reason, Why: h.Why}
	}
	return nil
}

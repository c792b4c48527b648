package host

import "context"

// A daemon of a cluster that is unread is not looked at: no session knows it as this
// node's, so that it does not serve. Once it is read it is held against the directory, and
// compared with its standbys.

const (
	maxComparing = 32 // daemons that are compared with their standbys at a time
	maxUrgent    = 8  // further ones, of those that somebody waits for
)

// wasRead has the daemon looked at, which was not until it was read.
func (c *member) wasRead(d *hosted) {
	l := leaderOf(d)
	if l == nil {
		return
	}
	l.mu.Lock()
	l.unread = false
	l.mu.Unlock()
	l.c.tell(func() {
		l.c.mu.Lock()
		session := l.c.session
		l.c.mu.Unlock()
		if session != 0 { // else the first session has all looked at
			l.c.lookAt(l.d, session)
		}
	})
}

func (l *leader) isUnread() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.unread
}

// placeToCompare waits for a place, which the caller gives back by done; nil: ctx ended
// before. Daemons that somebody waits for do not wait for all others.
func (l *leader) placeToCompare(ctx context.Context) (done func()) {
	c := l.c
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

	ordinary := func() { <-c.comparisons }
	select {
	case c.comparisons <- struct{}{}:
		return ordinary
	case <-ctx.Done():
		return nil
	case <-asked:
	}
	select {
	case c.comparisons <- struct{}{}:
		return ordinary
	case c.urgent <- struct{}{}:
		return func() { <-c.urgent }
	case <-ctx.Done():
		return nil
	}
}

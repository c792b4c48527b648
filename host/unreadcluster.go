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
func (p *replica) wasRead() {
	if p == nil {
		return
	}
	p.mu.Lock()
	p.unread = false
	p.mu.Unlock()
	p.c.tell(func() {
		p.c.mu.Lock()
		session := p.c.session
		p.c.mu.Unlock()
		if session != 0 { // else the first session has all looked at
			p.c.lookAt(p.d, session)
		}
	})
}

func (p *replica) isUnread() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.unread
}

// placeToCompare waits for a place, which the caller gives back by done; nil: ctx ended
// before. Daemons that somebody waits for do not wait for all others.
func (p *replica) placeToCompare(ctx context.Context) (done func()) {
	c := p.c
	asked := make(chan struct{})
	p.mu.Lock()
	if p.changed != nil {
		close(asked)
	} else {
		p.asked = asked
	}
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.asked = nil
		p.mu.Unlock()
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

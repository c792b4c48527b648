package host

import (
	"context"
	"time"
)

// A node that ends in order stores the states of its daemons last of all. Their standbys
// get these before their streams end: whoever goes on, and this node when it is back, has
// what the others have, and nothing is sent again.

// feedPatience is for how long a node that ends waits for standbys.
const feedPatience = 2 * time.Second

// heard says that a standby has more, or is gone.
func (c *member) heard() {
	select {
	case c.fed <- struct{}{}:
	default: // it is said
	}
}

// feedLast waits, for a while, until the standbys that are level have all of the daemons,
// whose states are stored, and ends the streams.
func (c *member) feedLast(ctx context.Context, daemons []*hosted) {
	if c == nil {
		return
	}
	timer := time.NewTimer(feedPatience)
	defer timer.Stop()
	for waits := true; waits; {
		waits = false
		for _, d := range daemons {
			waits = waits || leaderOf(d).feeds()
		}
		if !waits {
			break
		}
		select {
		case <-c.fed:
		case <-timer.C:
			waits = false
		case <-ctx.Done():
			waits = false
		}
	}
	c.mu.Lock()
	c.fedLast = true
	c.mu.Unlock()
	c.endFeed()
	c.feeds.Wait()
}

// feeds reports whether a standby that had all is about to have what came since.
func (l *leader) feeds() bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.follows {
		if f.open && f.level && f.held < f.number {
			return true
		}
	}
	return false
}

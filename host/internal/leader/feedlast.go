package leader

import (
	"context"
	"time"
)

// A node that ends in order stores the states of its daemons last of all. Their standbys
// get these before their streams end: whoever goes on, and this node when it is back, has
// what the others have, and nothing is sent again.

// feedPatience is for how long a node that ends waits for standbys.
const feedPatience = 2 * time.Second

// FeedLast waits, for a while, until the standbys that are level have all of the leaders'
// daemons, whose states are stored, and ends the streams. Nothing follows any daemon then.
func (g *Group) FeedLast(ctx context.Context, leaders []*Leader) {
	timer := time.NewTimer(feedPatience)
	defer timer.Stop()

	for waits := true; waits; {
		waits = false
		for _, l := range leaders {
			waits = waits || l.feeds()
		}
		if !waits {
			break
		}
		select {
		case <-g.fed:
		case <-timer.C:
			waits = false
		case <-ctx.Done():
			waits = false
		}
	}

	g.mu.Lock()
	g.fedLast = true
	g.mu.Unlock()
	g.endFeed()
	g.feeds.Wait()
}

// heard says that a standby has more, or is gone.
func (g *Group) heard() {
	select {
	case g.fed <- struct{}{}:
	default: // it is said
	}
}

// feeds reports whether a standby that had all is about to have what came since.
func (l *Leader) feeds() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.follows {
		if f.open && f.level && f.held < f.number {
			return true
		}
	}
	return false
}

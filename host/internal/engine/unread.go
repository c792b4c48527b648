package engine

import (
	"slices"

	"wasmhost.example/host/internal/lock"
)

// Unread is what is left to be read.
type Unread struct {
	mu     lock.Mutex[lock.Leaf]
	rest   []*Daemon // in order; some have been read meanwhile
	wanted []*Daemon // before those
}

// want has a daemon read next that somebody waits for.
func (d *Daemon) want() {
	if !d.unread.Load() {
		return
	}
	g := d.node.Unread
	g.mu.Lock()
	defer g.mu.Unlock()
	if !d.wanted {
		d.wanted = true
		g.wanted = append(g.wanted, d)
	}
}

// Add has a daemon read after all others. Nobody asks yet.
func (g *Unread) Add(d *Daemon) { g.rest = append(g.rest, d) }

// Queue returns the daemons that are still to be read, in order: those that somebody waits
// for, and the rest. Some have been read meanwhile.
func (g *Unread) Queue() (wanted, rest []*Daemon) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.wanted), slices.Clone(g.rest)
}

// Next returns the daemon to be read now, which is the caller's; nil: there is none.
func (g *Unread) Next() *Daemon {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, list := range []*[]*Daemon{&g.wanted, &g.rest} {
		for len(*list) > 0 {
			d := (*list)[0]
			(*list)[0], *list = nil, (*list)[1:]
			if d.unread.CompareAndSwap(true, false) {
				return d
			}
		}
	}
	return nil
}

package engine

import (
	"wasmhost.example/host/daemon"
)

// bounds are the limits of one daemon. They do not change: others take their place.
type bounds struct {
	own daemon.Limits // of the daemon's own, as they were given: they travel with it
	all daemon.Limits // that hold
}

// BoundsOf makes the bounds of a daemon on a node with such limits.
func BoundsOf(own, node daemon.Limits) *bounds {
	return &bounds{own: own, all: own.Over(node).Storable()}
}

// Limits returns what bounds the daemon. The caller changes nothing of it.
func (d *Daemon) Limits() *daemon.Limits { return &d.bounds.Load().all }

// OwnLimits returns those limits that are the daemon's own.
func (d *Daemon) OwnLimits() daemon.Limits { return d.bounds.Load().own }

// LimitTo gives the daemon limits of its own. It needs d.mu, or d is not in the
// tables yet. Code that there is already does not hear of them.
func (x Making) LimitTo(own daemon.Limits) {
	d := x.d
	b := d.node.Plain // most daemons have none
	if own != (daemon.Limits{}) {
		b = BoundsOf(own, d.env.Limits)
	}
	d.bounds.Store(b)
	d.share.Limit(internalRate(&b.all))
}

// limited is a Daemon whose limits can change while it is there. limit is called as its
// other methods are, one at a time.
type limited interface{ Limit(daemon.Limits) error }

// SetLimits gives the daemon limits of its own, by name, as they were stored or sent.
func (x Making) SetLimits(own map[string]int64) error {
	l, err := daemon.StoredLimits(own)
	if err != nil {
		return err
	}
	x.LimitTo(l)
	return nil
}

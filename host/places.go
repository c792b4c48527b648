package host

import (
	"fmt"
	"time"

	"wasmhost/host/daemon"
	"wasmhost/identity"
)

// What a daemon remembers of senders is bounded (Limits.Senders), and shared out: no
// peer and no API token can fill it for the others. The lanes of nodes, which number the
// events that nobody else numbers, have places of their own.

// Shares of Limits.Senders, and the places of lanes.
const (
	shareOfOne = 8 // one peer or token has at most 1/8
	shareOfAll = 2 // all of them together have at most 1/2
	lanePlaces = 4096
)

// SenderMemory is for how long the node's daemons remember a silent sender once they
// remember as many as they may.
func (r *Runtime) SenderMemory() time.Duration { return r.limits.SenderMemory }

func shareOf(limit, part int) int { return max(1, limit/part) }

// counts are the places that are taken by senders of scopes.
type counts struct {
	byScope map[identity.SenderScope]int
	all     int // but those of lanes
}

func (c *counts) add(sender identity.EntityID, n int) {
	scope, ok := sender.Scope()
	if !ok {
		return
	}
	if c.byScope == nil {
		c.byScope = make(map[identity.SenderScope]int)
	}
	if scope != identity.LaneScope {
		c.all += n
	}
	if c.byScope[scope] += n; c.byScope[scope] <= 0 {
		delete(c.byScope, scope)
	}
}

// lanes is how many places lanes have.
func (c *counts) lanes() int { return c.byScope[identity.LaneScope] }

// room returns nil if the sender's scope, if it has one, may have another place.
func (c *counts) room(sender identity.EntityID, limit int) error {
	scope, ok := sender.Scope()
	if !ok {
		return nil
	}
	if scope == identity.LaneScope {
		if c.lanes() >= lanePlaces {
			return fmt.Errorf("%w: %d without an id", daemon.ErrHorizonFull, lanePlaces)
		}
		return nil
	}
	if most := shareOf(limit, shareOfOne); c.byScope[scope] >= most {
		return fmt.Errorf("%w: %d", daemon.ErrSenderQuota, most)
	}
	if most := shareOf(limit, shareOfAll); c.all >= most {
		return fmt.Errorf("%w: %d of all peers and tokens together", daemon.ErrSenderQuota, most)
	}
	return nil
}

// viaPeers counts the places that peers took, whomever they named as the sender: a peer
// with the right to operate may name any, and any peer has daemons that send. It is not
// stored: it begins at 0 when the daemon is loaded, and again after each SenderMemory.
type viaPeers struct {
	since int64 // Unix nanoseconds
	taken map[identity.NodeID]int
}

// room returns nil if the peer may take another place.
func (v *viaPeers) room(peer identity.NodeID, limit int, at int64, memory time.Duration) error {
	if peer == 0 {
		return nil
	}
	if at-v.since > int64(memory) {
		v.since, v.taken = at, nil
	}
	if most := shareOf(limit, shareOfOne); v.taken[peer] >= most {
		return fmt.Errorf("%w: %d", daemon.ErrSenderQuota, most)
	}
	return nil
}

// take counts a place that the peer took.
func (v *viaPeers) take(peer identity.NodeID) {
	if peer == 0 {
		return
	}
	if v.taken == nil {
		v.taken = make(map[identity.NodeID]int)
	}
	v.taken[peer]++
}

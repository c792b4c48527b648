package snapshot

import (
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// Shares of Limits.Senders, and the places of lanes.
const (
	shareOfOne = 8 // one peer or token has at most 1/8
	shareOfAll = 2 // all of them together have at most 1/2
	lanePlaces = 4096
)

func shareOf(limit, part int) int { return max(1, limit/part) }

// places are those that are taken by senders of scopes.
type places struct {
	byScope map[identity.SenderScope]int
	all     int // but those of lanes
}

func (c *places) add(sender identity.EntityID, n int) {
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
func (c *places) lanes() int { return c.byScope[identity.LaneScope] }

// Room returns nil if the sender's scope, if it has one, may have another place.
func (c *places) room(sender identity.EntityID, limit int) error {
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

// PeerPlaces counts the places that peers took, whomever they named as the sender: a peer
// with the right to operate may name any, and any peer has daemons that send. It is not
// stored: it begins at 0 when the daemon is loaded, and again after each SenderMemory.
type PeerPlaces struct {
	since int64 // Unix nanoseconds
	taken map[identity.NodeID]int
}

// Room returns nil if the peer may take another place.
func (v *PeerPlaces) Room(peer identity.NodeID, limit int, at int64, memory time.Duration) error {
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

// Take counts a place that the peer took.
func (v *PeerPlaces) Take(peer identity.NodeID) {
	if peer == 0 {
		return
	}
	if v.taken == nil {
		v.taken = make(map[identity.NodeID]int)
	}
	v.taken[peer]++
}

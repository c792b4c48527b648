package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"wasmhost.example/identity"
)

// Balance evens out what nodes have, one daemon after another. The zero Balance has
// its defaults. It moves no daemon to and fro between two nodes: a move is made where one
// node has clearly more than another, and of no more than a quarter of the difference, so
// that the other one does not come to have more; and what has just come stays.
type Balance struct {
	Gap  float64       // by how much of its memory, as a share, a node must use more than another; 0: DefaultGap
	Rest time.Duration // a daemon that came so short a time ago stays
}

// DefaultGap is a fifth of a node's memory.
const DefaultGap = 0.2

// Of daemons a node must have so many more than another, or such a share more,
// whatever their memory.
const (
	moreDaemons = 10
	moreShare   = 0.25
)

// A node whose load is higher by this gets nothing.
const moreLoad = 0.25

// Daemon is one that may move.
type Daemon struct {
	Entity identity.EntityID
	Name   string
	Kind   string
	Memory int64         // bytes
	Here   time.Duration // for how long it has been on the node
}

// Move is one that evens something out.
type Move struct {
	Daemon Daemon
	To     Node
	Reason string
}

// Moves returns the moves off a node that would even out most, the best first, one for
// each kind of daemon and each node that it may go to; none where the nodes are even enough. Only nodes that have all
// tags of this one are considered, for a daemon may be here for the sake of them. Each
// is for what the nodes have now: after one, they are to be asked again.
func (b Balance) Moves(self Node, others []Node, daemons []Daemon) []Move {
	type way struct {
		to          Node
		memory      bool    // it is memory that is to be even, else the number of daemons
		by          float64 // which of that this node has more, as a share
		least, most int64   // bytes that the daemon may have
		reason      string
	}

	gap := cmp.Or(b.Gap, DefaultGap)
	var ways []way
	for _, o := range others {
		if !takes(self, o) {
			continue
		}

		here, there := used(self), used(o)
		switch more := here - there; {
		case more > gap:
			room := int64(more / 4 * float64(min(self.TotalMemory, o.TotalMemory)))
			ways = append(ways, way{o, true, more, room / 16, min(room, o.FreeMemory), fmt.Sprintf("%.0f %% of memory is used here, %.0f %% there", 100*here, 100*there)})
		case more >= -gap/2 || math.IsNaN(more):
			if n := o.Daemons + max(moreDaemons, int(moreShare*float64(o.Daemons))); self.Daemons > n {
				most := int64(math.MaxInt64)
				if o.TotalMemory > 0 {
					most = o.FreeMemory
				}

				if !math.IsNaN(more) { // else its memory would bring it back
					most = min(most, int64((more+gap/2)/(1/float64(self.TotalMemory)+1/float64(o.TotalMemory))))
				}

				ways = append(ways, way{o, false, 1 - float64(o.Daemons)/float64(self.Daemons), 0, most, fmt.Sprintf("%d daemons are here, %d there", self.Daemons, o.Daemons)})
			}
		}
	}

	slices.SortStableFunc(ways, func(a, b way) int {
		return cmp.Or(boolFirst(a.memory, b.memory), cmp.Compare(b.by, a.by), cmp.Compare(a.to.ID, b.to.ID))
	})
	var out []Move
	seen := make(map[string]bool)

	for _, w := range ways {
		fit := slices.DeleteFunc(slices.Clone(daemons), func(d Daemon) bool { return d.Here < b.Rest || d.Memory < w.least || d.Memory > w.most })
		slices.SortStableFunc(fit, func(a, b Daemon) int {
			byMemory := cmp.Compare(a.Memory, b.Memory) // for the number's sake the least
			if w.memory {
				byMemory = -byMemory
			}
			return cmp.Or(byMemory, cmp.Compare(b.Here, a.Here), slices.Compare(a.Entity[:], b.Entity[:]))
		})

		for _, d := range fit {
			if key := d.Kind + "\x00" + w.to.ID.String(); !seen[key] {
				seen[key] = true
				out = append(out, Move{d, w.to, w.reason})
			}
		}
	}

	return out
}

func boolFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// takes reports whether a node may get daemons of another.
func takes(self, o Node) bool {
	if o.ID == self.ID || o.Refuses != "" || o.Draining || self.Load >= 0 && o.Load > self.Load+moreLoad {
		return false
	}

	for k, v := range self.Tags {
		if o.Tags[k] != v {
			return false
		}
	}
	return true
}

// used is which share of its memory a node uses; NaN: it does not say.
func used(n Node) float64 {
	if n.TotalMemory <= 0 {
		return math.NaN()
	}
	return 1 - clamp(float64(n.FreeMemory)/float64(n.TotalMemory))
}

// Apart reports whether a daemon may move from one node to another as far as those of
// its kind are concerned: Same of both says how many are there. What was spread stays so.
func Apart(from, to Node) bool { return to.Same < from.Same }

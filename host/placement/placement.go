// Package placement decides on which node a daemon should be: from what nodes
// announce of themselves and what the daemon requires. It asks nobody and
// remembers nothing.
package placement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"wasmhost.example/identity"
)

// Capabilities are what a node announces of itself.
type Capabilities struct {
	Tags        map[string]string
	FreeMemory  int64 // bytes that daemons can still take; where TotalMemory is not known, neither is this
	TotalMemory int64 // bytes; 0: not known
	Daemons     int
	Load        float64 // threads that run or want to, for each processor; below 0: not known
	Draining    bool    // it takes no daemons
}

// Node is one candidate.
type Node struct {
	ID   identity.NodeID
	Name string
	Capabilities
	Refuses string // why it cannot be asked, or would not take a daemon; empty: nothing is known against it
	Same    int    // how many daemons are there that this one is to be spread from, or packed with
}

// Requirements are what a daemon needs of a node. The zero Requirements are met
// by every node that takes daemons.
type Requirements struct {
	Tags          map[string]string // that the node must have, with these values
	MinFreeMemory int64             // bytes; a node that does not say what it has meets none but 0
	Memory        int64             // bytes that the daemon takes; a node that does not say what it has may do
	MaxSame       int               // of daemons like it that may be on one node, this one included; 0: any number

	Prefer map[string]string // tags: the more of them a node has the better, before all else

	// Spread names by what daemons like this one are to be kept apart: "node", or
	// the key of a tag. What has the fewest of them comes first. Empty: they are not.
	Spread string

	// Pack takes the node that has the most daemons already, so that others stay
	// free. Together with Spread it decides among those that are spread equally.
	Pack bool

	// Filters are further conditions of the program's own: each returns why the
	// node will not do, as a clause; empty: it has nothing against it. They must
	// answer alike for like nodes, and not block.
	Filters []func(Node) string
}

// SpreadNodes is the Spread that keeps daemons on different nodes.
const SpreadNodes = "node"

// Misses returns which requirements the node does not meet, each as a clause
// such as "tag zone is \"a\", not \"b\""; none when it may take the daemon.
func (r Requirements) Misses(n Node) []string {
	var out []string
	if n.Refuses != "" {
		out = append(out, n.Refuses)
	}

	if n.Draining {
		out = append(out, "it is being drained")
	}

	for _, k := range sortedKeys(r.Tags) {
		switch have, ok := n.Tags[k]; {
		case !ok:
			out = append(out, fmt.Sprintf("it has no tag %s", k))
		case have != r.Tags[k]:
			out = append(out, fmt.Sprintf("tag %s is %q, not %q", k, have, r.Tags[k]))
		}
	}

	unknown := n.TotalMemory <= 0
	switch need := max(r.MinFreeMemory, r.Memory); {
	case unknown && r.MinFreeMemory > 0:
		out = append(out, "it does not say how much memory is free")
	case !unknown && n.FreeMemory < need:
		out = append(out, fmt.Sprintf("%s of memory are free, not %s", size(n.FreeMemory), size(need)))
	}

	if r.MaxSame > 0 && n.Same >= r.MaxSame {
		out = append(out, fmt.Sprintf("it has %d like it, of at most %d", n.Same, r.MaxSame))
	}

	for _, f := range r.Filters {
		if why := f(n); why != "" {
			out = append(out, why)
		}
	}
	return out
}

// How much each part of a score weighs: together 1.
const (
	weightMemory  = 0.4
	weightLoad    = 0.4
	weightDaemons = 0.2
)

// halfDaemons is at how many daemons their part of a score is worth half.
const halfDaemons = 100

// Verdict is what one node is worth for a daemon.
type Verdict struct {
	Node
	Misses  []string // requirements that it does not meet
	Score   float64  // between 0 and 1, higher is better; 0 when it does not fit
	Reasons []string // what decides, heaviest first: preferences, spread, packing, and what the score is made of

	Preferred int // how many of the preferred tags it has
	Near      int // of daemons like it: on the node, or on nodes of the same tag
}

// Fits reports whether the node may take the daemon.
func (v Verdict) Fits() bool { return len(v.Misses) == 0 }

// Score judges one node. More free memory, a lower load, and fewer daemons
// never make it worse.
func (r Requirements) Score(n Node) Verdict {
	v := Verdict{Node: n, Misses: r.Misses(n)}
	if !v.Fits() {
		return v
	}

	for _, k := range sortedKeys(r.Prefer) {
		if n.Tags[k] == r.Prefer[k] {
			v.Preferred++
			v.Reasons = append(v.Reasons, fmt.Sprintf("preferred tag %s=%s", k, n.Tags[k]))
		}
	}

	v.Near = n.Same
	add := func(weight, worth float64, format string, args ...any) {
		v.Score += weight * worth
		v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...)+fmt.Sprintf(" (%.2f of %.2f)", weight*worth, weight))
	}

	if n.TotalMemory > 0 {
		free := clamp(float64(n.FreeMemory) / float64(n.TotalMemory))
		add(weightMemory, free, "%s of %s memory free", size(n.FreeMemory), size(n.TotalMemory))
	} else {
		add(weightMemory, 0, "free memory not known")
	}

	if n.Load >= 0 {
		add(weightLoad, 1/(1+n.Load), "load %.2f", n.Load)
	} else {
		add(weightLoad, 0, "load not known")
	}

	add(weightDaemons, halfDaemons/(halfDaemons+float64(max(n.Daemons, 0))), "%d daemons", n.Daemons)
	return v
}

func clamp(x float64) float64 { return min(max(x, 0), 1) }

// NoNodeError says that no node meets the requirements, and for each node why
// not. It is ErrNoNode.
type NoNodeError struct {
	Requirements Requirements
	Verdicts     []Verdict // by name
}

// ErrNoNode is every NoNodeError.
var ErrNoNode = errors.New("no node meets the requirements")

func (e *NoNodeError) Error() string {
	if len(e.Verdicts) == 0 {
		return ErrNoNode.Error() + ": there is none to choose from"
	}
	each := make([]string, len(e.Verdicts))
	for i, v := range e.Verdicts {
		each[i] = fmt.Sprintf("%s: %s", v.label(), strings.Join(v.Misses, ", "))
	}
	return ErrNoNode.Error() + ": " + strings.Join(each, "; ")
}

// Is makes errors.Is(err, ErrNoNode) hold.
func (e *NoNodeError) Is(target error) bool { return target == ErrNoNode }

func (n Node) label() string {
	if n.Name != "" {
		return n.Name
	}
	return n.ID.String()
}

// spread counts for each verdict how many daemons like the one to be placed are
// near, and says so.
func (r Requirements) spread(all []Verdict) {
	if r.Spread != "" && r.Spread != SpreadNodes {
		near := make(map[string]int)
		for _, v := range all { // those that do not fit have daemons too
			near[v.Tags[r.Spread]] += v.Same
		}
		for k := range all {
			all[k].Near = near[all[k].Tags[r.Spread]]
		}
	}
	for k := range all {
		v := &all[k]
		var said []string
		switch {
		case !v.Fits():
		case r.Spread == SpreadNodes:
			said = append(said, fmt.Sprintf("%d like it on the node", v.Near))
		case r.Spread != "":
			said = append(said, fmt.Sprintf("%d like it at %s=%s", v.Near, r.Spread, v.Tags[r.Spread]))
		}

		if v.Fits() && r.Pack {
			said = append(said, fmt.Sprintf("packed: %d daemons are there", v.Daemons))
		}

		v.Reasons = slices.Insert(v.Reasons, v.Preferred, said...)
	}
}

// order is which of two verdicts comes first: of nodes that fit, by preference,
// spread, packing and score, in this order.
func (r Requirements) order(a, b Verdict) int {
	byNear, byPack := 0, 0
	if r.Spread != "" {
		byNear = cmp.Compare(a.Near, b.Near)
		if r.Spread != SpreadNodes { // within one value of the tag too
			byNear = cmp.Or(byNear, cmp.Compare(a.Same, b.Same))
		}
	}

	if r.Pack {
		byPack = cmp.Compare(b.Daemons, a.Daemons)
	}

	return cmp.Or(cmp.Compare(len(a.Misses), len(b.Misses)), cmp.Compare(b.Preferred, a.Preferred), byNear, byPack,
		cmp.Compare(b.Score, a.Score), cmp.Compare(a.ID, b.ID))
}

// Pick returns the node that comes first by preference, spread, packing and
// score, and the verdicts on all, best first and those that do not fit last. Among
// equals the lower id wins, so that
// the order of nodes does not count. Where none fits the error is a
// *NoNodeError.
func Pick(nodes []Node, r Requirements) (best Verdict, all []Verdict, err error) {
	for _, n := range nodes {
		all = append(all, r.Score(n))
	}

	r.spread(all)
	slices.SortFunc(all, r.order)
	if len(all) > 0 && all[0].Fits() {
		return all[0], all, nil
	}

	refused := slices.Clone(all)
	slices.SortFunc(refused, func(a, b Verdict) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return Verdict{}, all, &NoNodeError{Requirements: r, Verdicts: refused}
}

// Taken returns the node as it will announce itself once it has one daemon more,
// of that many bytes of memory.
func (n Node) Taken(bytes int64) Node {
	n.Daemons++
	n.Same++
	if n.TotalMemory > 0 {
		n.FreeMemory = max(n.FreeMemory-bytes, 0)
	}
	return n
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// size writes bytes for people.
func size(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d B", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

// Package group keeps groups of interchangeable daemons: how many there are, with
// which identities, on which nodes, and which of them is to have an event. What it
// does to nodes it does through Nodes; what it knows it keeps in a Registry.
package group

import (
	"errors"
	"fmt"
	"slices"

	"github.com/zeebo/xxh3"

	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
)

// MaxSize is how many members a group has at most: an index is a byte, and the
// size is one.
const MaxSize = 255

// Errors of groups.
var (
	ErrNotFound    = errors.New("no such group")
	ErrExists      = errors.New("there is a group of this name already")
	ErrInvalid     = errors.New("not a valid group")
	ErrNoHealthy   = errors.New("no member of the group can take events")
	ErrPlacement   = errors.New("a member of the group could not be placed")
	ErrUnknown     = errors.New("no such member")
	ErrMemberAlive = errors.New("the member is running")
	ErrLeased      = errors.New("the member's node may still have it")
)

// Strategy is how the member is chosen that has an event.
type Strategy string

// The strategies.
const (
	RoundRobin  Strategy = "round-robin"     // one after the other
	LeastLoaded Strategy = "least-loaded"    // who has the fewest events under way, as this node sees it
	Consistent  Strategy = "consistent-hash" // by the event's key: a member that comes or goes changes the place of its own keys alone
)

// Strategies are all of them.
var Strategies = []Strategy{RoundRobin, LeastLoaded, Consistent}

// Spec is what a group is to be.
type Spec struct {
	Name     string
	Kind     string
	Size     int
	Strategy Strategy               // empty: RoundRobin
	Config   []byte                 // for each member
	Place    placement.Requirements // without Filters: these are not kept

	// Standbys is on how many other nodes of a cluster each member is kept, and Ack
	// when one of them holds an event, as directory.ParseAck reads it.
	Standbys int
	Ack      string
}

// validate checks the spec, whose name and kind the runtime checks.
func (s *Spec) validate() error {
	if s.Strategy == "" {
		s.Strategy = RoundRobin
	}

	switch {
	case s.Name == "" || s.Kind == "":
		return fmt.Errorf("%w: it needs a name and a kind", ErrInvalid)
	case s.Size < 1 || s.Size > MaxSize:
		return fmt.Errorf("%w: %d members, a group has 1 to %d", ErrInvalid, s.Size, MaxSize)
	case !slices.Contains(Strategies, s.Strategy):
		return fmt.Errorf("%w: strategy %q is none of %v", ErrInvalid, s.Strategy, Strategies)
	case s.Place.MaxSame < 0 || s.Place.MinFreeMemory < 0:
		return fmt.Errorf("%w: negative requirements", ErrInvalid)
	}

	return nil
}

// Member is one daemon of a group.
type Member struct {
	Index  uint8
	Entity identity.EntityID
	Node   identity.NodeID // where it was seen last
	Epoch  uint64          // at which it was seen last
	Health Health
	Reason string // why it is not healthy

	// Born tells the member from those of its index before: it is another whenever the
	// member is made anew, empty. No two members of a group have the same.
	Born uint64

	// Lost are nodes on which it may be found again, though it was declared lost
	// and made anew elsewhere under a higher epoch: what comes back there is
	// stopped.
	Lost []identity.NodeID
}

// Outlived reports whether a copy of that epoch is one of before the member was declared
// lost: no number of moves takes it to the member's epoch.
func (m *Member) Outlived(epoch uint64) bool {
	return epoch < m.Epoch && m.Epoch-epoch > lossEpochs/2
}

// Health is whether a member can take events, as was seen last.
type Health uint8

// The healths.
const (
	Healthy Health = iota
	Silent         // a node that may have it does not answer
	Failed         // it is there, and takes no events
	Gone           // it is nowhere: every node that could have it says so
)

var healthNames = [...]string{"healthy", "silent", "failed", "gone"}

// String returns the health's name.
func (h Health) String() string { return healthNames[h] }

// Group is a group as it stands. The seed is a secret: it is the members' keys.
type Group struct {
	Spec
	ID      uint32 // the low half of the XXH3-64 of the seed
	Seed    [32]byte
	Members []Member // by index; there may be fewer than Size after a failure; those from Size on leave
	Made    uint64   // the highest Born that was given to a member
}

// bear returns what the next member is told by. The group is to be stored before the
// member is there.
func (g *Group) bear() uint64 {
	g.Made++
	return g.Made
}

// serves reports whether a member is one that events are sent to.
func (g *Group) serves(m *Member) bool { return int(m.Index) < g.Size }

// IDOf returns the id of the group of that seed.
func IDOf(seed [32]byte) uint32 { return uint32(xxh3.Hash(seed[:])) }

func (g *Group) clone() *Group {
	c := *g
	c.Members = slices.Clone(g.Members)
	for k := range c.Members {
		c.Members[k].Lost = slices.Clone(c.Members[k].Lost)
	}
	return &c
}

// MemberName is the daemon's name of a group's member.
func MemberName(group string, index uint8) string { return fmt.Sprintf("%s-%d", group, index) }

// Registry is where groups are kept: on one node, or in a directory that all nodes
// of a cluster see. It is safe for concurrent use. What it returns is the caller's.
type Registry interface {
	All() ([]*Group, error)
	Put(*Group) error         // durably, in place of what was there
	Delete(name string) error // with the bindings

	// Bindings calls fn with each binding of the group's senders. Bind stores one,
	// durably, in place of the sender's before; Unbind forgets those of senders.
	Bindings(group string, fn func(Binding) error) error
	Bind(group string, b Binding) error
	Unbind(group string, senders []identity.EntityID) error
}

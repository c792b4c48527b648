package trust

import (
	"errors"
	"fmt"
	"strings"
)

// Rights are what a trusted node may do here. Every trusted node may send
// events and ask where daemons are.
type Rights uint8

// The rights.
const (
	RightRead     Rights = 1 << iota // what daemons emitted and logged, their chains and snapshots
	RightOperate                     // stop daemons, order their migration
	RightMigrate                     // move daemons to this node, with their modules
	RightChannels                    // use the channels here that ask for no token: publish, subscribe
	RightKinds                       // push kinds to this node
	RightJoin                        // come into this node's cluster; not among RightsAll

	RightOwner Rights = 1 << 7 // what no peer has: the node's owner alone

	// RightsAll are the rights over a node and its daemons. Who may join the node's
	// cluster is said by itself.
	RightsAll = RightRead | RightOperate | RightMigrate | RightChannels | RightKinds

	// RightsVoter are what a node needs to get a vote in the cluster's directory, and to
	// decide who else is in it.
	RightsVoter = RightsAll | RightJoin
)

// ErrDenied says that a peer lacks the right to what it asked for.
var ErrDenied = errors.New("the node was not granted that right")

// ErrBadRights says that a text names no rights.
var ErrBadRights = errors.New("rights are none, or some of all,read,operate,migrate,channels,kinds,join; all is every one but join")

// rightsOfPeers is how many rights a peer can have: the first of rightNames.
const rightsOfPeers = 6

var rightNames = []string{"read", "operate", "migrate", "channels", "kinds", "join", 7: "the owner's own hand"} // by bit

// String returns the rights' names with commas between; "all", which join may follow, or
// "none".
func (r Rights) String() string {
	switch r {
	case RightsAll:
		return "all"
	case RightsVoter:
		return "all,join"
	case 0:
		return "none"
	}
	var names []string
	for bit, name := range rightNames {
		if name != "" && r&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// ParseRights reads what String writes. Errors wrap ErrBadRights.
func ParseRights(text string) (Rights, error) {
	if text == "none" {
		return 0, nil
	}
	var r Rights
next:
	for _, word := range strings.Split(text, ",") {
		if word == "all" && r&RightsAll == 0 {
			r |= RightsAll
			continue
		}
		for bit, name := range rightNames[:rightsOfPeers] {
			if word == name && r&(1<<bit) == 0 {
				r |= 1 << bit
				continue next
			}
		}
		return 0, fmt.Errorf("%w: %q", ErrBadRights, word)
	}
	return r, nil
}

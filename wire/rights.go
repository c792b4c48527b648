package wire

import (
	"errors"
	"fmt"
	"strings"

	"wasmhost/identity"
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

	RightOwner Rights = 1 << 7 // what no peer has: the node's owner alone

	RightsAll = RightRead | RightOperate | RightMigrate | RightChannels | RightKinds
)

// ErrDenied says that a peer lacks the right to what it asked for.
var ErrDenied = errors.New("the node was not granted that right")

// ErrBadRights says that a text names no rights.
var ErrBadRights = errors.New("rights are all, none, or some of read,operate,migrate,channels,kinds")

var rightNames = []string{"read", "operate", "migrate", "channels", "kinds", 7: "the owner's own hand"} // by bit

// String returns the rights' names with commas between; "all" or "none".
func (r Rights) String() string {
	switch r {
	case RightsAll:
		return "all"
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
	switch text {
	case "all":
		return RightsAll, nil
	case "none":
		return 0, nil
	}
	var r Rights
next:
	for _, word := range strings.Split(text, ",") {
		for bit, name := range rightNames[:5] {
			if word == name {
				r |= 1 << bit
				continue next
			}
		}
		return 0, fmt.Errorf("%w: %q", ErrBadRights, word)
	}
	return r, nil
}

// Allow returns nil when the peer has the right. Otherwise it counts and logs
// that the peer asked for what, and returns an error that wraps ErrDenied.
func (m *Mesh) Allow(peer identity.NodeID, right Rights, what string) error {
	known, err := m.trusted(peer)
	if err == nil && known.Rights&right == right {
		return nil
	}
	m.mu.Lock()
	m.denied[peer]++
	m.mu.Unlock()
	m.config.Logger.Warn("denied", "peer", peer, "what", what, "needs", right, "has", known.Rights)
	return fmt.Errorf("%w: %s, which needs %s", ErrDenied, what, right)
}

// Grant sets what a trusted node may do.
func (m *Mesh) Grant(key identity.EntityID, rights Rights) error {
	p, err := m.trusted(key.Node())
	if err != nil {
		return err
	}
	p.Rights = rights & RightsAll
	defer m.grants.Add(1)
	return m.config.Trust.Put(p)
}

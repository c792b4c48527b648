package wire

import (
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// A peer names the sender of an event that it passes on, and cannot prove it. A peer
// that may operate this node's daemons is believed: names are then one space for all
// such nodes, and an event that is sent again through another of them is applied once.
// Any other peer has a space of its own: it cannot use the name of another's sender, or
// the numbers of one.

// SenderOf returns under which id the peer's events are applied that it says are of
// the sender stated. A zero one stays zero.
func (m *Mesh) SenderOf(peer identity.NodeID, stated identity.EntityID) (identity.EntityID, error) {
	if stated.IsZero() {
		return stated, nil
	}

	p, err := m.trusted(peer)
	if err != nil {
		return identity.EntityID{}, err
	}
	if p.Rights&trust.RightOperate != 0 {
		return stated, nil
	}

	return identity.ScopedSender("peer:"+p.Key.String(), stated), nil
}

// senderOf is SenderOf for the events of one stream, which are mostly of one sender.
type senderOf struct {
	mesh *Mesh
	peer identity.NodeID

	stated, is identity.EntityID // of the last event
	grants     uint64            // when that was asked for
}

func (s *senderOf) of(stated identity.EntityID) (identity.EntityID, error) {
	grants := s.mesh.grants.Load()
	if stated == s.stated && grants == s.grants {
		return s.is, nil
	}

	is, err := s.mesh.SenderOf(s.peer, stated)
	if err == nil {
		s.stated, s.is, s.grants = stated, is, grants
	}
	return is, err
}

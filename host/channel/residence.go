package channel

import (
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Residence is a daemon's word that a node has it, under an epoch of its
// ownership: what the node asks for in the daemon's name, the daemon asks for.
type Residence struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	Entity    identity.EntityID
	Node      identity.NodeID
	Epoch     uint64
	Signature []byte // the daemon's, over the canonical CBOR of the fields above
}

const residenceDomain = "wasmhost-residence-v1"

// NewResidence signs a residence, or returns identity.ErrReadOnly.
func NewResidence(daemon *identity.KeyPair, node identity.NodeID, epoch uint64) ([]byte, error) {
	r := &Residence{Version: Version, Entity: daemon.ID(), Node: node, Epoch: epoch}
	msg, err := canon.Marshal(r)
	if err != nil {
		return nil, err
	}
	if r.Signature, err = daemon.SignDomain(residenceDomain, msg); err != nil {
		return nil, err
	}

	return canon.Marshal(r)
}

// CheckResidence returns the epoch under which the entity says that it is on
// node. Errors wrap ErrResidence.
func CheckResidence(b []byte, entity identity.EntityID, node identity.NodeID) (epoch uint64, err error) {
	var r Residence
	if len(b) > maxResident {
		return 0, fmt.Errorf("%w: %d bytes", ErrResidence, len(b))
	}
	if err := canon.Unmarshal(b, &r); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrResidence, err)
	}
	if r.Version != Version || r.Entity != entity || r.Node != node || r.Epoch == 0 {
		return 0, fmt.Errorf("%w: it says that %s is on node %s", ErrResidence, r.Entity.Origin(), r.Node)
	}

	bare := r
	bare.Signature = nil
	msg, err := canon.Marshal(&bare)
	if err != nil {
		return 0, err
	}
	if err := identity.VerifyDomain(entity, residenceDomain, msg, r.Signature); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrResidence, err)
	}

	return r.Epoch, nil
}

package exchange

import (
	"encoding/binary"

	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// holdsDomain separates the proof that a target has a key from every other signature.
const holdsDomain = "wasmhost-holds-key-v1"

// holdsMessage is what a target signs with the daemon's key: which migration it is,
// from where to where.
func holdsMessage(m migration.ID, from, to identity.NodeID) []byte {
	b := append(make([]byte, 0, 32), m[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(from))
	return binary.BigEndian.AppendUint64(b, uint64(to))
}

// ProveHolds signs, with the key of a daemon that does not bring it along, that the
// target of the migration has the key; identity.ErrReadOnly where it cannot sign.
func ProveHolds(key *identity.KeyPair, m migration.ID, from, to identity.NodeID) (*migration.Holds, error) {
	sig, err := key.SignDomain(holdsDomain, holdsMessage(m, from, to))
	if err != nil {
		return nil, err
	}
	return &migration.Holds{Signature: sig}, nil
}

// VerifyHolds returns nil where the target has proven that it has the key of the daemon;
// else IdentityTransportFailed.
func VerifyHolds(id identity.EntityID, m migration.ID, from, to identity.NodeID, proof *migration.Holds) error {
	if err := identity.VerifyDomain(id, holdsDomain, holdsMessage(m, from, to), proof.Signature); err != nil {
		return migration.Failf(migration.IdentityTransportFailed, "node %s does not prove that it has the key of daemon %s: %v", to, id.Origin(), err)
	}
	return nil
}

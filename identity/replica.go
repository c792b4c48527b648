package identity

import (
	"fmt"

	"golang.org/x/crypto/blake2s"
)

// replicaDomain keys the hash by which the members of a group get their secrets.
const replicaDomain = "net-replica-v1"

// Replica returns the identity of a group's member: its secret is the BLAKE2s-256
// of seed and index, keyed with a domain string. Whoever has the seed has the keys
// of all members, and nobody else finds one from another.
func Replica(seed [32]byte, index uint8) (*KeyPair, error) {
	h, err := blake2s.New256([]byte(replicaDomain))
	if err != nil {
		return nil, fmt.Errorf("deriving a replica's identity: %w", err)
	}

	h.Write(seed[:])
	h.Write([]byte{index})
	secret := h.Sum(nil)
	defer clear(secret)
	return FromSeed(secret)
}

// Package identity is who daemons and nodes are: ed25519 keys, the names that
// follow from them, key files, and the envelope in which a daemon's key
// travels to another node.
package identity

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"golang.org/x/crypto/blake2s"
)

// EntityID is an ed25519 public key (RFC 8032): whom a daemon or a node is.
// Two identities are the same when all 32 bytes are.
type EntityID [32]byte

// OriginHash is the 64-bit projection of a daemon's EntityID, for indexing and
// display. It is never assignable to a NodeID.
type OriginHash uint64

// NodeID is the 64-bit projection of a node's EntityID.
type NodeID uint64

// The domains that keep the projections apart.
const (
	originDomain  = "wasmhost-origin-v1"
	nodeDomain    = "wasmhost-node-v1"
	senderDomain  = "wasmhost-sender-v1"
	channelDomain = "wasmhost-channel-v1"
)

// ErrMalformed is wrapped by the error of a name, key or envelope that does
// not have the form it should.
var ErrMalformed = errors.New("malformed identity")

// Origin returns the first 8 bytes, little-endian, of BLAKE2s-256 (RFC 7693)
// keyed with "wasmhost-origin-v1" over the id.
func (id EntityID) Origin() OriginHash { return OriginHash(id.project(originDomain)) }

// Node returns the same projection as Origin under "wasmhost-node-v1".
func (id EntityID) Node() NodeID { return NodeID(id.project(nodeDomain)) }

// NamedSender returns the id under which whoever goes by that name sends events.
// It is nobody's public key: who knows the name is the sender.
func NamedSender(name string) EntityID { return keyed(senderDomain, []byte(name)) }

// ChannelSource returns the id under which the events of a channel come that has
// these bytes as its name among all channels. It is nobody's public key.
func ChannelSource(channel []byte) EntityID { return keyed(channelDomain, channel) }

func (id EntityID) project(domain string) uint64 {
	sum := keyed(domain, id[:])
	return binary.LittleEndian.Uint64(sum[:8])
}

// keyed is BLAKE2s-256 keyed with a domain string over the parts in order.
func keyed(domain string, parts ...[]byte) [32]byte {
	h, err := blake2s.New256([]byte(domain))
	if err != nil {
		panic(err) // a domain longer than 32 bytes is a programming error
	}

	for _, p := range parts {
		h.Write(p)
	}

	var out [32]byte
	h.Sum(out[:0])
	return out
}

// IsZero reports whether the id is all zeros, which no key is.
func (id EntityID) IsZero() bool { // four words: every event asks
	w := binary.NativeEndian
	return w.Uint64(id[:])|w.Uint64(id[8:])|w.Uint64(id[16:])|w.Uint64(id[24:]) == 0
}

// Compare orders ids bytewise, as bytes.Compare does.
func (id EntityID) Compare(other EntityID) int { return bytes.Compare(id[:], other[:]) }

// String returns the id as 64 hexadecimal digits.
func (id EntityID) String() string { return hex.EncodeToString(id[:]) }

// String returns the hash as 16 hexadecimal digits.
func (o OriginHash) String() string { return fmt.Sprintf("%016x", uint64(o)) }

// String returns the id as 16 hexadecimal digits.
func (n NodeID) String() string { return fmt.Sprintf("%016x", uint64(n)) }

// ParseEntityID reads 64 hexadecimal digits.
func ParseEntityID(s string) (EntityID, error) {
	var id EntityID
	if err := parseHex(id[:], s, "an entity id"); err != nil {
		return EntityID{}, err
	}
	return id, nil
}

// ParseOriginHash reads 16 hexadecimal digits.
func ParseOriginHash(s string) (OriginHash, error) {
	var b [8]byte
	err := parseHex(b[:], s, "an origin hash")
	return OriginHash(binary.BigEndian.Uint64(b[:])), err
}

// ParseNodeID reads 16 hexadecimal digits.
func ParseNodeID(s string) (NodeID, error) {
	var b [8]byte
	err := parseHex(b[:], s, "a node id")
	return NodeID(binary.BigEndian.Uint64(b[:])), err
}

func parseHex(dst []byte, s, what string) error {
	if len(s) != 2*len(dst) {
		return fmt.Errorf("%w: %s has %d hexadecimal digits, not %d", ErrMalformed, what, 2*len(dst), len(s))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return fmt.Errorf("%w: %s is hexadecimal: %w", ErrMalformed, what, err)
	}
	return nil
}

// MarshalText returns String.
func (id EntityID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MarshalText returns String.
func (o OriginHash) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// MarshalText returns String.
func (n NodeID) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *EntityID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseEntityID(string(b))
	return err
}

// UnmarshalText reads what MarshalText wrote.
func (o *OriginHash) UnmarshalText(b []byte) (err error) {
	*o, err = ParseOriginHash(string(b))
	return err
}

// UnmarshalText reads what MarshalText wrote.
func (n *NodeID) UnmarshalText(b []byte) (err error) {
	*n, err = ParseNodeID(string(b))
	return err
}

// MarshalBinary returns the 32 bytes.
func (id EntityID) MarshalBinary() ([]byte, error) { return id[:], nil }

// UnmarshalBinary takes exactly 32 bytes.
func (id *EntityID) UnmarshalBinary(b []byte) error {
	if len(b) != len(id) {
		return fmt.Errorf("%w: an entity id has %d bytes, not %d", ErrMalformed, len(id), len(b))
	}
	copy(id[:], b)
	return nil
}

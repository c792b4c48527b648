package chain

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Link places one output on its daemon's chain. Its canonical form is a CBOR
// array of the fields in this order (RFC 8949, section 4.2.1).
type Link struct {
	_        struct{}          `cbor:",toarray"`
	Origin   identity.EntityID // whose chain
	Epoch    uint64            // the ownership under which the output was made
	Sequence uint64            // 0 for genesis, which is not emitted; 1 for the first output
	Parent   Hash              // hash of the link before, with its payload; zeros for genesis
	Horizon  uint64            // how many events the daemon had applied, this one's included
}

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// String returns the hash in hexadecimal.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText returns the hash in hexadecimal.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(h) {
		return fmt.Errorf("a hash has %d hexadecimal digits, not %q", 2*len(h), text)
	}
	copy(h[:], b)
	return nil
}

// Errors of a chain that does not hold.
var (
	ErrOriginMismatch   = errors.New("the link belongs to another origin")
	ErrSequenceGap      = errors.New("the link does not follow in sequence")
	ErrParentMismatch   = errors.New("the link's parent hash is not the hash of the link before")
	ErrEpochBackwards   = errors.New("the link's epoch is lower than the one before")
	ErrHorizonBackwards = errors.New("the link's horizon is lower than the one before")
)

// Genesis returns the link before a daemon's first output.
func Genesis(origin identity.EntityID, epoch uint64) Link { return Link{Origin: origin, Epoch: epoch} }

// Hash returns the SHA-256 of the canonical CBOR of [link, payload].
func (l *Link) Hash(payload []byte) Hash {
	const most = 120            // bytes that a link takes, encoded
	switch n := len(payload); { // a smaller piece of the stack is cleared sooner
	case n <= 256-most:
		var buf [256]byte
		return sha256.Sum256(l.AppendTo(append(buf[:0], 0x82), payload))
	case n <= 1024-most:
		var buf [1024]byte
		return sha256.Sum256(l.AppendTo(append(buf[:0], 0x82), payload))
	}

	var buf [most]byte
	h := sha256.New()
	h.Write(canon.AppendHead(l.Append(append(buf[:0], 0x82)), 2, uint64(len(payload))))
	h.Write(payload)
	return Hash(h.Sum(buf[:0]))
}

// Bytes returns the link's canonical CBOR.
func (l *Link) Bytes() []byte { return l.Append(nil) }

// AppendTo appends link and payload as two canonical items.
func (l *Link) AppendTo(dst, payload []byte) []byte {
	return append(canon.AppendHead(l.Append(dst), 2, uint64(len(payload))), payload...)
}

// Append appends the link's canonical CBOR to dst.
func (l *Link) Append(dst []byte) []byte {
	dst = append(dst, 0x85, 0x58, 32)
	dst = append(dst, l.Origin[:]...)
	dst = canon.AppendHead(dst, 0, l.Epoch)
	dst = canon.AppendHead(dst, 0, l.Sequence)
	dst = append(dst, 0x58, 32)
	dst = append(dst, l.Parent[:]...)
	return canon.AppendHead(dst, 0, l.Horizon)
}

// Chain is the growing end of one daemon's chain. It is not safe for
// concurrent use.
type Chain struct {
	head     Link
	headHash Hash
}

// New returns the chain that goes on after head, whose payload is payload.
func New(head Link, payload []byte) Chain {
	return Chain{head: head, headHash: head.Hash(payload)}
}

// At returns the chain that goes on after head, whose hash, with its payload, is
// hash.
func At(head Link, hash Hash) Chain { return Chain{head: head, headHash: hash} }

// Sequence returns the last link's sequence.
func (c *Chain) Sequence() uint64 { return c.head.Sequence }

// Head returns the last link.
func (c *Chain) Head() Link { return c.head }

// HeadHash returns the hash of the last link with its payload.
func (c *Chain) HeadHash() Hash { return c.headHash }

// Append links payload to the chain and returns its link.
func (c *Chain) Append(epoch, horizon uint64, payload []byte) Link {
	var l Link
	c.AppendTo(&l, epoch, horizon, payload)
	return l
}

// AppendTo is Append that writes the link to l.
func (c *Chain) AppendTo(l *Link, epoch, horizon uint64, payload []byte) {
	h := &c.head
	h.Epoch, h.Sequence, h.Parent, h.Horizon = epoch, h.Sequence+1, c.headHash, horizon
	c.headHash = h.Hash(payload)
	*l = *h
}

// Follows returns nil when next, whose parent's payload hashes to parent, may
// stand after l, and what is wrong otherwise.
func (l *Link) Follows(parent Hash, next *Link) error {
	switch {
	case next.Origin != l.Origin:
		return ErrOriginMismatch
	case l.Sequence == ^uint64(0) || next.Sequence != l.Sequence+1:
		return fmt.Errorf("%w: %d after %d", ErrSequenceGap, next.Sequence, l.Sequence)
	case next.Parent != parent:
		return fmt.Errorf("%w: %s, not %s", ErrParentMismatch, next.Parent, parent)
	case next.Epoch < l.Epoch:
		return fmt.Errorf("%w: %d after %d", ErrEpochBackwards, next.Epoch, l.Epoch)
	case next.Horizon < l.Horizon:
		return fmt.Errorf("%w: %d after %d", ErrHorizonBackwards, next.Horizon, l.Horizon)
	}
	return nil
}

// MarshalBinary returns the 32 bytes.
func (h Hash) MarshalBinary() ([]byte, error) { return h[:], nil }

// UnmarshalBinary takes exactly 32 bytes.
func (h *Hash) UnmarshalBinary(b []byte) error {
	if len(b) != len(h) {
		return fmt.Errorf("a hash has %d bytes, not %d", len(h), len(b))
	}
	copy(h[:], b)
	return nil
}

// Output is one link of a daemon's chain with its payload: what the daemon
// emitted. The payload belongs to whoever receives the Output.
type Output struct {
	Link    Link
	Payload []byte
}

// CountLimit is what no count of a daemon's reaches. A snapshot that claims it
// is forged, and would make the count start over.
const CountLimit = 1 << 62

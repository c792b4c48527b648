package identity

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
)

// ErrReadOnly is the error of a key pair that holds no private key and was
// asked to do what needs one.
var ErrReadOnly = errors.New("the identity is public-only: it has no private key to sign or seal with")

// ErrInvalidSignature is the error of a signature that does not verify.
var ErrInvalidSignature = errors.New("invalid signature")

// KeyPair is an identity: a public key and, unless it is public-only, its
// private key. It is safe for concurrent use and never prints its secret.
type KeyPair struct {
	id EntityID

	mu   sync.RWMutex
	priv ed25519.PrivateKey // nil when public-only
}

// Generate draws a new identity.
func Generate() (*KeyPair, error) {
	var seed [ed25519.SeedSize]byte
	defer clear(seed[:])
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("drawing an identity: %w", err)
	}
	return FromSeed(seed[:])
}

// FromSeed returns the identity of a 32-byte seed (RFC 8032, section 5.1.5).
// The seed stays the caller's.
func FromSeed(seed []byte) (*KeyPair, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("%w: a seed has %d bytes, not %d", ErrMalformed, ed25519.SeedSize, len(seed))
	}
	k := &KeyPair{priv: ed25519.NewKeyFromSeed(seed)}
	copy(k.id[:], k.priv[ed25519.SeedSize:])
	return k, nil
}

// PublicOnly returns the identity without its private key.
func PublicOnly(id EntityID) *KeyPair { return &KeyPair{id: id} }

// ID returns whom the key pair is of.
func (k *KeyPair) ID() EntityID { return k.id }

// CanSign reports whether the private key is here.
func (k *KeyPair) CanSign() bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.priv != nil
}

// Sign returns the 64-byte ed25519 signature of msg, or ErrReadOnly.
func (k *KeyPair) Sign(msg []byte) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.priv == nil {
		return nil, ErrReadOnly
	}
	return ed25519.Sign(k.priv, msg), nil
}

// SignDomain signs msg for one purpose: no signature made for another domain
// verifies for this one.
func (k *KeyPair) SignDomain(domain string, msg []byte) ([]byte, error) {
	return k.Sign(inDomain(domain, msg))
}

// Seed returns a copy of the seed, which the caller should clear, or
// ErrReadOnly.
func (k *KeyPair) Seed() ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.priv == nil {
		return nil, ErrReadOnly
	}
	return append([]byte(nil), k.priv.Seed()...), nil
}

// Private returns a copy of the private key for crypto/tls, or ErrReadOnly.
func (k *KeyPair) Private() (ed25519.PrivateKey, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.priv == nil {
		return nil, ErrReadOnly
	}
	return append(ed25519.PrivateKey(nil), k.priv...), nil
}

// Clone returns a copy; a public-only key's is public-only.
func (k *KeyPair) Clone() *KeyPair {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return &KeyPair{id: k.id, priv: append(ed25519.PrivateKey(nil), k.priv...)}
}

// Wipe clears the private key: the key pair is public-only from then on. It
// may be called again.
func (k *KeyPair) Wipe() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.priv)
	k.priv = nil
}

// String names the key pair by its public half.
func (k *KeyPair) String() string {
	if k.CanSign() {
		return "key pair of " + k.id.String()
	}
	return "public key of " + k.id.String()
}

// GoString is String.
func (k *KeyPair) GoString() string { return k.String() }

// Format prints String whatever the verb.
func (k *KeyPair) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue is String.
func (k *KeyPair) LogValue() slog.Value { return slog.StringValue(k.String()) }

// Verify returns nil when sig is id's signature of msg, and an error that
// wraps ErrInvalidSignature otherwise. A signature that is not 64 bytes with a
// reduced scalar and a key of small order, under which anything would verify,
// are refused.
func Verify(id EntityID, msg, sig []byte) error {
	if len(sig) != ed25519.SignatureSize {
		return fmt.Errorf("%w: %d bytes, not %d", ErrInvalidSignature, len(sig), ed25519.SignatureSize)
	}
	if smallOrder(id) {
		return fmt.Errorf("%w: the public key is of small order", ErrInvalidSignature)
	}
	if !ed25519.Verify(id[:], msg, sig) {
		return ErrInvalidSignature
	}

	return nil
}

// VerifyDomain verifies what SignDomain signed.
func VerifyDomain(id EntityID, domain string, msg, sig []byte) error {
	return Verify(id, inDomain(domain, msg), sig)
}

// inDomain prefixes msg with the domain and its length.
func inDomain(domain string, msg []byte) []byte {
	b := make([]byte, 0, 2+len(domain)+len(msg))
	b = binary.BigEndian.AppendUint16(b, uint16(len(domain)))
	return append(append(b, domain...), msg...)
}

// smallOrder reports whether id is an encoding of one of the eight points of
// small order of edwards25519, the sign bit aside.
func smallOrder(id EntityID) bool {
	id[31] &= 0x7f
	return smallOrderPoints[id]
}

var smallOrderPoints = func() map[EntityID]bool {
	points := make(map[EntityID]bool)
	for _, s := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", // y = 0, order 4
		"0100000000000000000000000000000000000000000000000000000000000000", // y = 1, order 1
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = -1, order 2
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p, that is 0
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // y = p+1, that is 1
	} {
		id, err := ParseEntityID(s)
		if err != nil {
			panic(err)
		}
		points[id] = true
	}
	return points
}()

// sealPrivate returns the X25519 key that belongs to the identity.
func (k *KeyPair) sealPrivate() (*ecdh.PrivateKey, error) {
	seed, err := k.Seed()
	if err != nil {
		return nil, err
	}
	defer clear(seed)
	scalar := keyed(sealDomain, seed)
	defer clear(scalar[:])
	return ecdh.X25519().NewPrivateKey(scalar[:])
}

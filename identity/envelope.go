package identity

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// SealKey is the X25519 public key (RFC 7748) to which identities are sealed
// for a node. It follows from the node's seed.
type SealKey [32]byte

// MarshalBinary returns the 32 bytes.
func (s SealKey) MarshalBinary() ([]byte, error) { return s[:], nil }

// UnmarshalBinary takes exactly 32 bytes.
func (s *SealKey) UnmarshalBinary(b []byte) error {
	if len(b) != len(s) {
		return fmt.Errorf("%w: a seal key has %d bytes, not %d", ErrMalformed, len(s), len(b))
	}
	copy(s[:], b)
	return nil
}

// SealKey returns the key to which others seal for this node, or ErrReadOnly.
func (k *KeyPair) SealKey() (SealKey, error) {
	priv, err := k.sealPrivate()
	if err != nil {
		return SealKey{}, err
	}
	return SealKey(priv.PublicKey().Bytes()), nil
}

const (
	sealDomain          = "wasmhost-seal-v1"
	envelopeKeyDomain   = "wasmhost-envelope-key-v1"
	envelopeNonceDomain = "wasmhost-envelope-nonce-v1"
	envelopeSignDomain  = "wasmhost-envelope-v1"

	envelopeVersion = 1
	sealedSize      = 32 + chacha20poly1305.Overhead
)

// EnvelopeSize is the length of an encoded envelope.
const EnvelopeSize = 1 + 32 + 32 + sealedSize + 32 + 64

// Errors of opening an envelope.
var (
	ErrInvalidSigner      = errors.New("the identity envelope is not signed by the daemon it should be of")
	ErrInvalidAttestation = errors.New("the identity envelope's signature does not hold for this place in the chain")
	ErrSealOpen           = errors.New("the identity envelope cannot be opened with this node's key")
)

// Envelope is a daemon's seed, sealed to one node (X25519,
// XChaCha20-Poly1305) and bound, by the daemon's own signature, to one link of
// its chain. Its bytes are: version 1, target, ephemeral key, sealed seed,
// signer, signature.
type Envelope struct {
	target    SealKey
	ephemeral [32]byte
	sealed    [sealedSize]byte
	signer    EntityID
	signature [64]byte
}

// Seal seals daemon's key for the node whose SealKey is target. link is the
// canonical form of the link that the daemon's chain stands at. It returns
// ErrReadOnly for a public-only daemon.
func Seal(daemon *KeyPair, target SealKey, link []byte) (*Envelope, error) {
	seed, err := daemon.Seed()
	if err != nil {
		return nil, fmt.Errorf("sealing an identity: %w", err)
	}

	defer clear(seed)
	eph, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("sealing an identity: %w", err)
	}

	e := &Envelope{target: target, ephemeral: [32]byte(eph.PublicKey().Bytes()), signer: daemon.ID()}
	pub, err := ecdh.X25519().NewPublicKey(target[:])
	if err != nil {
		return nil, fmt.Errorf("sealing an identity: %w", err)
	}

	shared, err := eph.ECDH(pub) // refuses a target of low order
	if err != nil {
		return nil, fmt.Errorf("sealing an identity: the target's key: %w", err)
	}

	defer clear(shared)
	key := keyed(envelopeKeyDomain, shared, e.ephemeral[:], target[:])
	defer clear(key[:])
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return nil, fmt.Errorf("sealing an identity: %w", err)
	}

	aead.Seal(e.sealed[:0], e.nonce(), seed, e.bound(link))
	sig, err := daemon.SignDomain(envelopeSignDomain, e.attested(link))
	if err != nil {
		return nil, fmt.Errorf("sealing an identity: %w", err)
	}

	copy(e.signature[:], sig)
	return e, nil
}

// Open returns the daemon's key pair. node is the key of the node that the
// envelope was sealed for, link the link that it was sealed at, expect the
// daemon it must be of. Errors are ErrInvalidSigner, ErrInvalidAttestation,
// ErrSealOpen or ErrReadOnly; who signed is checked before anything is
// decrypted.
func (e *Envelope) Open(node *KeyPair, link []byte, expect EntityID) (*KeyPair, error) {
	if err := e.Verify(link, expect); err != nil {
		return nil, err
	}

	priv, err := node.sealPrivate()
	if err != nil {
		return nil, fmt.Errorf("opening an identity: %w", err)
	}
	if SealKey(priv.PublicKey().Bytes()) != e.target {
		return nil, fmt.Errorf("%w: it is sealed for another node", ErrSealOpen)
	}

	eph, err := ecdh.X25519().NewPublicKey(e.ephemeral[:])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealOpen, err)
	}

	shared, err := priv.ECDH(eph)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealOpen, err)
	}

	defer clear(shared)
	key := keyed(envelopeKeyDomain, shared, e.ephemeral[:], e.target[:])
	defer clear(key[:])
	aead, err := chacha20poly1305.NewX(key[:])
	if err != nil {
		return nil, fmt.Errorf("opening an identity: %w", err)
	}

	seed, err := aead.Open(nil, e.nonce(), e.sealed[:], e.bound(link))
	if err != nil {
		return nil, ErrSealOpen
	}

	defer clear(seed)
	daemon, err := FromSeed(seed)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSealOpen, err)
	}
	if daemon.ID() != e.signer {
		daemon.Wipe()
		return nil, fmt.Errorf("%w: the sealed key is another's", ErrInvalidAttestation)
	}

	return daemon, nil
}

// Verify checks that the daemon expect has signed the envelope at link. It needs no
// private key, and says nothing of what is sealed. Errors are ErrInvalidSigner or
// ErrInvalidAttestation.
func (e *Envelope) Verify(link []byte, expect EntityID) error {
	if e.signer != expect {
		return ErrInvalidSigner
	}
	if err := VerifyDomain(e.signer, envelopeSignDomain, e.attested(link), e.signature[:]); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalidAttestation, err)
	}
	return nil
}

func (e *Envelope) nonce() []byte {
	n := keyed(envelopeNonceDomain, e.ephemeral[:], e.target[:])
	return n[:chacha20poly1305.NonceSizeX]
}

// bound is what the ciphertext is bound to.
func (e *Envelope) bound(link []byte) []byte {
	b := append([]byte{envelopeVersion}, e.target[:]...)
	b = append(append(b, e.ephemeral[:]...), e.signer[:]...)
	return append(b, link...)
}

// attested is what the signature covers.
func (e *Envelope) attested(link []byte) []byte { return append(e.bound(link), e.sealed[:]...) }

// Bytes returns the envelope's EnvelopeSize bytes.
func (e *Envelope) Bytes() []byte {
	b := append(make([]byte, 0, EnvelopeSize), envelopeVersion)
	b = append(append(b, e.target[:]...), e.ephemeral[:]...)
	b = append(append(b, e.sealed[:]...), e.signer[:]...)
	return append(b, e.signature[:]...)
}

// ParseEnvelope reads what Bytes wrote. It checks form only; Open checks the
// rest.
func ParseEnvelope(b []byte) (*Envelope, error) {
	if len(b) != EnvelopeSize {
		return nil, fmt.Errorf("%w: an identity envelope has %d bytes, not %d", ErrMalformed, EnvelopeSize, len(b))
	}
	if b[0] != envelopeVersion {
		return nil, fmt.Errorf("%w: identity envelope of version %d, this program reads version %d", ErrMalformed, b[0], envelopeVersion)
	}

	e := &Envelope{}
	b = b[1:]
	for _, field := range [][]byte{e.target[:], e.ephemeral[:], e.sealed[:], e.signer[:], e.signature[:]} {
		b = b[copy(field, b):]
	}
	return e, nil
}

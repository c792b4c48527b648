package identity

import (
	"errors"
	"fmt"
	"slices"

	"wasmhost.example/internal/canon"
)

// Revocation is an issuer's word that its tokens of a generation below Floor
// count no more, and neither does what was delegated from them. Floors only
// rise, so that a revocation can be repeated to anybody at any time.
type Revocation struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	Issuer    EntityID
	Floor     uint64
	Signature []byte // the issuer's, over the canonical CBOR of the fields above
}

const revocationDomain = "wasmhost-revocation-v1"

// ErrTooManyRevocations says that a verifier knows as many issuers' floors as it
// may.
var ErrTooManyRevocations = errors.New("too many issuers have revoked tokens")

// Revoke makes the revocation of all tokens that issuer made, or will make, of
// generations below floor. Errors: ErrReadOnly, ErrTokenFormat for floor 0.
func Revoke(issuer *KeyPair, floor uint64) (*Revocation, error) {
	r := &Revocation{Version: tokenVersion, Issuer: issuer.ID(), Floor: floor}
	msg, err := r.message()
	if err != nil {
		return nil, err
	}
	if r.Signature, err = issuer.SignDomain(revocationDomain, msg); err != nil {
		return nil, err
	}

	return r, r.check()
}

func (r *Revocation) message() ([]byte, error) {
	bare := *r
	bare.Signature = nil
	b, err := canon.Marshal(&bare)
	if err != nil {
		return nil, fmt.Errorf("encoding a revocation: %w", err)
	}
	return b, nil
}

func (r *Revocation) check() error {
	if r.Version != tokenVersion || r.Floor == 0 || len(r.Signature) != 64 {
		return fmt.Errorf("%w: a revocation of version %d, below %d, with a signature of %d bytes", ErrTokenFormat, r.Version, r.Floor, len(r.Signature))
	}
	return nil
}

// Verify returns nil where the issuer signed the revocation, else
// ErrTokenSignature.
func (r *Revocation) Verify() error {
	msg, err := r.message()
	if err != nil {
		return err
	}
	if err := VerifyDomain(r.Issuer, revocationDomain, msg, r.Signature); err != nil {
		return fmt.Errorf("%w: a revocation: %w", ErrTokenSignature, err)
	}
	return nil
}

// Bytes returns the revocation's canonical CBOR.
func (r *Revocation) Bytes() ([]byte, error) {
	b, err := canon.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenFormat, err)
	}
	return b, nil
}

// ParseRevocation reads what Bytes wrote. It checks form alone. Errors wrap
// ErrTokenFormat or ErrTokenTrailing.
func ParseRevocation(b []byte) (*Revocation, error) {
	r := &Revocation{}
	if len(b) > maxTokenBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrTokenFormat, len(b))
	}
	if err := unmarshalToken(b, r); err != nil {
		return nil, err
	}
	return r, r.check()
}

// Text returns the revocation as one word.
func (r *Revocation) Text() (string, error) {
	b, err := r.Bytes()
	if err != nil {
		return "", err
	}
	return tokenText(revocationPrefix, b), nil
}

// ParseRevocationText reads what Text wrote. Errors are ParseRevocation's.
func ParseRevocationText(text string) (*Revocation, error) {
	b, err := readTokenText(revocationPrefix, text)
	if err != nil {
		return nil, err
	}
	return ParseRevocation(b)
}

// Revoke takes a revocation into account, after it has verified it; it reports
// whether that raised a floor. Errors: ErrTokenSignature,
// ErrTooManyRevocations.
func (v *TokenVerifier) Revoke(r *Revocation) (raised bool, err error) {
	if r.Floor <= v.Floor(r.Issuer) {
		return false, nil
	}
	if err := r.Verify(); err != nil {
		return false, err
	}

	v.mu.Lock()
	defer v.mu.Unlock()
	old, ok := v.floors[r.Issuer]

	switch {
	case r.Floor <= old:
		return false, nil
	case !ok && len(v.floors) >= maxFloors:
		return false, fmt.Errorf("%w: %d", ErrTooManyRevocations, maxFloors)
	}

	v.floors[r.Issuer] = r.Floor
	return true, nil
}

// Floor returns below which generation the issuer's tokens are revoked.
func (v *TokenVerifier) Floor(issuer EntityID) uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.floors[issuer]
}

// Revokers returns the issuers that have a floor, in order.
func (v *TokenVerifier) Revokers() []EntityID {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := make([]EntityID, 0, len(v.floors))
	for id := range v.floors {
		out = append(out, id)
	}
	slices.SortFunc(out, EntityID.Compare)
	return out
}

package identity

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"wasmhost.example/internal/canon"
)

// Scope is what a token permits, as bits. The numbers are part of the signed
// bytes.
type Scope uint32

// The scopes.
const (
	ScopePublish   Scope = 1 << iota // publish on the channel
	ScopeSubscribe                   // subscribe to it
	ScopeAdmin                       // see who subscribes, and remove it
	ScopeDelegate                    // pass on less than one has
	ScopeWildcard                    // all of that on the channels beneath too

	// ScopeAll is every action; not ScopeWildcard, which says where.
	ScopeAll = ScopePublish | ScopeSubscribe | ScopeAdmin | ScopeDelegate
)

var scopeNames = []string{"publish", "subscribe", "admin", "delegate", "wildcard"} // by bit

// Contains reports whether s has every bit of action. No scope contains none.
func (s Scope) Contains(action Scope) bool { return action != 0 && s&action == action }

// String returns the scopes' names with commas between.
func (s Scope) String() string {
	var names []string
	for bit, name := range scopeNames {
		if s&(1<<bit) != 0 {
			names = append(names, name)
		}
	}

	if rest := s &^ (ScopeAll | ScopeWildcard); rest != 0 {
		names = append(names, fmt.Sprintf("%#x", uint32(rest)))
	}
	return strings.Join(names, ",")
}

// ParseScope reads what String writes; "all" is ScopeAll. Errors wrap
// ErrTokenFormat.
func ParseScope(text string) (Scope, error) {
	var s Scope
next:
	for word := range strings.SplitSeq(text, ",") {
		if word == "all" {
			s |= ScopeAll
			continue
		}

		for bit, name := range scopeNames {
			if word == name {
				s |= 1 << bit
				continue next
			}
		}

		return 0, fmt.Errorf("%w: scope %q is none of all, %s", ErrTokenFormat, word, strings.Join(scopeNames, ", "))
	}

	return s, nil
}

// Bounds of tokens.
const (
	MaxTokenTTL   = 365 * 24 * time.Hour // between a token's NotBefore and NotAfter
	MaxTokenSkew  = 300 * time.Second    // by which a verifier's clock may be off
	MaxTokenLinks = 8                    // links of a chain of tokens
	maxTokenBytes = 8 << 10              // bytes of an encoded chain of tokens
)

// Errors of tokens. Each check has its own.
var (
	ErrTokenFormat          = errors.New("malformed permission token")
	ErrTokenTrailing        = errors.New("bytes follow the permission token")
	ErrTokenSignature       = errors.New("the permission token's signature does not verify")
	ErrTokenNotYetValid     = errors.New("the permission token is not valid yet")
	ErrTokenExpired         = errors.New("the permission token has expired")
	ErrTokenTTL             = errors.New("the permission token would live longer than a year")
	ErrTokenZeroTTL         = errors.New("the permission token would not live at all")
	ErrTokenRevoked         = errors.New("the permission token was revoked")
	ErrTokenRoot            = errors.New("the permission token does not come from a root of the channel")
	ErrTokenSubject         = errors.New("the permission token is for somebody else")
	ErrTokenScope           = errors.New("the permission token does not permit that")
	ErrTokenChannel         = errors.New("the permission token is for another channel")
	ErrTokenSigner          = errors.New("a link of the permission token was not issued by the subject of the one before")
	ErrTokenBroader         = errors.New("a link of the permission token grants more than the one before")
	ErrTokenLinks           = errors.New("the permission token has too many links")
	ErrDelegationExhausted  = errors.New("the permission token may not be delegated any further")
	ErrDelegationNotAllowed = errors.New("the permission token does not permit delegation")
	ErrNotTokenSubject      = errors.New("only the subject of a permission token can delegate it")
)

// Token is one link of a permission: what its issuer lets its subject do.
type Token struct {
	_          struct{} `cbor:",toarray"`
	Version    uint8
	Issuer     EntityID
	Subject    EntityID
	Scope      Scope
	Channel    string // with ScopeWildcard all beneath it too, and all channels where it is empty
	NotBefore  int64  // Unix seconds
	NotAfter   int64  // Unix seconds: from here on the token is expired
	Depth      uint8  // how often it can still be delegated
	Generation uint64 // revoked where it is below the issuer's floor
	Nonce      uint64 // drawn at random
	Signature  []byte // the issuer's, over the canonical CBOR of the fields above
}

const (
	tokenVersion = 1
	tokenDomain  = "wasmhost-token-v1"
)

// TokenRequest says what a token is to permit.
type TokenRequest struct {
	Subject    EntityID
	Scope      Scope
	Channel    string
	TTL        time.Duration // whole seconds count
	Depth      uint8
	Generation uint64
}

// IssueToken makes a token of one link, signed by issuer. Errors: ErrReadOnly,
// ErrTokenZeroTTL, ErrTokenTTL, ErrTokenFormat.
func IssueToken(issuer *KeyPair, req TokenRequest, now time.Time) (*TokenChain, error) {
	seconds := int64(req.TTL / time.Second)
	t := Token{Version: tokenVersion, Issuer: issuer.ID(), Subject: req.Subject, Scope: req.Scope, Channel: req.Channel,
		NotBefore: now.Unix(), NotAfter: now.Unix() + seconds, Depth: req.Depth, Generation: req.Generation}

	switch {
	case seconds <= 0:
		return nil, ErrTokenZeroTTL
	case req.TTL > MaxTokenTTL:
		return nil, ErrTokenTTL
	}

	if err := t.sign(issuer); err != nil {
		return nil, err
	}
	return &TokenChain{Links: []Token{t}}, nil
}

// sign draws the nonce, checks the form and signs.
func (t *Token) sign(issuer *KeyPair) error {
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("drawing a token's nonce: %w", err)
	}

	t.Nonce = binary.BigEndian.Uint64(nonce[:])
	if err := t.check(); err != nil {
		return err
	}

	msg, err := t.message()
	if err != nil {
		return err
	}

	t.Signature, err = issuer.SignDomain(tokenDomain, msg)
	return err
}

// check checks the form, without the signature.
func (t *Token) check() error {
	switch {
	case t.Version != tokenVersion:
		return fmt.Errorf("%w: version %d, this program reads version %d", ErrTokenFormat, t.Version, tokenVersion)
	case t.Scope == 0 || t.Scope&^(ScopeAll|ScopeWildcard) != 0:
		return fmt.Errorf("%w: scope %q", ErrTokenFormat, t.Scope)
	case t.Subject.IsZero() || smallOrder(t.Subject) || smallOrder(t.Issuer):
		return fmt.Errorf("%w: subject or issuer is no key", ErrTokenFormat)
	case t.NotBefore < 0 || t.NotAfter <= t.NotBefore:
		return fmt.Errorf("%w: valid from %d to %d", ErrTokenFormat, t.NotBefore, t.NotAfter)
	case t.Channel == "" && t.Scope&ScopeWildcard != 0:
		return nil
	}

	if err := ValidChannel(t.Channel); err != nil {
		return fmt.Errorf("%w: %w", ErrTokenFormat, err)
	}
	return nil
}

// message is what the issuer signs.
func (t *Token) message() ([]byte, error) {
	bare := *t
	bare.Signature = nil
	b, err := canon.Marshal(&bare)
	if err != nil {
		return nil, fmt.Errorf("encoding a token: %w", err)
	}
	return b, nil
}

func (t *Token) verifySignature() error {
	msg, err := t.message()
	if err != nil {
		return err
	}
	if err := VerifyDomain(t.Issuer, tokenDomain, msg, t.Signature); err != nil {
		return fmt.Errorf("%w: %w", ErrTokenSignature, err)
	}
	return nil
}

// verifyTime checks the window at now, with the verifier's clock off by skew.
func (t *Token) verifyTime(now time.Time, skew time.Duration) error {
	at, off := now.Unix(), int64(min(max(skew, 0), MaxTokenSkew)/time.Second)
	switch {
	case at < t.NotBefore-off:
		return fmt.Errorf("%w: until %s", ErrTokenNotYetValid, stamp(t.NotBefore))
	case at >= t.NotAfter+off:
		return fmt.Errorf("%w: at %s", ErrTokenExpired, stamp(t.NotAfter))
	case t.NotAfter-t.NotBefore > int64(MaxTokenTTL/time.Second):
		return ErrTokenTTL
	}

	return nil
}

func stamp(seconds int64) string { return time.Unix(seconds, 0).UTC().Format(time.RFC3339) }

// Expired reports whether the token has expired at now. It looks at the clock
// alone.
func (t *Token) Expired(now time.Time) bool { return now.Unix() >= t.NotAfter }

// permits returns nil where the token lets its subject do action on channel.
func (t *Token) permits(action Scope, channel string) error {
	switch {
	case !t.Scope.Contains(action):
		return fmt.Errorf("%w: %s; it permits %s", ErrTokenScope, action, t.Scope)
	case t.Channel == channel && channel != "":
		return nil
	case t.Scope&ScopeWildcard != 0 && ChannelWithin(channel, t.Channel):
		return nil
	}
	return fmt.Errorf("%w: %q, not %q", ErrTokenChannel, t.Channel, channel)
}

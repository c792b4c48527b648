package identity

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"wasmhost.example/internal/canon"
)

// TokenChain is a permission: a token that a root issued, and what was
// delegated from it, link by link. Its last link says whom it is for.
type TokenChain struct {
	_     struct{} `cbor:",toarray"`
	Links []Token
}

// tokenPrefix begins the text of a token, revocationPrefix that of a revocation.
const (
	tokenPrefix      = "whp1."
	revocationPrefix = "whr1."
)

// Leaf returns the last link.
func (c *TokenChain) Leaf() *Token { return &c.Links[len(c.Links)-1] }

// Bytes returns the chain's canonical CBOR, or ErrTokenFormat.
func (c *TokenChain) Bytes() ([]byte, error) {
	b, err := canon.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTokenFormat, err)
	}
	return b, nil
}

// ParseTokenChain reads what Bytes wrote. It checks form alone: no signature,
// time or permission. Errors wrap ErrTokenFormat, ErrTokenTrailing or
// ErrTokenLinks.
func ParseTokenChain(b []byte) (*TokenChain, error) {
	if len(b) > maxTokenBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTokenFormat, len(b), maxTokenBytes)
	}

	c := &TokenChain{}
	if err := unmarshalToken(b, c); err != nil {
		return nil, err
	}

	switch n := len(c.Links); {
	case n == 0:
		return nil, fmt.Errorf("%w: no links", ErrTokenFormat)
	case n > MaxTokenLinks:
		return nil, fmt.Errorf("%w: %d, at most %d", ErrTokenLinks, n, MaxTokenLinks)
	}

	for i := range c.Links {
		if err := c.Links[i].check(); err != nil {
			return nil, err
		}
		if n := len(c.Links[i].Signature); n != 64 {
			return nil, fmt.Errorf("%w: a signature of %d bytes", ErrTokenFormat, n)
		}
	}

	return c, nil
}

func unmarshalToken(b []byte, v any) error {
	err := canon.Unmarshal(b, v)
	switch {
	case errors.Is(err, canon.ErrTrailing):
		return fmt.Errorf("%w: %w", ErrTokenTrailing, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrTokenFormat, err)
	}
	return nil
}

// Text returns the chain as one word for files and command lines, or
// ErrTokenFormat.
func (c *TokenChain) Text() (string, error) {
	b, err := c.Bytes()
	if err != nil {
		return "", err
	}
	return tokenText(tokenPrefix, b), nil
}

// ParseTokenText reads what Text wrote; white space around it does not count.
// Errors are ParseTokenChain's.
func ParseTokenText(text string) (*TokenChain, error) {
	b, err := readTokenText(tokenPrefix, text)
	if err != nil {
		return nil, err
	}
	return ParseTokenChain(b)
}

// tokenText is a prefix, then b and the first four bytes of its SHA-256 in
// base64.
func tokenText(prefix string, b []byte) string {
	sum := sha256.Sum256(b)
	return prefix + base64.RawURLEncoding.EncodeToString(append(slices.Clone(b), sum[:4]...))
}

func readTokenText(prefix, text string) ([]byte, error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(text), prefix)
	if !ok || len(body) > 2*maxTokenBytes {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrTokenFormat, prefix)
	}

	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(b) < 4 {
		return nil, fmt.Errorf("%w: it is not whole", ErrTokenFormat)
	}

	b, sum := b[:len(b)-4], b[len(b)-4:]
	if check := sha256.Sum256(b); string(check[:4]) != string(sum) {
		return nil, fmt.Errorf("%w: its checksum is wrong: it was mistyped or cut", ErrTokenFormat)
	}
	return b, nil
}

// DelegateRequest says what a delegated token is to permit.
type DelegateRequest struct {
	Subject EntityID
	Scope   Scope  // what the parent does not have of it is left out; 0: all the parent has
	Channel string // empty: the parent's; else within it, where that has ScopeWildcard
}

// Delegate appends a link by which the chain's subject lets another do what it
// may do itself, or less. The new link expires with the one before. Errors:
// those of a parent that does not hold at now, ErrTokenLinks,
// ErrDelegationExhausted, ErrDelegationNotAllowed, ErrNotTokenSubject,
// ErrTokenBroader for a channel outside the parent's, ErrTokenScope where
// nothing would be left, and ErrReadOnly.
func (c *TokenChain) Delegate(by *KeyPair, req DelegateRequest, now time.Time) (*TokenChain, error) {
	if len(c.Links) == 0 {
		return nil, fmt.Errorf("%w: no links", ErrTokenFormat)
	}

	parent := c.Leaf()
	if err := errors.Join(parent.verifySignature(), parent.verifyTime(now, 0)); err != nil {
		return nil, fmt.Errorf("delegating: %w", err)
	}

	switch {
	case parent.Depth == 0:
		return nil, ErrDelegationExhausted
	case len(c.Links) >= MaxTokenLinks:
		return nil, fmt.Errorf("%w: %d is the most", ErrTokenLinks, MaxTokenLinks)
	case !parent.Scope.Contains(ScopeDelegate):
		return nil, ErrDelegationNotAllowed
	case by.ID() != parent.Subject:
		return nil, ErrNotTokenSubject
	}

	child := Token{Version: tokenVersion, Issuer: by.ID(), Subject: req.Subject, Scope: parent.Scope, Channel: parent.Channel,
		NotBefore: max(now.Unix(), parent.NotBefore), NotAfter: parent.NotAfter, Depth: parent.Depth - 1, Generation: parent.Generation}
	if req.Scope != 0 {
		child.Scope &= req.Scope
	}

	if child.Scope == 0 {
		return nil, fmt.Errorf("%w: %s; it permits %s", ErrTokenScope, req.Scope, parent.Scope)
	}
	if req.Channel != "" {
		child.Channel = req.Channel
	}

	if err := child.narrows(parent); err != nil {
		return nil, err
	}
	if err := child.sign(by); err != nil {
		return nil, err
	}

	return &TokenChain{Links: append(slices.Clone(c.Links), child)}, nil
}

// narrows returns nil where t grants no more than parent, from which it was
// delegated.
func (t *Token) narrows(parent *Token) error {
	switch {
	case t.Scope&^parent.Scope != 0:
		return fmt.Errorf("%w: %s after %s", ErrTokenBroader, t.Scope, parent.Scope)
	case t.Channel != parent.Channel && (parent.Scope&ScopeWildcard == 0 || !ChannelWithin(t.Channel, parent.Channel)):
		return fmt.Errorf("%w: channel %q after %q", ErrTokenBroader, t.Channel, parent.Channel)
	case t.NotBefore < parent.NotBefore || t.NotAfter > parent.NotAfter:
		return fmt.Errorf("%w: valid from %s to %s", ErrTokenBroader, stamp(t.NotBefore), stamp(t.NotAfter))
	case t.Depth >= parent.Depth:
		return fmt.Errorf("%w: depth %d after %d", ErrDelegationExhausted, t.Depth, parent.Depth)
	}
	return nil
}

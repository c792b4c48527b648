package trust

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Errors of join tokens.
var (
	ErrBadToken     = errors.New("malformed join token")
	ErrTokenExpired = errors.New("the join token has expired")
	ErrTokenRefused = errors.New("the join token is not, or no longer, good for this node")
)

// Token lets its bearer join the node that issued it, once.
type Token struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Key     identity.EntityID // of the issuer, which the bearer pins
	Addr    string            // where the issuer listens
	Secret  []byte            // 32 bytes
	Expires int64             // Unix seconds
}

const (
	tokenPrefix  = "wh1."
	TokenVersion = 1    // of the tokens that are issued
	maxToken     = 1024 // bytes of a join token
	maxTokens    = 1024 // join tokens that are issued and not used
)

// ParseToken reads a token's text. Errors wrap ErrBadToken.
func ParseToken(text string) (*Token, error) {
	text = strings.TrimSpace(text)
	body, ok := strings.CutPrefix(text, tokenPrefix)
	if !ok || len(text) > maxToken {
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrBadToken, tokenPrefix)
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(body)
	if err != nil || len(b) < 4 {
		return nil, fmt.Errorf("%w: it is not whole", ErrBadToken)
	}
	b, sum := b[:len(b)-4], b[len(b)-4:]
	if check := sha256.Sum256(b); string(check[:4]) != string(sum) {
		return nil, fmt.Errorf("%w: its checksum is wrong: it was mistyped or cut", ErrBadToken)
	}
	var t Token
	if err := canon.Unmarshal(b, &t); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadToken, err)
	}
	if t.Version != TokenVersion || len(t.Secret) != 32 {
		return nil, fmt.Errorf("%w: version %d, secret of %d bytes", ErrBadToken, t.Version, len(t.Secret))
	}
	return &t, nil
}

// String returns the token's text.
func (t *Token) String() string {
	b, err := canon.Marshal(t)
	if err != nil {
		panic(err) // a Token always encodes
	}
	sum := sha256.Sum256(b)
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(append(b, sum[:4]...))
}

// Tokens are those that were issued and not used. Only a hash of each secret
// is kept. It is safe for concurrent use.
type Tokens struct {
	clock func() time.Time

	mu   sync.Mutex
	open map[[32]byte]openToken // by SHA-256 of the secret
}

// NewTokens has none. clock says what time it is.
func NewTokens(clock func() time.Time) *Tokens { return &Tokens{clock: clock} }

type openToken struct {
	expires int64
	rights  Rights
}

// Issue makes a token of the node with the key, which listens at addr, and returns its
// text. Who joins with it within ttl gets the rights.
func (t *Tokens) Issue(key identity.EntityID, addr string, ttl time.Duration, rights Rights) (string, error) {
	k := &Token{Version: TokenVersion, Key: key, Addr: addr, Secret: make([]byte, 32), Expires: t.clock().Add(ttl).Unix()}
	if _, err := rand.Read(k.Secret); err != nil {
		return "", fmt.Errorf("issuing a join token: %w", err)
	}
	if err := t.add(k, rights); err != nil {
		return "", err
	}
	return k.String(), nil
}

func (t *Tokens) add(k *Token, rights Rights) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock().Unix()
	for h, o := range t.open {
		if o.expires <= now {
			delete(t.open, h)
		}
	}
	if len(t.open) >= maxTokens {
		return fmt.Errorf("%d join tokens are open; wait until some expire", maxTokens)
	}
	if t.open == nil {
		t.open = make(map[[32]byte]openToken)
	}
	t.open[sha256.Sum256(k.Secret)] = openToken{k.Expires, rights}
	return nil
}

// Redeem reports whether the secret is good, and for which rights, and spends
// it.
func (t *Tokens) Redeem(secret []byte) (Rights, bool) {
	h := sha256.Sum256(secret)
	t.mu.Lock()
	defer t.mu.Unlock()
	o, ok := t.open[h]
	delete(t.open, h)
	return o.rights, ok && t.clock().Unix() < o.expires
}

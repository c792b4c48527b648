package identity

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"
)

// TokenUse is what a token is presented for.
type TokenUse struct {
	Presenter EntityID // proven to be who presents it
	Action    Scope
	Channel   string
	Roots     []EntityID // of the channel; none: no token is good
}

// TokenVerifier checks the tokens that are presented to one node. It remembers
// which chains have good signatures, so that the same one is cheap to check
// again, and the floors below which an issuer's tokens are revoked. It is safe
// for concurrent use.
type TokenVerifier struct {
	clock func() time.Time
	skew  time.Duration

	mu     sync.Mutex
	floors map[EntityID]uint64
	seen   map[[32]byte]int // place in order, by SHA-256 of a chain
	order  [][32]byte       // a ring: the oldest is forgotten first
	next   int
}

// Bounds of a verifier.
const (
	maxFloors = 1 << 16 // issuers whose tokens have a floor
	maxSeen   = 1 << 12 // chains of tokens whose signatures are remembered to hold
)

// NewTokenVerifier makes a verifier. A nil clock is time.Now. skew is by how
// much clocks may differ; it is cut to MaxTokenSkew.
func NewTokenVerifier(clock func() time.Time, skew time.Duration) *TokenVerifier {
	if clock == nil {
		clock = time.Now
	}
	return &TokenVerifier{clock: clock, skew: min(max(skew, 0), MaxTokenSkew), floors: make(map[EntityID]uint64), seen: make(map[[32]byte]int)}
}

// Verify returns the chain that b encodes where it permits use, and what is
// wrong with it otherwise. Nothing is remembered of a chain that is refused.
func (v *TokenVerifier) Verify(b []byte, use TokenUse) (*TokenChain, error) {
	c, err := ParseTokenChain(b)
	if err != nil {
		return nil, err
	}

	sum := sha256.Sum256(b)
	known := v.known(sum)
	if err := v.verify(c, use, !known); err != nil {
		return nil, err
	}
	if !known {
		v.remember(sum)
	}

	return c, nil
}

// Recheck is Verify of a chain that was verified before: its signatures are
// taken to hold, all else is checked again.
func (v *TokenVerifier) Recheck(c *TokenChain, use TokenUse) error { return v.verify(c, use, false) }

func (v *TokenVerifier) verify(c *TokenChain, use TokenUse, signatures bool) error {
	now := v.clock()
	if !slices.Contains(use.Roots, c.Links[0].Issuer) {
		return fmt.Errorf("%w: it was issued by %s", ErrTokenRoot, c.Links[0].Issuer)
	}

	for i := range c.Links {
		t := &c.Links[i]
		if signatures {
			if err := t.verifySignature(); err != nil {
				return err
			}
		}

		if err := t.verifyTime(now, v.skew); err != nil {
			return err
		}
		if floor := v.Floor(t.Issuer); t.Generation < floor {
			return fmt.Errorf("%w: it is of generation %d, and %s revoked all below %d", ErrTokenRevoked, t.Generation, t.Issuer, floor)
		}

		if i > 0 {
			parent := &c.Links[i-1]
			switch {
			case t.Issuer != parent.Subject:
				return fmt.Errorf("%w: %s, not %s", ErrTokenSigner, t.Issuer, parent.Subject)
			case !parent.Scope.Contains(ScopeDelegate):
				return ErrDelegationNotAllowed
			}

			if err := t.narrows(parent); err != nil {
				return err
			}
		}
	}

	leaf := c.Leaf()
	if leaf.Subject != use.Presenter {
		return fmt.Errorf("%w: %s, not %s", ErrTokenSubject, leaf.Subject, use.Presenter)
	}

	for i := range c.Links {
		if err := c.Links[i].permits(use.Action, use.Channel); err != nil {
			return err
		}
	}
	return nil
}

// Expires returns when the first link of the chain expires, by a clock that is
// off by the verifier's skew.
func (v *TokenVerifier) Expires(c *TokenChain) time.Time {
	at := c.Links[0].NotAfter
	for i := range c.Links {
		at = min(at, c.Links[i].NotAfter)
	}
	return time.Unix(at, 0).Add(v.skew)
}

func (v *TokenVerifier) known(sum [32]byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.seen[sum]
	return ok
}

func (v *TokenVerifier) remember(sum [32]byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.seen[sum]; ok {
		return
	}
	if len(v.order) < maxSeen {
		v.order = append(v.order, sum)
		v.seen[sum] = len(v.order) - 1
		return
	}

	delete(v.seen, v.order[v.next])
	v.order[v.next], v.seen[sum] = sum, v.next
	v.next = (v.next + 1) % maxSeen
}

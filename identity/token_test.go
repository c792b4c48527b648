package identity

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var tokenNow = time.Unix(1_800_000_000, 0)

func seeded(t testing.TB, n byte) *KeyPair {
	t.Helper()
	seed := make([]byte, 32)
	seed[0] = n
	k, err := FromSeed(seed)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// verifierAt is a verifier whose clock stands at now.
func verifierAt(now *time.Time, skew time.Duration) *TokenVerifier {
	return NewTokenVerifier(func() time.Time { return *now }, skew)
}

func issue(t testing.TB, by *KeyPair, req TokenRequest) *TokenChain {
	t.Helper()
	if req.TTL == 0 {
		req.TTL = time.Hour
	}
	if req.Channel == "" && req.Scope&ScopeWildcard == 0 {
		req.Channel = "ticks"
	}
	c, err := IssueToken(by, req, tokenNow)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func delegate(t testing.TB, c *TokenChain, by *KeyPair, req DelegateRequest) *TokenChain {
	t.Helper()
	out, err := c.Delegate(by, req, tokenNow)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func encoded(t testing.TB, c *TokenChain) []byte {
	t.Helper()
	b, err := c.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// resign makes what an issuer could sign that does not keep to the rules.
func resign(t testing.TB, k *Token, by *KeyPair) {
	t.Helper()
	msg, err := k.message()
	if err == nil {
		k.Signature, err = by.SignDomain(tokenDomain, msg)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestI30_Token(t *testing.T) {
	root, daemon := seeded(t, 1), seeded(t, 2)
	c := issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: ScopeSubscribe | ScopeDelegate, Depth: 3, Generation: 7, TTL: time.Minute})
	text, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseTokenText(" " + text + "\n")
	if err != nil {
		t.Fatal(err)
	}
	l := got.Leaf()
	if l.Issuer != root.ID() || l.Subject != daemon.ID() || l.Scope != ScopeSubscribe|ScopeDelegate || l.Channel != "ticks" ||
		l.Depth != 3 || l.Generation != 7 || l.NotBefore != tokenNow.Unix() || l.NotAfter != tokenNow.Unix()+60 || len(l.Signature) != 64 {
		t.Errorf("it says %+v", *l)
	}
}

// TestEveryCheckHasItsOwnError presents one token wrong in each way.
func TestI31_I33_I60_I61_I63_I64_EveryCheckHasItsOwnError(t *testing.T) {
	root, other, daemon, helper := seeded(t, 1), seeded(t, 2), seeded(t, 3), seeded(t, 4)
	good := func() *TokenChain {
		return issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: ScopeSubscribe | ScopeDelegate, Depth: 2})
	}
	helped := func() *TokenChain {
		return delegate(t, issue(t, root, TokenRequest{Subject: helper.ID(), Scope: ScopeSubscribe | ScopeDelegate, Depth: 2}), helper, DelegateRequest{Subject: daemon.ID()})
	}
	for _, c := range []struct {
		name   string
		chain  func() *TokenChain
		change func(*TokenChain)
		use    func(*TokenUse)
		at     time.Duration
		want   error
	}{
		{name: "as it should be", chain: good},
		{name: "delegated", chain: helped},
		{name: "wrong signer", chain: good, change: func(c *TokenChain) { resign(t, c.Leaf(), other) }, want: ErrTokenSignature},
		{name: "a changed field", chain: good, change: func(c *TokenChain) { c.Leaf().Depth++ }, want: ErrTokenSignature},
		{name: "wrong subject", chain: good, use: func(u *TokenUse) { u.Presenter = other.ID() }, want: ErrTokenSubject},
		{name: "wrong channel", chain: good, use: func(u *TokenUse) { u.Channel = "tocks" }, want: ErrTokenChannel},
		{name: "wrong action", chain: good, use: func(u *TokenUse) { u.Action = ScopePublish }, want: ErrTokenScope},
		{name: "no action", chain: good, use: func(u *TokenUse) { u.Action = 0 }, want: ErrTokenScope},
		{name: "the last second", chain: good, at: time.Hour - time.Second},
		{name: "expired by one second", chain: good, at: time.Hour, want: ErrTokenExpired},
		{name: "not yet valid", chain: good, at: -time.Second, want: ErrTokenNotYetValid},
		{name: "self-issued", chain: func() *TokenChain {
			return issue(t, daemon, TokenRequest{Subject: daemon.ID(), Scope: ScopeSubscribe})
		}, want: ErrTokenRoot},
		{name: "no roots", chain: good, use: func(u *TokenUse) { u.Roots = nil }, want: ErrTokenRoot},
		{name: "broken continuity", chain: helped, change: func(c *TokenChain) { c.Leaf().Issuer = other.ID(); resign(t, c.Leaf(), other) }, want: ErrTokenSigner},
		{name: "broadened scope", chain: helped, change: func(c *TokenChain) { c.Leaf().Scope |= ScopePublish; resign(t, c.Leaf(), helper) }, want: ErrTokenBroader},
		{name: "broadened channel", chain: helped, change: func(c *TokenChain) { c.Leaf().Channel = "ticks/b"; resign(t, c.Leaf(), helper) }, want: ErrTokenBroader},
		{name: "broadened window", chain: helped, change: func(c *TokenChain) { c.Leaf().NotAfter++; resign(t, c.Leaf(), helper) }, want: ErrTokenBroader},
		{name: "depth exhausted", chain: helped, change: func(c *TokenChain) { c.Leaf().Depth = 2; resign(t, c.Leaf(), helper) }, want: ErrDelegationExhausted},
		{name: "delegation not allowed", chain: helped, change: func(c *TokenChain) {
			c.Links[0].Scope = ScopeSubscribe
			resign(t, &c.Links[0], root)
			c.Leaf().Scope = ScopeSubscribe
			resign(t, c.Leaf(), helper)
		}, want: ErrDelegationNotAllowed},
		{name: "a link that lacks the action", chain: helped, change: func(c *TokenChain) {
			c.Leaf().Scope = ScopeDelegate
			resign(t, c.Leaf(), helper)
		}, want: ErrTokenScope},
	} {
		t.Run(c.name, func(t *testing.T) {
			chain := c.chain()
			if c.change != nil {
				c.change(chain)
			}
			use := TokenUse{Presenter: daemon.ID(), Action: ScopeSubscribe, Channel: "ticks", Roots: []EntityID{other.ID(), root.ID()}}
			if c.name == "wrong signer" || c.name == "self-issued" {
				use.Roots = []EntityID{root.ID()}
			}
			if c.use != nil {
				c.use(&use)
			}
			now := tokenNow.Add(c.at)
			_, err := verifierAt(&now, 0).Verify(encoded(t, chain), use)
			if c.want == nil && err != nil || !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
			for _, e := range tokenErrors {
				if e != c.want && errors.Is(err, e) {
					t.Errorf("it is %v as well", e)
				}
			}
		})
	}
}

var tokenErrors = []error{ErrTokenFormat, ErrTokenTrailing, ErrTokenSignature, ErrTokenNotYetValid, ErrTokenExpired, ErrTokenTTL, ErrTokenZeroTTL,
	ErrTokenRevoked, ErrTokenRoot, ErrTokenSubject, ErrTokenScope, ErrTokenChannel, ErrTokenSigner, ErrTokenBroader, ErrTokenLinks,
	ErrDelegationExhausted, ErrDelegationNotAllowed, ErrNotTokenSubject}

func TestI32_ExpiryIsTheClocksAlone(t *testing.T) {
	c := issue(t, seeded(t, 1), TokenRequest{Subject: seeded(t, 2).ID(), Scope: ScopePublish})
	c.Leaf().Signature[0] ^= 1
	if c.Leaf().Expired(tokenNow.Add(time.Hour-time.Second)) || !c.Leaf().Expired(tokenNow.Add(time.Hour)) {
		t.Error("it does not expire at its NotAfter")
	}
}

func TestI34_UnknownScopesAndSizes(t *testing.T) {
	root, subject := seeded(t, 1), seeded(t, 2).ID()
	for name, req := range map[string]TokenRequest{
		"no scope":      {Subject: subject, Channel: "a", TTL: time.Hour},
		"unknown scope": {Subject: subject, Scope: 1 << 7, Channel: "a", TTL: time.Hour},
		"no subject":    {Scope: ScopePublish, Channel: "a", TTL: time.Hour},
		"no channel":    {Subject: subject, Scope: ScopePublish, TTL: time.Hour},
		"bad channel":   {Subject: subject, Scope: ScopePublish, Channel: "../a", TTL: time.Hour},
	} {
		if _, err := IssueToken(root, req, tokenNow); !errors.Is(err, ErrTokenFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := ParseTokenChain([]byte("sixteen bytes...")); !errors.Is(err, ErrTokenFormat) {
		t.Errorf("16 bytes: %v", err)
	}
	for _, bad := range []string{"", "write", "publish,", "publish, subscribe"} {
		if _, err := ParseScope(bad); !errors.Is(err, ErrTokenFormat) {
			t.Errorf("scope %q: %v", bad, err)
		}
	}
	if s, err := ParseScope("all,wildcard"); err != nil || s != ScopeAll|ScopeWildcard || s.String() != "publish,subscribe,admin,delegate,wildcard" {
		t.Errorf("%v %v", s, err)
	}
}

func TestI35_I36_LifetimesHaveBounds(t *testing.T) {
	root, daemon := seeded(t, 1), seeded(t, 2)
	for ttl, want := range map[time.Duration]error{0: ErrTokenZeroTTL, time.Second - 1: ErrTokenZeroTTL, -time.Hour: ErrTokenZeroTTL,
		time.Second: nil, MaxTokenTTL: nil, MaxTokenTTL + time.Second: ErrTokenTTL} {
		if _, err := IssueToken(root, TokenRequest{Subject: daemon.ID(), Scope: ScopePublish, Channel: "a", TTL: ttl}, tokenNow); !errors.Is(err, want) {
			t.Errorf("%v: %v, want %v", ttl, err, want)
		}
	}
	use := TokenUse{Presenter: daemon.ID(), Action: ScopePublish, Channel: "ticks", Roots: []EntityID{root.ID()}}
	now := tokenNow
	c := issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: ScopePublish, TTL: MaxTokenTTL})
	if _, err := verifierAt(&now, 0).Verify(encoded(t, c), use); err != nil {
		t.Errorf("a year: %v", err)
	}
	c.Leaf().NotAfter++
	resign(t, c.Leaf(), root)
	v := verifierAt(&now, 0)
	if _, err := v.Verify(encoded(t, c), use); !errors.Is(err, ErrTokenTTL) {
		t.Errorf("a second more: %v", err)
	}
	if err := v.Recheck(c, use); !errors.Is(err, ErrTokenTTL) {
		t.Errorf("without signatures: %v", err)
	}
}

func TestI37_I38_I39_Delegation(t *testing.T) {
	keys := []*KeyPair{seeded(t, 1), seeded(t, 2), seeded(t, 3), seeded(t, 4), seeded(t, 5)}
	if _, err := IssueToken(PublicOnly(keys[0].ID()), TokenRequest{Subject: keys[1].ID(), Scope: ScopePublish, Channel: "a", TTL: time.Hour}, tokenNow); !errors.Is(err, ErrReadOnly) {
		t.Errorf("issued without a key: %v", err)
	}
	c := issue(t, keys[0], TokenRequest{Subject: keys[1].ID(), Scope: ScopeAll, Depth: 2})
	if _, err := c.Delegate(PublicOnly(keys[1].ID()), DelegateRequest{Subject: keys[2].ID()}, tokenNow); !errors.Is(err, ErrReadOnly) {
		t.Errorf("delegated without a key: %v", err)
	}
	for i := 1; i <= 2; i++ {
		c = delegate(t, c, keys[i], DelegateRequest{Subject: keys[i+1].ID()})
		if int(c.Leaf().Depth) != 2-i {
			t.Errorf("depth %d after %d delegations", c.Leaf().Depth, i)
		}
	}
	if _, err := c.Delegate(keys[3], DelegateRequest{Subject: keys[4].ID()}, tokenNow); !errors.Is(err, ErrDelegationExhausted) {
		t.Errorf("a third: %v", err)
	}
	plain := issue(t, keys[0], TokenRequest{Subject: keys[1].ID(), Scope: ScopePublish, Depth: 2})
	if _, err := plain.Delegate(keys[1], DelegateRequest{Subject: keys[2].ID()}, tokenNow); !errors.Is(err, ErrDelegationNotAllowed) {
		t.Errorf("without the right: %v", err)
	}
	c = issue(t, keys[0], TokenRequest{Subject: keys[1].ID(), Scope: ScopeAll, Depth: 2})
	if _, err := c.Delegate(keys[2], DelegateRequest{Subject: keys[2].ID()}, tokenNow); !errors.Is(err, ErrNotTokenSubject) {
		t.Errorf("by another: %v", err)
	}
	if _, err := c.Delegate(keys[1], DelegateRequest{Subject: keys[2].ID()}, tokenNow.Add(time.Hour)); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("of an expired one: %v", err)
	}
	if _, err := c.Delegate(keys[1], DelegateRequest{Subject: keys[2].ID(), Scope: ScopeWildcard}, tokenNow); !errors.Is(err, ErrTokenScope) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := c.Delegate(keys[1], DelegateRequest{Subject: keys[2].ID(), Channel: "tocks"}, tokenNow); !errors.Is(err, ErrTokenBroader) {
		t.Errorf("of another channel: %v", err)
	}
	c.Leaf().Signature[3] ^= 1
	if _, err := c.Delegate(keys[1], DelegateRequest{Subject: keys[2].ID()}, tokenNow); !errors.Is(err, ErrTokenSignature) {
		t.Errorf("of a forged one: %v", err)
	}
}

func TestI40_AChildHasItsParentsBounds(t *testing.T) {
	root, a, b := seeded(t, 1), seeded(t, 2), seeded(t, 3)
	c := issue(t, root, TokenRequest{Subject: a.ID(), Scope: ScopeSubscribe | ScopeDelegate, Depth: 1, Generation: 5})
	child, err := c.Delegate(a, DelegateRequest{Subject: b.ID(), Scope: ScopePublish | ScopeSubscribe}, tokenNow.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	l := child.Leaf()
	if l.NotAfter != c.Leaf().NotAfter || l.NotBefore != tokenNow.Unix()+60 || l.Generation != 5 || l.Scope != ScopeSubscribe || l.Channel != "ticks" || len(c.Links) != 1 {
		t.Errorf("the child is %+v", *l)
	}
}

func TestI41_I42_I43_ChannelsAndActions(t *testing.T) {
	root, daemon := seeded(t, 1), seeded(t, 2)
	now := tokenNow
	v := verifierAt(&now, 0)
	at := func(scope Scope, granted, channel string, action Scope) error {
		c := issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: scope, Channel: granted})
		_, err := v.Verify(encoded(t, c), TokenUse{Presenter: daemon.ID(), Action: action, Channel: channel, Roots: []EntityID{root.ID()}})
		return err
	}
	for _, c := range []struct {
		granted, channel string
		scope            Scope
		want             error
	}{
		{"a/b", "a/b", ScopePublish, nil},
		{"a/b", "a/b/c", ScopePublish, ErrTokenChannel},
		{"a/b", "a/b/c", ScopePublish | ScopeWildcard, nil},
		{"a/b", "a/bc", ScopePublish | ScopeWildcard, ErrTokenChannel},
		{"a/b", "a", ScopePublish | ScopeWildcard, ErrTokenChannel},
		{"", "a/b", ScopePublish | ScopeWildcard, nil},
		{"a/b", "", ScopePublish, ErrTokenChannel},
	} {
		if err := at(c.scope, c.granted, c.channel, ScopePublish); !errors.Is(err, c.want) {
			t.Errorf("%q for %q with %s: %v", c.granted, c.channel, c.scope, err)
		}
	}
	if (ScopeAll | ScopeWildcard).Contains(0) {
		t.Error("a scope contains no action")
	}
	if ScopeAll.Contains(ScopeWildcard) {
		t.Error("all is everywhere")
	}
}

func TestI44_I31_EveryOtherByteIsRefused(t *testing.T) {
	root, a, daemon := seeded(t, 1), seeded(t, 2), seeded(t, 3)
	c := delegate(t, issue(t, root, TokenRequest{Subject: a.ID(), Scope: ScopeSubscribe | ScopeDelegate, Depth: 1}), a, DelegateRequest{Subject: daemon.ID()})
	b := encoded(t, c)
	if _, err := ParseTokenChain(append(append([]byte(nil), b...), 0)); !errors.Is(err, ErrTokenTrailing) || errors.Is(err, ErrTokenFormat) {
		t.Errorf("a byte more: %v", err)
	}
	now := tokenNow
	use := TokenUse{Presenter: daemon.ID(), Action: ScopeSubscribe, Channel: "ticks", Roots: []EntityID{root.ID()}}
	v := verifierAt(&now, 0)
	if _, err := v.Verify(b, use); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if _, err := ParseTokenChain(b[:i]); !errors.Is(err, ErrTokenFormat) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
		changed := append([]byte(nil), b...)
		changed[i] ^= 1 << (i % 8)
		if _, err := v.Verify(changed, use); err == nil {
			t.Fatalf("byte %d changed, and it is good", i)
		}
	}
}

func TestTooManyLinks(t *testing.T) {
	keys := make([]*KeyPair, MaxTokenLinks+2)
	for i := range keys {
		keys[i] = seeded(t, byte(i+1))
	}
	c := issue(t, keys[0], TokenRequest{Subject: keys[1].ID(), Scope: ScopeSubscribe | ScopeDelegate, Depth: 200})
	for i := 1; i < MaxTokenLinks; i++ {
		c = delegate(t, c, keys[i], DelegateRequest{Subject: keys[i+1].ID()})
	}
	now := tokenNow
	use := TokenUse{Presenter: keys[MaxTokenLinks].ID(), Action: ScopeSubscribe, Channel: "ticks", Roots: []EntityID{keys[0].ID()}}
	if _, err := verifierAt(&now, 0).Verify(encoded(t, c), use); err != nil {
		t.Fatalf("%d links: %v", MaxTokenLinks, err)
	}
	if _, err := c.Delegate(keys[MaxTokenLinks], DelegateRequest{Subject: keys[0].ID()}, tokenNow); !errors.Is(err, ErrTokenLinks) {
		t.Errorf("one more delegated: %v", err)
	}
	c.Links = append(c.Links, c.Links[0])
	if _, err := ParseTokenChain(encoded(t, c)); !errors.Is(err, ErrTokenLinks) {
		t.Errorf("one more parsed: %v", err)
	}
	if _, err := ParseTokenChain(encoded(t, &TokenChain{})); !errors.Is(err, ErrTokenFormat) {
		t.Errorf("none parsed: %v", err)
	}
}

func TestI45_I64_Revocation(t *testing.T) {
	root, a, daemon := seeded(t, 1), seeded(t, 2), seeded(t, 3)
	c := delegate(t, issue(t, root, TokenRequest{Subject: a.ID(), Scope: ScopeSubscribe | ScopeDelegate, Depth: 1}), a, DelegateRequest{Subject: daemon.ID()})
	use := TokenUse{Presenter: daemon.ID(), Action: ScopeSubscribe, Channel: "ticks", Roots: []EntityID{root.ID()}}
	for _, issuer := range []*KeyPair{root, a} {
		now := tokenNow
		v := verifierAt(&now, 0)
		if _, err := v.Verify(encoded(t, c), use); err != nil {
			t.Fatal(err)
		}
		r, err := Revoke(issuer, 1)
		if err != nil {
			t.Fatal(err)
		}
		text, err := r.Text()
		if err != nil {
			t.Fatal(err)
		}
		if r, err = ParseRevocationText(text); err != nil {
			t.Fatal(err)
		}
		if raised, err := v.Revoke(r); err != nil || !raised {
			t.Fatal(raised, err)
		}
		if _, err := v.Verify(encoded(t, c), use); !errors.Is(err, ErrTokenRevoked) {
			t.Errorf("revoked by %s: %v", issuer, err)
		}
		if err := v.Recheck(c, use); !errors.Is(err, ErrTokenRevoked) {
			t.Errorf("revoked by %s, without signatures: %v", issuer, err)
		}
		higher, err := Revoke(issuer, 3)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range []struct {
			r      *Revocation
			raised bool
		}{{r, false}, {higher, true}, {r, false}} {
			if raised, err := v.Revoke(step.r); raised != step.raised || err != nil {
				t.Errorf("floor %d: %v %v", step.r.Floor, raised, err)
			}
		}
		if v.Floor(issuer.ID()) != 3 || fmt.Sprint(v.Revokers()) != fmt.Sprint([]EntityID{issuer.ID()}) {
			t.Errorf("the floor is %d", v.Floor(issuer.ID()))
		}
	}
	forged, err := Revoke(a, 1)
	if err != nil {
		t.Fatal(err)
	}
	forged.Issuer = root.ID()
	now := tokenNow
	v := verifierAt(&now, 0)
	if raised, err := v.Revoke(forged); raised || !errors.Is(err, ErrTokenSignature) {
		t.Errorf("a forged revocation: %v %v", raised, err)
	}
	if _, err := Revoke(root, 0); !errors.Is(err, ErrTokenFormat) {
		t.Errorf("floor 0: %v", err)
	}
	if _, err := Revoke(PublicOnly(root.ID()), 1); !errors.Is(err, ErrReadOnly) {
		t.Errorf("without a key: %v", err)
	}
}

func TestI46_SkewHasABound(t *testing.T) {
	root, daemon := seeded(t, 1), seeded(t, 2)
	c := issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: ScopeSubscribe})
	use := TokenUse{Presenter: daemon.ID(), Action: ScopeSubscribe, Channel: "ticks", Roots: []EntityID{root.ID()}}
	for _, s := range []struct {
		skew, at time.Duration
		want     error
	}{
		{0, time.Hour, ErrTokenExpired},
		{time.Minute, time.Hour + 59*time.Second, nil}, {time.Minute, time.Hour + time.Minute, ErrTokenExpired},
		{time.Minute, -time.Minute, nil}, {time.Minute, -61 * time.Second, ErrTokenNotYetValid},
		{1 << 62, time.Hour + 299*time.Second, nil}, {1 << 62, time.Hour + 300*time.Second, ErrTokenExpired},
		{-time.Hour, time.Hour - time.Second, nil},
	} {
		now := tokenNow.Add(s.at)
		v := verifierAt(&now, s.skew)
		if _, err := v.Verify(encoded(t, c), use); !errors.Is(err, s.want) {
			t.Errorf("skew %v at %v: %v", s.skew, s.at, err)
		}
		if at := v.Expires(c); s.want == nil && !now.Before(at) || s.want == ErrTokenExpired && now.Before(at) {
			t.Errorf("skew %v at %v: it expires at %v", s.skew, s.at, at.Sub(tokenNow))
		}
	}
}

func TestI47_I49_WhatAVerifierRemembers(t *testing.T) {
	root, daemon := seeded(t, 1), seeded(t, 2)
	now := tokenNow
	v := verifierAt(&now, 0)
	use := TokenUse{Presenter: daemon.ID(), Action: ScopeSubscribe, Channel: "ticks", Roots: []EntityID{root.ID()}}
	first := encoded(t, issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: ScopeSubscribe}))
	for range 2 {
		if _, err := v.Verify(first, use); err != nil || len(v.seen) != 1 {
			t.Fatal(err, len(v.seen))
		}
	}
	refused := encoded(t, issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: ScopePublish}))
	if _, err := v.Verify(refused, use); err == nil || len(v.seen) != 1 {
		t.Fatal("what was refused is remembered:", err, len(v.seen))
	}
	for i := range maxSeen + 10 { // the signatures do not matter here
		v.remember([32]byte{byte(i), byte(i >> 8), 1})
	}
	if len(v.seen) != maxSeen || len(v.order) != maxSeen {
		t.Errorf("%d and %d are remembered, at most %d", len(v.seen), len(v.order), maxSeen)
	}
	if _, err := v.Verify(first, use); err != nil {
		t.Errorf("a chain that was forgotten: %v", err)
	}
	for i := range maxFloors {
		v.floors[EntityID{byte(i), byte(i >> 8), 2}] = 1
	}
	r, err := Revoke(root, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Revoke(r); !errors.Is(err, ErrTooManyRevocations) {
		t.Errorf("one issuer more: %v", err)
	}
}

func TestI51_AllAtOnce(t *testing.T) {
	root := seeded(t, 1)
	now := tokenNow
	v := verifierAt(&now, 0)
	var wg sync.WaitGroup
	for i := range byte(8) {
		wg.Go(func() {
			daemon := seeded(t, 10+i)
			b := encoded(t, issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: ScopeSubscribe, Generation: uint64(i)}))
			use := TokenUse{Presenter: daemon.ID(), Action: ScopeSubscribe, Channel: "ticks", Roots: []EntityID{root.ID()}}
			r, err := Revoke(root, uint64(i)+1)
			if err != nil {
				t.Error(err)
				return
			}
			for range 20 {
				if _, err := v.Verify(b, use); err != nil && !errors.Is(err, ErrTokenRevoked) {
					t.Error(err)
				}
				if _, err := v.Revoke(r); err != nil {
					t.Error(err)
				}
				v.Revokers()
			}
		})
	}
	wg.Wait()
	if v.Floor(root.ID()) != 8 {
		t.Errorf("the floor is %d", v.Floor(root.ID()))
	}
}

func TestI62_I65_AVerifiedChainIsStillChecked(t *testing.T) {
	root, daemon, other := seeded(t, 1), seeded(t, 2), seeded(t, 3)
	now := tokenNow
	v := verifierAt(&now, 0)
	use := TokenUse{Presenter: daemon.ID(), Action: ScopeSubscribe, Channel: "ticks", Roots: []EntityID{root.ID()}}
	b := encoded(t, issue(t, root, TokenRequest{Subject: daemon.ID(), Scope: ScopeSubscribe}))
	c, err := v.Verify(b, use)
	if err != nil {
		t.Fatal(err)
	}
	for want, change := range map[error]func(*TokenUse){
		ErrTokenSubject: func(u *TokenUse) { u.Presenter = other.ID() },
		ErrTokenRoot:    func(u *TokenUse) { u.Roots = []EntityID{other.ID()} },
		ErrTokenChannel: func(u *TokenUse) { u.Channel = "tocks" },
	} {
		u := use
		change(&u)
		if err := v.Recheck(c, u); !errors.Is(err, want) {
			t.Errorf("rechecked: %v, want %v", err, want)
		}
		if _, err := v.Verify(b, u); !errors.Is(err, want) {
			t.Errorf("verified again: %v, want %v", err, want)
		}
	}
	now = now.Add(time.Hour)
	if err := v.Recheck(c, use); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("later: %v", err)
	}
}

func TestC38_ChannelNames(t *testing.T) {
	for _, good := range []string{"a", "a/b", "0-9_.x", "out/c234e3445beea551", "...", strings.Repeat("a", MaxChannelName)} {
		if err := ValidChannel(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", "/a", "a/", "a//b", "A", "a b", ".", "..", "a/./b", "../etc", "a/..", "ä", "a\x00", strings.Repeat("a", MaxChannelName+1)} {
		if err := ValidChannel(bad); !errors.Is(err, ErrBadChannel) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestTokenVectors reads tokens that were signed once and for all.
func TestTokenVectors(t *testing.T) {
	path := filepath.Join("testdata", "tokens.json")
	var vectors []struct {
		Name       string
		Text       string
		CBOR       string
		Presenter  string
		Scope      string
		Channel    string
		Root       string
		Seconds    int64 // after the first link's NotBefore
		Want       string
		Revocation string `json:",omitempty"`
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &vectors)
	}
	if err != nil || len(vectors) < 8 {
		t.Fatal(err, len(vectors))
	}
	for _, v := range vectors {
		c, err := ParseTokenText(v.Text)
		if err != nil {
			t.Fatal(v.Name, err)
		}
		if got := hex.EncodeToString(encoded(t, c)); got != v.CBOR {
			t.Errorf("%s: encodes to %s", v.Name, got)
		}
		now := time.Unix(c.Links[0].NotBefore+v.Seconds, 0)
		verifier := verifierAt(&now, 0)
		if v.Revocation != "" {
			r, err := ParseRevocationText(v.Revocation)
			if err == nil {
				_, err = verifier.Revoke(r)
			}
			if err != nil {
				t.Fatal(v.Name, err)
			}
		}
		presenter, err1 := ParseEntityID(v.Presenter)
		root, err2 := ParseEntityID(v.Root)
		scope, err3 := ParseScope(v.Scope)
		if err := errors.Join(err1, err2, err3); err != nil {
			t.Fatal(v.Name, err)
		}
		_, err = verifier.Verify(encoded(t, c), TokenUse{Presenter: presenter, Action: scope, Channel: v.Channel, Roots: []EntityID{root}})
		got := "ok"
		for _, e := range tokenErrors {
			if errors.Is(err, e) {
				got = e.Error()
			}
		}
		if got != v.Want {
			t.Errorf("%s: %s (%v), want %s", v.Name, got, err, v.Want)
		}
	}
}

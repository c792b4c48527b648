package identity

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// TestDelegatedTokensGrantNoMore makes chains of random delegations, honest and
// not, and checks that whatever a link permits the links before it permit.
func TestDelegatedTokensGrantNoMore(t *testing.T) {
	channels := []string{"a", "a/b", "a/b/c", "ab", "z"}
	scopes := []Scope{0, ScopeAll, ScopeAll | ScopeWildcard, ScopeSubscribe | ScopeDelegate, ScopePublish | ScopeDelegate | ScopeWildcard, ScopeSubscribe}
	keys := make([]*KeyPair, MaxTokenLinks+1)
	for i := range keys {
		keys[i] = seeded(t, byte(i+1))
	}
	honest, refused, uses := 0, 0, 0
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 1))
		scope := scopes[1+r.IntN(2)]
		c := issue(t, keys[0], TokenRequest{Subject: keys[1].ID(), Scope: scope, Channel: channels[r.IntN(len(channels))], Depth: uint8(r.IntN(6))})
		cheated := false
		for i := 1; i < 1+r.IntN(MaxTokenLinks); i++ {
			next, err := c.Delegate(keys[i], DelegateRequest{Subject: keys[i+1].ID(), Scope: scopes[r.IntN(len(scopes))],
				Channel: append(channels, "")[r.IntN(len(channels)+1)]}, tokenNow.Add(time.Duration(r.IntN(100))*time.Second))
			if err != nil {
				refused++
				break
			}
			c = next
			if r.IntN(4) == 0 { // what a link's owner could sign all the same
				l := c.Leaf()
				before := *l
				switch r.IntN(5) {
				case 0:
					l.Scope |= scopes[1+r.IntN(2)]
				case 1:
					l.Channel = channels[r.IntN(len(channels))]
				case 2:
					l.NotAfter += int64(r.IntN(3))
				case 3:
					l.Depth += uint8(r.IntN(2))
				case 4:
					l.NotBefore -= int64(r.IntN(200))
				}
				cheated = cheated || l.Scope != before.Scope || l.Channel != before.Channel || l.NotAfter != before.NotAfter || l.Depth != before.Depth || l.NotBefore != before.NotBefore
				resign(t, l, keys[i])
			}
		}
		now := tokenNow.Add(time.Duration(r.IntN(4000)-100) * time.Second)
		for _, action := range []Scope{ScopePublish, ScopeSubscribe, ScopeAdmin, ScopeDelegate} {
			for _, channel := range channels {
				use := TokenUse{Presenter: c.Leaf().Subject, Action: action, Channel: channel, Roots: []EntityID{keys[0].ID()}}
				v := verifierAt(&now, 0)
				if _, err := v.Verify(encoded(t, c), use); err != nil {
					continue
				}
				uses++
				for n := 1; n <= len(c.Links); n++ {
					part := &TokenChain{Links: c.Links[:n]}
					use.Presenter = part.Leaf().Subject
					if _, err := v.Verify(encoded(t, part), use); err != nil {
						t.Fatalf("seed %d: %d links permit %s on %s, the first %d do not: %v", seed, len(c.Links), action, channel, n, err)
					}
					if n < len(c.Links) && !part.Leaf().Scope.Contains(ScopeDelegate) {
						t.Fatalf("seed %d: link %d was delegated without the right", seed, n)
					}
				}
			}
		}
		if !cheated {
			honest++
		}
	}
	if honest < 100 || refused < 50 || uses < 500 {
		t.Errorf("%d honest chains, %d refused, %d uses: too few to say anything", honest, refused, uses)
	}
}

func FuzzParseTokenChain(f *testing.F) {
	root, a := seeded(f, 1), seeded(f, 2)
	c := issue(f, root, TokenRequest{Subject: a.ID(), Scope: ScopeAll | ScopeWildcard, Depth: 3})
	f.Add(encoded(f, c))
	f.Add(encoded(f, delegate(f, c, a, DelegateRequest{Subject: seeded(f, 3).ID()})))
	f.Add(encoded(f, &TokenChain{}))
	f.Add([]byte{0x81, 0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseTokenChain(b)
		if err != nil {
			if !errors.Is(err, ErrTokenFormat) && !errors.Is(err, ErrTokenTrailing) && !errors.Is(err, ErrTokenLinks) {
				t.Fatalf("an error of no class: %v", err)
			}
			return
		}
		again := encoded(t, c)
		if string(again) != string(b) {
			t.Fatalf("%x decodes, and encodes to %x", b, again)
		}
		now := tokenNow
		_, _ = verifierAt(&now, 0).Verify(b, TokenUse{Presenter: a.ID(), Action: ScopePublish, Channel: "a", Roots: []EntityID{root.ID()}})
	})
}

func FuzzParseTokenText(f *testing.F) {
	c := issue(f, seeded(f, 1), TokenRequest{Subject: seeded(f, 2).ID(), Scope: ScopeAll})
	text, err := c.Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("whp1.")
	f.Add("whr1.AAAA")
	f.Fuzz(func(t *testing.T, text string) {
		if c, err := ParseTokenText(text); err == nil {
			if _, err := c.Text(); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := ParseRevocationText(text); err == nil {
			if _, err := r.Text(); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func FuzzParseRevocation(f *testing.F) {
	r, err := Revoke(seeded(f, 1), 9)
	if err != nil {
		f.Fatal(err)
	}
	b, err := r.Bytes()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRevocation(b)
		if err != nil {
			return
		}
		again, err := r.Bytes()
		if err != nil || string(again) != string(b) {
			t.Fatalf("%x decodes, and encodes to %x: %v", b, again, err)
		}
		_ = r.Verify()
	})
}

func FuzzValidChannel(f *testing.F) {
	for _, s := range []string{"a", "a/b", "../etc", "a//b", "out/c234e3445beea551", "A", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if ValidChannel(name) != nil {
			return
		}
		if len(name) == 0 || len(name) > MaxChannelName || name[0] == '/' || name[len(name)-1] == '/' || !ChannelWithin(name, name) || !ChannelWithin(name, "") {
			t.Fatalf("%q is a name", name)
		}
	})
}

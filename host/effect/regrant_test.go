package effect

import (
	"testing"

	"wasmhost.example/identity"
)

func TestGrantsAreAddedAndRevoked(t *testing.T) {
	a, b := identity.EntityID{1}, identity.EntityID{2}
	pub := func(node identity.NodeID, pattern string, token ...byte) PublishGrant {
		return PublishGrant{Node: node, Pattern: pattern, Token: token}
	}
	for _, c := range []struct {
		name                string
		has, added, revoked Grants
		want                Grants
	}{
		{"nothing changes", Grants{Send: []identity.EntityID{a}}, Grants{}, Grants{}, Grants{Send: []identity.EntityID{a}}},
		{"one is added twice", Grants{Send: []identity.EntityID{a}}, Grants{Send: []identity.EntityID{b, a}}, Grants{}, Grants{Send: []identity.EntityID{a, b}}},
		{"one is revoked", Grants{Send: []identity.EntityID{a, b}}, Grants{}, Grants{Send: []identity.EntityID{a}}, Grants{Send: []identity.EntityID{b}}},
		{"all but those named", Grants{SendAny: true, Send: []identity.EntityID{a}}, Grants{}, Grants{SendAny: true}, Grants{Send: []identity.EntityID{a}}},
		{"what is revoked and added is added", Grants{Send: []identity.EntityID{a}}, Grants{Send: []identity.EntityID{a}}, Grants{Send: []identity.EntityID{a}}, Grants{Send: []identity.EntityID{a}}},
		{"a token takes the place of another", Grants{Publish: []PublishGrant{pub(7, "x", 1)}}, Grants{Publish: []PublishGrant{pub(7, "x", 2)}}, Grants{}, Grants{Publish: []PublishGrant{pub(7, "x", 2)}}},
		{"so does another node", Grants{Publish: []PublishGrant{pub(7, "x")}}, Grants{Publish: []PublishGrant{pub(8, "x")}}, Grants{}, Grants{Publish: []PublishGrant{pub(8, "x")}}},
		{"a pattern is revoked of its node alone", Grants{Publish: []PublishGrant{pub(7, "x", 1), pub(7, "y")}}, Grants{}, Grants{Publish: []PublishGrant{pub(7, "x"), pub(8, "y")}}, Grants{Publish: []PublishGrant{pub(7, "y")}}},
	} {
		before := c.has.Clone()
		got := c.has.With(c.added, c.revoked)
		if !got.Equal(&c.want) || !got.inOrder() {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
		if !c.has.Equal(&before) {
			t.Errorf("%s: the grants before were changed to %+v", c.name, c.has)
		}
		if err := got.Check(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

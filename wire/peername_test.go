package wire

import (
	"errors"
	"strings"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// again makes a mesh with the key of another life, that calls itself otherwise and trusts
// the node at which it is trusted.
func again(t *testing.T, key *identity.KeyPair, name string, at *Mesh) *Mesh {
	t.Helper()
	m := newMesh(t, Config{Identity: key, Name: name})
	if err := errors.Join(m.Introduce(at.config.Identity.ID(), trust.RightsAll), m.Met(at.config.Identity.ID(), at.Name(), at.Addr().String())); err != nil {
		t.Fatal(err)
	}
	if _, err := m.session(t.Context(), at.Self()); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestARenamedPeerKeepsItsName has a peer call itself otherwise at each hello: it is still
// found, and ends, under the name that it had when it joined.
func TestARenamedPeerKeepsItsName(t *testing.T) {
	a, key := newMesh(t, Config{Name: "a"}), someKey(t)
	b := newMesh(t, Config{Identity: key, Name: "b"})
	joinWith(t, b, a, 0)
	other := newMesh(t, Config{Name: "other"})
	joinWith(t, other, a, trust.RightsAll)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"c", "other", "a", "all", "none", "", other.Self().String(), other.config.Identity.ID().String(), "a/b", "\x1b[31mb", "B\u0000"} {
		m := again(t, key, name, a)
		p, err := a.FindPeer("b")
		if err != nil || p.Key != key.ID() || p.Rights != 0 {
			t.Errorf("as %q: %+v, %v", name, p, err)
		}
		if p, err := a.FindPeer("other"); err != nil || p.Key != other.config.Identity.ID() {
			t.Errorf("as %q, the node that has the name other: %+v, %v", name, p, err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	p, err := a.FindPeer("b")
	if err == nil {
		err = a.Forget(p.Key)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.FindPeer(key.ID().Node().String()); !errors.Is(err, mesh.ErrUnknownNode) {
		t.Errorf("it is trusted still: %v", err)
	}
}

// TestNamesThatAreNotTaken has nodes join under names that they cannot have: they are
// listed without one.
func TestNamesThatAreNotTaken(t *testing.T) {
	a := newMesh(t, Config{Name: "a"})
	first := newMesh(t, Config{Name: "b"})
	joinWith(t, first, a, trust.RightsAll)
	for _, name := range []string{"a", "b", "all", "All", "none", first.Self().String(), first.config.Identity.ID().String(), "0123456789abcdef", "a/b", "..", "a b", "\x1b]0;x\a", "é"} {
		m := newMesh(t, Config{Name: name})
		joinWith(t, m, a, 0)
		p, err := a.FindPeer(m.Self().String())
		if err != nil || p.Name != "" {
			t.Errorf("as %q: it is listed as %q, %v", name, p.Name, err)
		}
	}
	if p, err := a.FindPeer("b"); err != nil || p.ID != first.Self() {
		t.Errorf("the first b: %+v, %v", p, err)
	}
}

// TestTheNameOfANodeIsOneOfAPeer has nodes join under names that serve --name takes.
func TestTheNameOfANodeIsOneOfAPeer(t *testing.T) {
	a := newMesh(t, Config{Name: "a"})
	for _, name := range []string{"10.0.0.1", strings.Repeat("rack-7.", 9) + "example.org", strings.Repeat("n", host.MaxNodeName)} {
		if err := host.ValidNodeName(name); err != nil {
			t.Fatal(err)
		}
		m := newMesh(t, Config{Name: name})
		joinWith(t, m, a, 0)
		if p, err := a.FindPeer(name); err != nil || p.ID != m.Self() {
			t.Errorf("a node of a name of %d bytes: %+v, %v", len(name), p, err)
		}
	}
}

// TestATokenGivesAnotherName has a node join again, with another name and token.
func TestATokenGivesAnotherName(t *testing.T) {
	a, key := newMesh(t, Config{Name: "a"}), someKey(t)
	for _, name := range []string{"b", "c"} {
		m := newMesh(t, Config{Identity: key, Name: name})
		joinWith(t, m, a, 0)
		if p, err := a.FindPeer(name); err != nil || p.Key != key.ID() {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	spent, err := a.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	m := newMesh(t, Config{Identity: key, Name: "d"})
	if _, err := m.Join(t.Context(), spent); err != nil {
		t.Fatal(err)
	}
	if _, err := newMesh(t, Config{Name: "thief"}).Join(t.Context(), spent); !errors.Is(err, trust.ErrTokenRefused) {
		t.Errorf("the same token, by another key: got %v, want ErrTokenRefused", err)
	}
	if _, err := newMesh(t, Config{Name: "elsewhere"}).Join(t.Context(), spent); !errors.Is(err, trust.ErrTokenRefused) {
		t.Errorf("the same token again: got %v, want ErrTokenRefused", err)
	}
}

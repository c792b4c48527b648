package wire

import (
	"net"
	"testing"
	"time"
)

func TestReachedAddress(t *testing.T) {
	from := &net.UDPAddr{IP: net.ParseIP("192.0.2.7"), Port: 4000}
	for addr, want := range map[string]string{
		"0.0.0.0:7433":      "192.0.2.7:7433",
		"[::]:7433":         "192.0.2.7:7433",
		"198.51.100.1:7433": "198.51.100.1:7433",
		"host.example:7433": "host.example:7433",
		"":                  "",
	} {
		if got := reached(addr, from); got != want {
			t.Errorf("%q is reached at %q, not %q", addr, got, want)
		}
	}
	if got, want := reached("[::]:1", &net.UDPAddr{IP: net.ParseIP("2001:db8::1")}), "[2001:db8::1]:1"; got != want {
		t.Errorf("reached at %q, not %q", got, want)
	}
}

// Nodes that listen on all addresses of their machines find one another, each by
// an address of the other's.
func TestListeningEverywhere(t *testing.T) {
	a, b := newMesh(t, Config{Name: "a", Addr: "0.0.0.0:0"}), newMesh(t, Config{Name: "b", Addr: "[::]:0"})
	token, err := a.Token(time.Minute, RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	if everywhere(parsed.Addr) {
		t.Errorf("the token says to dial %q", parsed.Addr)
	}
	join(t, a, b)
	for at, name := range map[*Mesh]string{a: "b", b: "a"} {
		p, err := at.FindPeer(name)
		if err != nil || everywhere(p.Addr) {
			t.Errorf("node %s is at %q, %v", name, p.Addr, err)
		}
	}
}

// The greeting of a node that has another address takes the place of the session
// that leads to the old one, on both sides. One that it dialled itself goes on.
func TestGreetingFromAnotherAddress(t *testing.T) {
	for _, dialled := range []bool{false, true} { // by the one that moved
		moved, other := newMesh(t, Config{Name: "moved"}), newMesh(t, Config{Name: "other"})
		if dialled {
			join(t, other, moved)
		} else {
			join(t, moved, other)
		}
		before := map[*Mesh]*session{moved: moved.current(other), other: other.current(moved)}
		before[other].peer.Addr = "192.0.2.7:7433" // where it was
		p, err := moved.trusted(other.Self())
		if err != nil {
			t.Fatal(err)
		}
		if err := moved.greetAnew(ctx, p); err != nil {
			t.Fatal(err)
		}
		for m, peer := range map[*Mesh]*Mesh{moved: other, other: moved} {
			s := m.current(peer)
			if replaced := s != before[m]; replaced == dialled {
				t.Errorf("dialled by the one that moved: %v; on %s the session is replaced: %v", dialled, m.Name(), replaced)
			}
			if !s.alive() {
				t.Errorf("dialled by the one that moved: %v; on %s the session is dead", dialled, m.Name())
			}
		}
	}
}

func (m *Mesh) current(peer *Mesh) *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[peer.Self()]
}

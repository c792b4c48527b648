package wire

import (
	"net"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"wasmhost.example/wire/trust"
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
	token, err := a.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := trust.ParseToken(token)
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

// A node that greets again has no use for the session before: its peer does not
// wait for that one to time out. Where each has just dialled the other, both
// sessions go on.
func TestGreetingAgain(t *testing.T) {
	for _, c := range []struct {
		dialled bool // the first session, by the one that greets again
		crossed bool // the first session came about while the other dialled
		takes   bool
	}{{true, false, true}, {true, true, true}, {false, false, true}, {false, true, false}} {
		again, other := newMesh(t, Config{Name: "again"}), newMesh(t, Config{Name: "other"})
		if c.dialled {
			join(t, other, again)
		} else {
			join(t, again, other)
		}
		before := map[*Mesh]*session{again: again.current(other), other: other.current(again)}
		if c.crossed {
			for m, s := range before {
				m.mu.Lock()
				s.since = time.Now().Add(time.Hour)
				m.mu.Unlock()
			}
		}
		p, err := again.trusted(other.Self())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := again.greet(ctx, p.Key, p.Addr, purposeHello, nil, 0); err != nil {
			t.Fatal(err)
		}
		for m, peer := range map[*Mesh]*Mesh{again: other, other: again} {
			s := m.current(peer)
			if taken := s != before[m]; taken != c.takes {
				t.Errorf("%+v: on %s another session takes the place of the first: %v", c, m.Name(), taken)
			}
			if !s.alive() {
				t.Errorf("%+v: on %s the session is dead", c, m.Name())
			}
		}
	}
}

// When its addresses change a node leaves to QUIC the sessions that it dialled, and
// dials those that had dialled it.
func TestReaddressing(t *testing.T) {
	for _, dialled := range []bool{false, true} { // by the one that moved
		moved, other := newMesh(t, Config{Name: "moved"}), newMesh(t, Config{Name: "other"})
		if dialled {
			join(t, other, moved)
		} else {
			join(t, moved, other)
		}
		before := moved.current(other)
		moved.readdressTo(other.Self())
		if s := moved.current(other); (s == before) != dialled || !s.alive() {
			t.Errorf("dialled by the one that moved: %v; the session goes on: %v", dialled, s == before)
		}
	}
}

// A session that is lost is made again, by who notices.
func TestLostSession(t *testing.T) {
	a, b := newMesh(t, Config{Name: "a"}), newMesh(t, Config{Name: "b"})
	join(t, a, b)
	lost := a.current(b)
	if err := lost.conn.CloseWithError(codeDone, ""); err != nil { // b's end closes as if nothing had been said
		t.Fatal(err)
	}
	a.greetAgain(lost, &quic.IdleTimeoutError{})
	if s := a.current(b); s == lost || !s.alive() || !s.dialled {
		t.Error("the session is not made again")
	}
	kept := a.current(b)
	a.greetAgain(kept, &quic.ApplicationError{})
	if a.current(b) != kept {
		t.Error("a session that was ended is made again")
	}
}

// What QUIC knows of a peer's address is kept when the session is over.
func TestAddressOfLostSession(t *testing.T) {
	a, b := newMesh(t, Config{Name: "a"}), newMesh(t, Config{Name: "b", Addr: "0.0.0.0:0"})
	join(t, a, b)
	s := a.current(b)
	want := s.peer.Addr
	stale := s.peer
	stale.Addr = "192.0.2.7:7433"
	a.mu.Lock()
	s.peer.Addr = stale.Addr
	a.mu.Unlock()
	if err := a.config.Trust.Put(stale); err != nil {
		t.Fatal(err)
	}
	a.noteAddr(s)
	if p, err := a.trusted(b.Self()); err != nil || p.Addr != want {
		t.Errorf("b is at %q, %v, not %q", p.Addr, err, want)
	}
}

func (m *Mesh) current(peer *Mesh) *session {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.sessions[peer.Self()]
}

package wire

import (
	"errors"
	"sync"
	"testing"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// held is a connection of a peer that has begun its hello and not said it.
type held struct {
	m      *Mesh
	conn   *quic.Conn
	stream *quic.Stream
}

// holdHello dials a as the peer of that key does, and holds its hello back. When it
// returns, a has taken the connection: a peer that dialled later has its session.
func holdHello(t *testing.T, key *identity.KeyPair, a *Mesh) *held {
	t.Helper()
	m := newMesh(t, Config{Identity: key, Name: "b"})
	udp, err := resolve(a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := m.transport.Dial(t.Context(), udp, m.clientTLS(a.config.Identity.ID()), quicConfig())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStreamSync(t.Context())
	if err == nil {
		_, err = stream.Write([]byte{purposeHello})
	}
	if err != nil {
		t.Fatal(err)
	}
	joinWith(t, newMesh(t, Config{}), a, 0)
	return &held{m, conn, stream}
}

// say says the hello, and returns why it is refused; empty: it is not.
func (h *held) say(t *testing.T) string {
	t.Helper()
	if err := writeHello(h.stream, 0, h.m.hello(nil)); err != nil {
		t.Fatal(err)
	}
	theirs, err := readHello(t.Context(), h.stream)
	if err != nil {
		t.Fatal(err)
	}
	return theirs.Refused
}

// TestAHelloHeldBackUndoesNothing has the operator take rights, and trust, from a peer
// that has connected and says its hello only then, from another address than before.
func TestAHelloHeldBackUndoesNothing(t *testing.T) {
	a, key := newMesh(t, Config{Name: "a"}), someKey(t)
	b := newMesh(t, Config{Identity: key, Name: "b"})
	joinWith(t, b, a, trust.RightsAll)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	h := holdHello(t, key, a)
	if err := a.Grant(key.ID(), trust.RightRead); err != nil {
		t.Fatal(err)
	}
	if refused := h.say(t); refused != "" {
		t.Errorf("a peer with fewer rights is refused: %s", refused)
	}
	if p, err := a.FindPeer("b"); err != nil || p.Rights != trust.RightRead {
		t.Errorf("after its hello the peer has rights %s, want %s: %v", p.Rights, trust.RightRead, err)
	}

	h = holdHello(t, key, a)
	if err := a.Forget(key.ID()); err != nil {
		t.Fatal(err)
	}
	if refused := h.say(t); refused == "" {
		t.Error("a peer that is trusted no more has a session")
	}
	if p, err := a.FindPeer(key.ID().Node().String()); !errors.Is(err, mesh.ErrUnknownNode) {
		t.Errorf("after its hello the peer is trusted again: %+v, %v", p, err)
	}
}

// lockedTrust is a trust store that sees whether the mesh holds trusting at each change.
type lockedTrust struct {
	trust.Memory
	m *Mesh

	seeing  sync.Mutex
	changes int
	loose   []string // changes without it
}

func (l *lockedTrust) Put(p trust.Peer) error {
	l.see("Put of " + p.Name)
	return l.Memory.Put(p)
}

func (l *lockedTrust) Delete(key identity.EntityID) error {
	l.see("Delete")
	return l.Memory.Delete(key)
}

func (l *lockedTrust) see(what string) {
	l.seeing.Lock()
	defer l.seeing.Unlock()
	l.changes++
	if l.m.trusting.TryLock() {
		l.m.trusting.Unlock()
		l.loose = append(l.loose, what)
	}
}

func (l *lockedTrust) seen() (changes int, loose []string) {
	l.seeing.Lock()
	defer l.seeing.Unlock()
	return l.changes, l.loose
}

// TestTrustIsChangedByOneAtATime has the trusted nodes changed in every way: a change that
// is made of what was read before another's change would undo that.
func TestTrustIsChangedByOneAtATime(t *testing.T) {
	locked := &lockedTrust{}
	a, key := newMesh(t, Config{Name: "a", Trust: locked}), someKey(t)
	locked.m = a
	for what, change := range map[string]func() error{
		"introduced": func() error { return a.Introduce(key.ID(), trust.RightRead) },
		"met":        func() error { return a.Met(key.ID(), "far", "127.0.0.1:9") },
		"granted":    func() error { return a.Grant(key.ID(), trust.RightOperate) },
		"forgotten":  func() error { return a.Forget(key.ID()) },
	} {
		if err := locked.Memory.Put(trust.Peer{Key: key.ID(), Name: "near"}); what != "introduced" && err != nil {
			t.Fatal(err)
		} else if what == "introduced" {
			if err := locked.Memory.Delete(key.ID()); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := locked.seen()
		if err := change(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if after, _ := locked.seen(); after != before+1 {
			t.Errorf("%s: %d changes", what, after-before)
		}
	}
	joinWith(t, newMesh(t, Config{}), a, 0)
	if changes, loose := locked.seen(); changes < 5 || len(loose) > 0 {
		t.Errorf("of %d changes %v were made beside others", changes, loose)
	}
}

package wire

import (
	"errors"
	"slices"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/mesh"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire/trust"
)

// A node finds another with its own key at an address, and hears how far that is, in
// pages. It takes neither itself nor a stranger for its twin.
func TestTwinIsFound(t *testing.T) {
	key := someKey(t)
	old, again, stranger := newMesh(t, Config{Identity: key}), newMesh(t, Config{Identity: key}), newMesh(t, Config{})
	var want []host.TwinStanding
	for i := range 2*twinPage + 1 {
		want = append(want, host.TwinStanding{Entity: identity.EntityID{byte(i), byte(i >> 8), 1}, Epoch: 1, Sequence: uint64(i), Applied: uint64(i)})
	}
	old.ServeStandings(func() []host.TwinStanding { return want })
	found, got, err := again.Twin(t.Context(), old.Addr().String())
	if !found || err != nil || !slices.Equal(got, want) {
		t.Errorf("the twin: %v, %d standings, %v", found, len(got), err)
	}
	if found, _, err := again.Twin(t.Context(), again.Addr().String()); found || err != nil {
		t.Errorf("itself: %v, %v", found, err)
	}
	if found, _, err := again.Twin(t.Context(), stranger.Addr().String()); found || err == nil {
		t.Errorf("a stranger: %v, %v", found, err)
	}
}

// Only a node with the same key is told anything: a trusted peer is refused.
func TestTwinTellsNoPeer(t *testing.T) {
	a, b := newMesh(t, Config{}), newMesh(t, Config{})
	join(t, a, b)
	told := false
	a.ServeStandings(func() []host.TwinStanding {
		told = true
		return nil
	})
	udp, err := resolve(a.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn, err := b.transport.Dial(t.Context(), udp, b.clientTLS(a.config.Identity.ID()), quicConfig())
	if err != nil {
		t.Fatal(err)
	}
	stream, err := conn.OpenStreamSync(t.Context())
	if err == nil {
		err = writeHello(stream, purposeTwin, b.hello(nil))
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readHello(t.Context(), stream); err == nil {
		t.Error("a peer is answered as a twin")
	}
	if _, err := canon.ReadFrame(stream, twinFrame); err == nil || told {
		t.Errorf("a peer is told how far the node is: %v", err)
	}
}

// An isolated mesh leaves its peers' sessions with the twin alone, in both directions;
// afterwards it speaks to them.
func TestIsolatedMeshTakesNoSessions(t *testing.T) {
	key, peer := someKey(t), newMesh(t, Config{Name: "peer"})
	known := &trust.Memory{}
	old := newMesh(t, Config{Identity: key, Name: "old", Trust: known})
	join(t, peer, old)
	again := newMesh(t, Config{Identity: key, Name: "old", Trust: known})
	again.Isolate(true)
	if _, err := again.session(t.Context(), peer.Self()); !errors.Is(err, ErrIsolated) || !errors.Is(err, mesh.ErrUnreachable) {
		t.Errorf("dialling: got %v, want ErrIsolated", err)
	}
	if _, err := peer.greet(t.Context(), key.ID(), again.Addr().String(), purposeHello, nil, 0); err == nil {
		t.Error("an isolated mesh takes a session")
	}
	if p, err := peer.trusted(old.Self()); err != nil || p.Addr != old.Addr().String() {
		t.Errorf("the peer looks for the node at %s, %v; it is at %s", p.Addr, err, old.Addr())
	}
	again.Isolate(false)
	if _, err := again.session(t.Context(), peer.Self()); err != nil {
		t.Errorf("dialling later: %v", err)
	}
}

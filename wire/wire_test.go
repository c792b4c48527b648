package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

var ctx = context.Background()

// testNode is a whole node on loopback.
type testNode struct {
	t    testing.TB
	mesh *Mesh
	rt   *host.Runtime
	node *Node
}

func newMesh(t testing.TB, c Config) *Mesh {
	t.Helper()
	if c.Identity == nil {
		k, err := identity.Generate()
		if err != nil {
			t.Fatal(err)
		}
		c.Identity = k
	}
	if c.Addr == "" {
		c.Addr = "127.0.0.1:0"
	}
	m, err := Listen(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

func newNode(t testing.TB, name string) *testNode {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	m := newMesh(t, Config{Identity: key, Name: name})
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	rt, err := host.New(ctx, host.Options{Node: key, Store: s, Mesh: m})
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(rt.Shutdown(ctx), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return &testNode{t: t, mesh: m, rt: rt, node: NewNode(m, rt)}
}

func join(t testing.TB, a, b *Mesh) {
	t.Helper()
	token, err := a.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := b.Join(ctx, token); err != nil || id != a.Self() {
		t.Fatalf("join: %v, %v", id, err)
	}
}

func counter(t testing.TB, n *testNode) identity.EntityID {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("..", "testdata", "wasm", "c", "counter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.rt.Kinds().Push(ctx, "counter", wasm); err != nil {
		t.Fatal(err)
	}
	i, err := n.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
	if err != nil {
		t.Fatal(err)
	}
	return i.Entity
}

func TestJoin(t *testing.T) {
	var ahead atomic.Int64 // of a's clock
	a, b := newMesh(t, Config{Name: "a", Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }}), newMesh(t, Config{Name: "b"})
	token, err := a.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   *Mesh
		name string
	}{{a, "b"}, {b, "a"}} {
		p, err := c.at.FindPeer(c.name)
		if err != nil || !p.Connected || p.Addr == "" {
			t.Errorf("peer %q: %+v, %v", c.name, p, err)
		}
	}
	c := newMesh(t, Config{})
	if _, err := c.Join(ctx, token); !errors.Is(err, trust.ErrTokenRefused) {
		t.Errorf("a spent token: %v", err)
	}
	forged, err := trust.ParseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	forged.Secret = make([]byte, 32)
	if _, err := c.Join(ctx, forged.String()); !errors.Is(err, trust.ErrTokenRefused) {
		t.Errorf("a forged secret: %v", err)
	}
	late, err := a.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	ahead.Store(int64(2 * time.Minute))
	if _, err := c.Join(ctx, late); !errors.Is(err, trust.ErrTokenRefused) {
		t.Errorf("a token that expired at its issuer: %v", err)
	}
	forged.Key[0] ^= 1
	if _, err := c.Join(ctx, forged.String()); err == nil {
		t.Error("joined a node with another key than the token's")
	}
	if peers, err := c.Peers(); err != nil || len(peers) != 0 {
		t.Errorf("after failed joins: %v, %v", peers, err)
	}
}

func TestParseTokenRefuses(t *testing.T) {
	a := newMesh(t, Config{})
	token, err := a.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	mistyped := []byte(token)
	mistyped[20] = 'A' + (mistyped[20]-'A'+1)%26 // a letter of base64, and another one
	for _, bad := range []string{"", "wh1.", "wh2" + token[3:], token[:len(token)-1], string(mistyped), token + "AAAA", strings.ToLower(token)} {
		if _, err := trust.ParseToken(bad); !errors.Is(err, trust.ErrBadToken) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// A node that is not trusted gets no further than its hello, and nothing
// changes.
func TestUntrustedNode(t *testing.T) {
	a, b := newMesh(t, Config{}), newMesh(t, Config{})
	if err := b.config.Trust.Put(trust.Peer{Key: a.config.Identity.ID(), Addr: a.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	_, err := b.session(ctx, a.Self())
	if !errors.Is(err, ErrUntrusted) {
		t.Errorf("got %v, want ErrUntrusted", err)
	}
	// The other way round: a dials, but another key answers.
	c := newMesh(t, Config{})
	if err := b.config.Trust.Put(trust.Peer{Key: c.config.Identity.ID(), Addr: a.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.session(ctx, c.Self()); err == nil {
		t.Error("a session with a node of another key")
	}
	if peers, err := a.Peers(); err != nil || len(peers) != 0 {
		t.Errorf("a has peers %v, %v", peers, err)
	}
	if _, err := a.Peer(b.Self()); !errors.Is(err, mesh.ErrUnknownNode) {
		t.Errorf("got %v, want ErrUnknownNode", err)
	}
}

func TestM15_F66_NodeWithoutRuntimeSaysSo(t *testing.T) {
	a := newNode(t, "a")
	b := newMesh(t, Config{NoDaemons: true})
	join(t, a.mesh, b)
	id := counter(t, a)
	m, err := a.rt.StartMigration(ctx, id, b.Self())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wait(ctx); !errors.Is(err, &migration.Error{Code: migration.ComputeNotSupported}) {
		t.Errorf("got %v, want ComputeNotSupported", err)
	}
	m, err = a.rt.StartMigrationWith(ctx, id, a.mesh.Self(), host.MigrationOptions{Source: b.Self()})
	if err == nil {
		_, err = m.Wait(ctx)
	}
	if !errors.Is(err, &migration.Error{Code: migration.ComputeNotSupported}) {
		t.Errorf("as a source: %v, want ComputeNotSupported", err)
	}
}

func TestTunnel(t *testing.T) {
	a, b := newMesh(t, Config{}), newMesh(t, Config{})
	join(t, a, b)
	a.ServeHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, _ := PeerOf(r.Context())
		fmt.Fprintf(w, "%s %s ", from, r.URL.Path)
		if _, err := io.Copy(w, r.Body); err != nil {
			t.Error(err)
		}
	}))
	client := &http.Client{Transport: b.HTTPTransport(a.Self())}
	body := strings.Repeat("all the news ", 100_000)
	res, err := client.Post("http://node/v1/x", "text/plain", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || string(got) != b.Self().String()+" /v1/x "+body {
		t.Errorf("got %d bytes, %v", len(got), err)
	}
}

// What a peer asks of a node that begins waits until that has a handler, and not for ever.
func TestRequestsWaitForAHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := &tunnel{closed: make(chan struct{}), has: make(chan struct{})}
		got := make(chan http.Handler)
		go func() { got <- begun.handle(ctx) }()
		synctest.Wait()
		select {
		case h := <-got:
			t.Fatalf("got %v before there is a handler", h)
		default:
		}
		begun.setHandler(http.NotFoundHandler())
		if h := <-got; h == nil {
			t.Error("got no handler, want the one that was set")
		}

		never, started := &tunnel{closed: make(chan struct{}), has: make(chan struct{})}, time.Now()
		if h := never.handle(ctx); h != nil || time.Since(started) != handlerWait {
			t.Errorf("without a handler: got %v after %v, want none after %v", h, time.Since(started), handlerWait)
		}
	})
}

// One sender pipelines events while the daemon moves between two nodes and the
// connection between them is cut. Every event is applied once, in order.
func TestSenderFollowsAndIsExactlyOnce(t *testing.T) {
	a, b := newNode(t, "a"), newNode(t, "b")
	join(t, a.mesh, b.mesh)
	id := counter(t, a)
	s, err := a.node.OpenSender(ctx, id, 0, identity.EntityID{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const events = 5000
	moves := make(chan error, 1)
	go func() {
		from, to := a, b
		for i := range 6 {
			for { // the cut may hit the next migration
				m, err := from.rt.StartMigration(ctx, id, to.mesh.Self())
				if err == nil {
					_, err = m.Wait(ctx)
				}
				if err == nil {
					break
				}
				if !errors.Is(err, &migration.Error{Code: migration.TargetUnavailable}) {
					moves <- err
					return
				}
			}
			if i%2 == 0 { // cut what connects them
				a.mesh.mu.Lock()
				sess := a.mesh.sessions[b.mesh.Self()]
				a.mesh.mu.Unlock()
				if err := sess.conn.CloseWithError(codeAborted, "cut by the test"); err != nil {
					moves <- err
					return
				}
			}
			from, to = to, from
		}
		moves <- nil
	}()
	tickets := make(chan *Ticket, events)
	go func() {
		defer close(tickets)
		for range events {
			ticket, err := s.Submit(ctx, []byte("x"))
			if err != nil {
				t.Error(err)
				return
			}
			tickets <- ticket
		}
	}()
	n := 0
	for ticket := range tickets {
		n++
		res, err := ticket.Wait(ctx)
		if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != fmt.Sprint(n) {
			t.Fatalf("event %d: %+v, %v", n, res, err)
		}
	}
	if n != events {
		t.Fatalf("%d events answered", n)
	}
	if err := <-moves; err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if err := a.rt.Outputs().Export(ctx, id, &file); err != nil {
		t.Fatal(err)
	}
	rep, err := chain.Verify(&file)
	if err != nil || rep.Outputs != events || len(rep.Moves) != 6 {
		t.Errorf("chain %+v, %v", rep, err)
	}
}

func TestGuestFaultsTravelTyped(t *testing.T) {
	a, b := newNode(t, "a"), newNode(t, "b")
	join(t, a.mesh, b.mesh)
	id := counter(t, a)
	s, err := b.node.OpenSender(ctx, id, a.mesh.Self(), identity.EntityID{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i, payload := range []string{"x", "fail", "x"} {
		ticket, err := s.Submit(ctx, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		res, err := ticket.Wait(ctx)
		var fault *daemon.GuestError
		if payload == "fail" {
			if !errors.As(err, &fault) || fault.Code != 1 || fault.Text != "asked to fail" {
				t.Errorf("event %d: %v", i, err)
			}
		} else if err != nil || string(res.Outputs[0].Payload) != fmt.Sprint(i/2+1) {
			t.Errorf("event %d: %+v, %v", i, res, err)
		}
	}
	none, err := b.node.OpenSender(ctx, identity.EntityID{9}, a.mesh.Self(), identity.EntityID{})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	ticket, err := none.Submit(ctx, nil)
	if err == nil {
		_, err = ticket.Wait(ctx)
	}
	if !errors.Is(err, daemon.ErrNotFound) {
		t.Errorf("unknown daemon: %v", err)
	}
}

// A peer that talks nonsense on any stream is dropped, and harms nobody.
func TestGarbageOnStreams(t *testing.T) {
	a, b := newNode(t, "a"), newNode(t, "b")
	join(t, a.mesh, b.mesh)
	id := counter(t, a)
	for _, purpose := range []byte{0, purposeHello, purposeJoin, purposeEvents, purposeTunnel, purposeMigration, 99} {
		for _, garbage := range [][]byte{{}, {1}, bytes.Repeat([]byte{0xff}, 64), append([]byte{0, 0, 0, 4}, "junk"...), {0, 0, 0, 1, 1}} {
			stream, err := b.mesh.open(ctx, a.mesh.Self(), purpose)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Write(garbage); err != nil {
				continue // already cut
			}
			if err := stream.Close(); err != nil {
				continue
			}
			if err := stream.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, stream); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("purpose %d, garbage %x: the stream hangs", purpose, garbage)
			}
		}
	}
	if _, err := a.rt.Deliver(ctx, id, daemon.Event{Payload: []byte("x")}); err != nil {
		t.Errorf("after the garbage: %v", err)
	}
}

func FuzzMessages(f *testing.F) {
	f.Add([]byte{0x83})
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeReply(b); err == nil {
			if _, err := r.result(identity.EntityID{}); err != nil && r.Code == codeOK {
				t.Error(err)
			}
		}
		if _, err := decodeEvent(b); err != nil && len(b) == 0 {
			return
		}
		if _, err := decodeHello(b); err != nil {
			return
		}
	})
}

// A node that ends without a word and starts again at its address is not taken
// for the one that was there: what waits for the old one hears at once.
func TestRestartedPeerIsNoticed(t *testing.T) {
	a, key := newMesh(t, Config{Name: "a"}), newKey(t)
	b, err := Listen(ctx, Config{Identity: key, Name: "b", Addr: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	join(t, a, b) // b dialled: a's packets to it carry no address of a stateless reset
	c, err := mustPeer(t, a, b.Self()).OpenMigration(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Send(&migration.Hold{}); err != nil {
		t.Fatal(err)
	}
	addr, trust := b.Addr().String(), b.config.Trust
	if err := b.transport.Conn.Close(); err != nil { // as a crash: nothing is said
		t.Fatal(err)
	}
	again, err := Listen(ctx, Config{Identity: key, Name: "b", Addr: addr, Trust: trust})
	if err != nil {
		t.Fatal(err)
	}
	again.greetAll()
	begun := time.Now()
	for err == nil { // it may have said something before
		_, err = c.Recv()
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("after %v: %v", took, err)
	}
	if _, err := mustPeer(t, a, again.Self()).SealKey(ctx); err != nil {
		t.Error(err)
	}
	for _, m := range []*Mesh{again, b} {
		if err := m.Close(); err != nil {
			t.Log(err)
		}
	}
}

func newKey(t testing.TB) *identity.KeyPair {
	t.Helper()
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func mustPeer(t testing.TB, m *Mesh, id identity.NodeID) mesh.Peer {
	t.Helper()
	p, err := m.Peer(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

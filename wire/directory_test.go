package wire

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"

	"wasmhost.example/host/directory"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
	"wasmhost.example/wire/trust"
)

// openDirectory opens a stream as a peer that speaks by hand.
func openDirectory(t *testing.T, m *Mesh, at identity.NodeID, purpose byte) *quic.Stream {
	t.Helper()
	s, err := m.open(t.Context(), at, purpose)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cut(s) })
	if err := s.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return s
}

func answerOf(s *quic.Stream) error {
	b, err := canon.ReadFrame(s, directory.MaxAnswer)
	if err != nil {
		return err
	}
	a, err := directory.DecodeAnswer(b)
	if err != nil {
		return err
	}
	return a.Err()
}

// voter is a node whose directory others ask.
func voter(t *testing.T) (*Mesh, *directory.Link) {
	mem := directory.NewMemory().Link()
	m := newMesh(t, Config{Name: "voter"})
	m.ServeDirectory(directory.NewGuard(directory.GuardOptions{Engine: mem, Cluster: "main", Logger: slog.New(slog.DiscardHandler),
		Voters: func(context.Context) ([]directory.Voter, error) {
			return []directory.Voter{{Name: m.Self().String()}}, nil
		},
		RemoveVoter: func(context.Context, identity.NodeID) error { return nil }}))
	return m, mem
}

func joinWith(t *testing.T, m, at *Mesh, rights trust.Rights) {
	t.Helper()
	token, err := at.Token(time.Minute, rights)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Join(t.Context(), token); err != nil {
		t.Fatal(err)
	}
}

// TestNoRightIsAWayIntoTheDirectory has a peer with each right, and with all that there
// are, ask the directory of a cluster that it was never let into, and speak to it by
// what is no request.
func TestNoRightIsAWayIntoTheDirectory(t *testing.T) {
	v, mem := voter(t)
	peer := newMesh(t, Config{Name: "peer"})
	joinWith(t, peer, v, 0)
	client := peer.AskDirectory("main", []identity.NodeID{v.Self()})
	for _, rights := range []trust.Rights{0, trust.RightRead, trust.RightOperate, trust.RightMigrate, trust.RightChannels, trust.RightKinds, trust.RightJoin, trust.RightOperate | trust.RightMigrate, trust.RightsAll, trust.RightsVoter} {
		p, err := v.FindPeer(peer.Self().String())
		if err == nil {
			err = v.Grant(p.Key, rights)
		}
		if err != nil {
			t.Fatal(err)
		}
		for what, err := range map[string]error{
			"get": func() error { _, _, err := client.Get(t.Context(), "beat/0000000000000001"); return err }(),
			"commit": func() error {
				_, err := client.Commit(t.Context(), nil, []directory.Write{{Key: "beat/0000000000000001", Value: []byte{1}}})
				return err
			}(),
			"watch":  client.Watch(t.Context(), "", func(*directory.Change) { t.Error("it sees something") }),
			"voters": func() error { _, err := client.Voters(t.Context()); return err }(),
			"remove": client.RemoveVoter(t.Context(), 1),
		} {
			if !errors.Is(err, directory.ErrDenied) {
				t.Errorf("with %v, %s: got %v, want ErrDenied", rights, what, err)
			}
		}
	}
	if p, err := v.FindPeer(peer.Self().String()); err != nil || p.Denied != 50 {
		t.Errorf("%d requests were counted as denied, want 50: %v", p.Denied, err)
	}
	if _, revision, err := mem.Get(t.Context(), "beat/0000000000000001"); err != nil || revision != 0 {
		t.Errorf("something was written: %d, %v", revision, err)
	}
	s := openDirectory(t, peer, v.Self(), purposeRaw) // gRPC, as earlier versions spoke it
	if _, err := io.WriteString(s, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"); err != nil {
		t.Log(err) // it may be cut by then
	}
	if _, err := io.ReadAll(s); !errors.As(err, new(*quic.StreamError)) {
		t.Errorf("gRPC was answered: %v", err)
	}
	for what, b := range map[string]string{"an HTTP/2 preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "a frame without an end": "\x7f\xff\xff\xff", "an empty frame": "\x00\x00\x00\x00"} {
		s := openDirectory(t, peer, v.Self(), purposeDirectory)
		if _, err := io.WriteString(s, b); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(s.Close(), answerOf(s)); !errors.Is(err, directory.ErrMalformed) {
			t.Errorf("%s: got %v, want ErrMalformed", what, err)
		}
	}
}

// memberOf lets a peer in, as a cluster does, and returns the peer's client.
func memberOf(t *testing.T, peer, v *Mesh, mem *directory.Link, rights trust.Rights) *directory.Member {
	t.Helper()
	joinWith(t, peer, v, rights)
	key := peer.config.Identity.ID()
	if err := directory.SetGrant(t.Context(), mem, directory.Grant{Key: key, Rights: uint8(rights)}, true); err != nil {
		t.Fatal(err)
	}
	m, err := directory.NewMember(directory.Options{Engine: peer.AskDirectory("main", []identity.NodeID{v.Self()}),
		Self: directory.Node{Key: key, Name: "peer", Addr: "127.0.0.1:1", TTL: 10 * time.Second}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// hears is an observer that tells when its node's session began.
type hears struct {
	directory.Observer
	began chan struct{}
	once  sync.Once
}

func (h *hears) SessionBegan(uint64)                             { h.once.Do(func() { close(h.began) }) }
func (*hears) DaemonChanged(identity.EntityID, *directory.Entry) {}
func (*hears) DaemonRemoved(directory.Removal)                   {}
func (*hears) NodeCame(directory.Node)                           {}
func (*hears) NodeGone(identity.NodeID)                          {}
func (*hears) NodeRemoved(directory.Node)                        {}
func (*hears) LeaseChanged(bool)                                 {}

// TestAMemberWithoutAVote comes in, writes what is its own, and is refused what is not.
func TestAMemberWithoutAVote(t *testing.T) {
	v, mem := voter(t)
	peer := newMesh(t, Config{Name: "peer"})
	m := memberOf(t, peer, v, mem, trust.RightJoin)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	o := &hears{began: make(chan struct{})}
	work.Go(func() { m.Run(ctx, o) })
	defer work.Wait()
	defer cancel()
	select {
	case <-o.began:
	case <-time.After(20 * time.Second):
		t.Fatalf("it has no session: %v", m.Err())
	}
	entity := identity.EntityID{1, 2, 3}
	d := directory.Daemon{Entity: entity, Name: "c1", Owner: peer.Self(), Epoch: 1}
	e, err := m.Create(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.Read(ctx, entity); err != nil || got.Revision != e.Revision || got.Owner != peer.Self() {
		t.Errorf("it reads %+v, %v", got, err)
	}
	if _, err := m.Create(ctx, directory.Daemon{Entity: identity.EntityID{9}, Name: "c1", Owner: peer.Self(), Epoch: 1}); !errors.As(err, new(*directory.NameTakenError)) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := m.Create(ctx, directory.Daemon{Entity: identity.EntityID{8}, Name: "c2", Owner: v.Self(), Epoch: 1}); !errors.Is(err, directory.ErrDenied) {
		t.Errorf("another's daemon: %v", err)
	}
	if err := m.LetIn(ctx, 7); !errors.Is(err, directory.ErrDenied) {
		t.Errorf("letting a node in: %v", err)
	}
	if err := m.Delete(ctx, e); err != nil {
		t.Error(err)
	}
}

// TestWatchesAndRequestsHaveABound opens more than a peer may have open.
func TestWatchesAndRequestsHaveABound(t *testing.T) {
	v, mem := voter(t)
	peer := newMesh(t, Config{Name: "peer"})
	memberOf(t, peer, v, mem, trust.RightJoin)
	watch := directory.NewRequest(directory.OpWatch, "main")
	b, err := watch.Encode()
	if err != nil {
		t.Fatal(err)
	}
	ask := func() *quic.Stream {
		s := openDirectory(t, peer, v.Self(), purposeDirectory)
		if err := canon.WriteFrame(s, b); err != nil {
			t.Fatal(err)
		}
		return s
	}
	var open []*quic.Stream
	for range maxDirectoryWatches {
		s := ask()
		if err := answerOf(s); err != nil {
			t.Fatal(err)
		}
		open = append(open, s)
	}
	more := ask()
	if err := answerOf(more); !errors.Is(err, directory.ErrBusy) {
		t.Errorf("a watch too many: got %v, want ErrBusy", err)
	}
	if _, err := io.ReadAll(more); err != nil {
		t.Error(err)
	}
	for i := len(open); i < maxDirectoryRequests; i++ { // none says what it wants
		openDirectory(t, peer, v.Self(), purposeDirectory)
	}
	for { // they are taken as they arrive
		v.mu.Lock()
		n := v.asking[peer.Self()].requests
		v.mu.Unlock()
		if n == maxDirectoryRequests {
			break
		}
		runtime.Gosched()
	}
	if err := answerOf(ask()); !errors.Is(err, directory.ErrBusy) {
		t.Errorf("a request too many: got %v, want ErrBusy", err)
	}
	for _, s := range open {
		cut(s)
	}
}

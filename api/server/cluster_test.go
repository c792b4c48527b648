package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/cluster"
	"wasmhost.example/api/server/metrics"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// memoryEngine is an Engine of nodes in one process.
type memoryEngine struct {
	removed  []identity.NodeID
	admitted atomic.Int64
	voters   map[string]api.ClusterMember
	begun    []cluster.NewDirectory
	follows  []identity.NodeID

	mu sync.Mutex // guards the lists
}

func (*memoryEngine) Name() string { return "test" }
func (*memoryEngine) Kind() string { return "embedded" }
func (e *memoryEngine) Peers(context.Context) (map[string]api.ClusterMember, error) {
	out := make(map[string]api.ClusterMember)
	for k, v := range e.voters {
		out[k] = v
	}
	return out, nil
}
func (e *memoryEngine) Admit(_ context.Context, n identity.NodeID, a api.Admission) (api.Admitted, error) {
	e.admitted.Add(1)
	return api.Admitted{Cluster: "test", Voter: true, Others: n.String() + "=" + a.Addr, Secret: make([]byte, 32), Voters: []string{}}, nil
}
func (e *memoryEngine) Remove(_ context.Context, n identity.NodeID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.removed = append(e.removed, n)
	return nil
}

func (e *memoryEngine) Recover(_ context.Context, d cluster.NewDirectory) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.begun = append(e.begun, d)
	return nil
}
func (e *memoryEngine) Follow(_ context.Context, n identity.NodeID) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.follows = append(e.follows, n)
	return nil
}

// said returns copies of what the engine was asked to remove, begin and follow.
func (e *memoryEngine) said() (removed []identity.NodeID, begun []cluster.NewDirectory, follows []identity.NodeID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.removed), slices.Clone(e.begun), slices.Clone(e.follows)
}

type clusterNode struct {
	mesh   *wire.Mesh
	rt     *host.Runtime
	server *Server
	engine *memoryEngine
	link   *directory.Link
	key    *identity.KeyPair
	end    func() error
}

func serveClustered(t *testing.T, name string, mem *directory.Memory) *clusterNode {
	t.Helper()
	logger := slog.New(slog.DiscardHandler)
	key := must[*identity.KeyPair](t)(identity.Generate())
	mesh := must[*wire.Mesh](t)(wire.Listen(ctx, wire.Config{Identity: key, Name: name, Addr: "127.0.0.1:0", Logger: logger}))
	s := must[*store.Store](t)(store.Open(store.Options{Ephemeral: true, Logger: logger}))
	link := mem.Link()
	m := must[*directory.Member](t)(directory.NewMember(directory.Options{Engine: link, Self: directory.Node{Key: key.ID(), Name: name, Addr: mesh.Addr().String(), TTL: time.Second}, Logger: logger}))
	var node *wire.Node
	rt := must[*host.Runtime](t)(host.New(ctx, host.Options{Node: key, Store: s, Mesh: mesh, Logger: logger, Cluster: &host.ClusterOptions{Member: m,
		Came: func(n directory.Node) {
			if err := errors.Join(mesh.Introduce(n.Key, trust.RightsAll), mesh.Met(n.Key, n.Name, n.Addr)); err != nil {
				t.Error(err)
			}
		},
		Gone: mesh.Lost, Moved: func(m daemon.Moved) { node.Moved(m) }}}))
	node = wire.NewNode(mesh, rt)
	n := &clusterNode{link: link, key: key, mesh: mesh, rt: rt, server: New(rt, mesh, node, "test", logger), engine: &memoryEngine{voters: map[string]api.ClusterMember{mesh.Self().String(): {Role: "voter", Leader: true}}}}
	n.server.SetEngine(n.engine)
	if err := rt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	ended := false
	n.end = func() error {
		if ended {
			return nil
		}
		ended = true
		return errors.Join(rt.Shutdown(ctx), mesh.Close(), s.Close())
	}
	t.Cleanup(func() {
		if err := n.end(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// eventually asks again until fn has no error.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestClusterAnswers walks through what the API says of a cluster: every answer is
// as the document says, nodes trust each other by it, a daemon goes on where its
// standby is, and a lost node is forgotten.
func TestClusterAnswers(t *testing.T) {
	mem := directory.NewMemory()
	a, b := serveClustered(t, "a", mem), serveClustered(t, "b", mem)
	checked := newConforming(t, a.server)
	c, _ := clientOf(t, checked)
	onB, _ := clientOf(t, b.server)

	eventually(t, func() error {
		if s := must[api.ClusterStatus](t)(c.Cluster().Status(ctx)); s.Holding || len(s.Members) != 2 || !s.Members[0].Here || !s.Members[1].Here {
			return errors.New("not all members are there")
		}
		return nil
	})
	if _, err := cluster.AskIn(ctx, b.mesh, a.mesh.Self(), api.Admission{Addr: "127.0.0.1:1"}); err != nil {
		t.Errorf("a node that the cluster introduced is not let in: %v", err)
	}
	must[api.Kind](t)(onB.Kinds().Push(ctx, "counter", bytes.NewReader(counterModule(t))))
	must[api.Daemon](t)(onB.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c1", Standbys: 1}))
	eventually(t, func() error {
		d := must[api.Daemon](t)(c.Daemons().Get(ctx, "c1"))
		if d.Cluster == nil || len(d.Cluster.InSync) != 1 || d.Cluster.Standbys != 1 || d.Cluster.Ack != "memory" || d.NodeID != b.mesh.Self().String() {
			return errors.New("the standby is not in sync")
		}
		return nil
	})
	must[api.Sent](t)(c.Send(ctx, "c1", "", []byte("x")))
	_, err := c.Cluster().RemoveMember(ctx, "b")
	var p *api.Problem
	if !errors.As(err, &p) || p.Code != "member-present" {
		t.Errorf("removing a node that is there: %v", err)
	}
	for code, req := range map[string]api.Spawn{"bad-standbys": {Kind: "counter", Standbys: 9}, "bad-ack": {Kind: "counter", Ack: "paper"}} {
		if _, err := onB.Spawn(ctx, req); !errors.As(err, &p) || p.Code != code {
			t.Errorf("%v, want %s", err, code)
		}
	}
	if err := b.end(); err != nil {
		t.Fatal(err)
	}
	sent := must[api.Sent](t)(c.Send(ctx, "c1", "", []byte("y"))) // it waits until the daemon is here
	if len(sent.Outputs) != 1 || sent.Outputs[0].Text == nil || *sent.Outputs[0].Text != "2" || sent.Outputs[0].Epoch != 2 {
		t.Errorf("the daemon went on with %+v", sent)
	}
	must[api.ClusterMember](t)(c.Cluster().RemoveMember(ctx, b.mesh.Self().String()))
	if removed, _, _ := a.engine.said(); len(removed) != 1 || removed[0] != b.mesh.Self() {
		t.Errorf("the engine was told to remove %v", removed)
	}
	if _, err := a.mesh.FindPeer(b.mesh.Self().String()); !errors.Is(err, mesh.ErrUnknownNode) {
		t.Errorf("the node is trusted still: %v", err)
	}
	if s := must[api.ClusterStatus](t)(c.Cluster().Status(ctx)); len(s.Members) != 1 || s.Daemons != 1 || s.Wanting != 1 || s.Orphaned != 0 {
		t.Errorf("the cluster stands so: %+v", s)
	}
	said := metrics.New(a.rt, a.mesh, nil, "test", slog.New(slog.DiscardHandler))
	w := httptest.NewRecorder()
	a.server.SetMetrics(said)
	a.server.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, line := range []string{"wasmhost_cluster_holding 0", `wasmhost_cluster_members{here="true"} 1`, `wasmhost_cluster_daemons{state="wanting"} 1`, `wasmhost_cluster_daemons{state="lost"} 0`} {
		if !strings.Contains(w.Body.String(), "\n"+line+"\n") {
			t.Errorf("the metrics do not say %s", line)
		}
	}
	if _, err := c.Cluster().RemoveMember(ctx, "nobody"); !errors.As(err, &p) || p.Code != "node-not-found" {
		t.Errorf("removing nobody: %v", err)
	}
	for _, pattern := range []string{"GET /v1/cluster", "DELETE /v1/cluster/members/{node}"} {
		if !checked.seen[pattern] {
			t.Errorf("%s was not answered with success", pattern)
		}
	}
}

// TestNoCluster asks a node of none.
func TestNoCluster(t *testing.T) {
	a := serve(t, "a")
	c, _ := clientOf(t, a.server)
	for name, err := range map[string]error{"status": errorOf(c.Cluster().Status(ctx)), "remove": errorOf(c.Cluster().RemoveMember(ctx, "b")), "standbys": errorOf(c.Spawn(ctx, api.Spawn{Kind: "k", Standbys: 1}))} {
		var p *api.Problem
		if !errors.As(err, &p) || p.Code != "no-cluster" && name != "standbys" || p.Code != "kind-not-found" && name == "standbys" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestOnlyJoinLetsANodeIn has a peer that is in no cluster ask to come in, with each
// right, and then do whatever else there is to do about a cluster.
func TestOnlyJoinLetsANodeIn(t *testing.T) {
	a := serveClustered(t, "a", directory.NewMemory())
	peer := newNode(t, "peer")
	token := must[string](t)(a.mesh.Token(time.Minute, 0))
	must[identity.NodeID](t)(peer.mesh.Join(ctx, token))
	c := client.New(peer.mesh.HTTPTransport(a.mesh.Self()))
	key := must[wire.PeerInfo](t)(a.mesh.FindPeer(peer.mesh.Self().String())).Key
	for _, rights := range []trust.Rights{0, trust.RightRead, trust.RightOperate, trust.RightMigrate, trust.RightOperate | trust.RightMigrate, trust.RightChannels, trust.RightKinds, trust.RightsAll, trust.RightJoin} {
		if err := a.mesh.Grant(key, rights); err != nil {
			t.Fatal(err)
		}
		in, err := cluster.AskIn(ctx, peer.mesh, a.mesh.Self(), api.Admission{Cluster: "test", Addr: "127.0.0.1:1", Directory: directory.ProtocolVersion})
		var p *api.Problem
		if rights&trust.RightJoin != 0 {
			if err != nil {
				t.Errorf("with %v: %v", rights, err)
			}
			continue
		}
		if !errors.As(err, &p) || p.Code != "denied" || len(in.Secret) != 0 {
			t.Errorf("with %v: got %v and a secret of %d bytes, want denied", rights, err, len(in.Secret))
		}
		if _, err := c.Cluster().RemoveMember(ctx, "a"); !errors.As(err, &p) || p.Code != "denied" {
			t.Errorf("with %v, removing a member: got %v, want denied", rights, err)
		}
		if _, err := c.Cluster().Status(ctx); rights&trust.RightRead == 0 && (!errors.As(err, &p) || p.Code != "denied") {
			t.Errorf("with %v, asking how the cluster stands: got %v, want denied", rights, err)
		}
	}
}

// TestAMemberIsAdmittedOnceByItsKey has a member of the cluster ask to come in twice under
// one idempotency key.
func TestAMemberIsAdmittedOnceByItsKey(t *testing.T) {
	mem := directory.NewMemory()
	a, b := serveClustered(t, "a", mem), serveClustered(t, "b", mem)
	eventually(t, func() error {
		if !a.server.cluster.IsMember(b.mesh.Self()) {
			return errors.New("b is no member at a")
		}
		return nil
	})

	c := http.Client{Transport: b.mesh.HTTPTransport(a.mesh.Self())}
	body := must[[]byte](t)(json.Marshal(api.Admission{Cluster: "test", Addr: "127.0.0.1:1", Directory: directory.ProtocolVersion}))
	for range 2 {
		req := must[*http.Request](t)(http.NewRequestWithContext(ctx, http.MethodPost, "http://node/v1/cluster/members", bytes.NewReader(body)))
		req.Header.Set(api.IdempotencyHeader, "once")
		var in api.Admitted
		res, err := c.Do(req)
		if err == nil {
			err = errors.Join(json.NewDecoder(res.Body).Decode(&in), res.Body.Close())
		}
		if err != nil || !in.Voter {
			t.Fatalf("got %+v, %v", in, err)
		}
	}
	if n := a.engine.admitted.Load(); n != 1 {
		t.Errorf("it was admitted %d times, want once", n)
	}
}

package node_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/host"
	"wasmhost.example/host/drain"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/store"
	"wasmhost.example/node"
	"wasmhost.example/wire/trust"
)

// open opens a node that ends with the test.
func open(t *testing.T, c node.Config) *node.Node {
	t.Helper()
	c.Logger = quiet
	n, err := node.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("opening a node: %v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Errorf("closing the node: %v", err)
		}
	})
	return n
}

// spawnCounter makes a daemon of the counter that answers with the number of its events.
func spawnCounter(t *testing.T, c *client.Client, name string) {
	t.Helper()
	wasm, err := os.ReadFile("../testdata/wasm/rust/counter.wasm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kinds().Push(t.Context(), "counter", bytes.NewReader(wasm)); err != nil {
		t.Fatalf("pushing the kind: %v", err)
	}
	if _, err := c.Spawn(t.Context(), api.Spawn{Kind: "counter", Name: name}); err != nil {
		t.Fatalf("spawning: %v", err)
	}
}

// count sends an event and checks what it answers.
func count(t *testing.T, c *client.Client, name, want string) {
	t.Helper()
	sent, err := c.Send(t.Context(), name, "", []byte("one"))
	if err != nil {
		t.Fatalf("sending: %v", err)
	}
	if got := *sent.Outputs[0].Text; got != want {
		t.Errorf("the daemon answered %s, want %s", got, want)
	}
}

// A data directory has one node at a time. What could not be opened leaves it free.
func TestANodeAtATime(t *testing.T) {
	c := node.Config{Dir: filepath.Join(t.TempDir(), "data"), Socket: filepath.Join(t.TempDir(), "s")}
	first := open(t, c)
	spawnCounter(t, client.Dial(c.Socket), "c1")
	count(t, first.Client(), "c1", "1")
	if n, err := node.Open(t.Context(), node.Config{Dir: c.Dir, Logger: quiet}); !errors.Is(err, store.ErrLocked) {
		t.Errorf("opening the directory twice: %v, %v, want %v", n, err, store.ErrLocked)
	}

	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-first.Done():
	default:
		t.Error("a node that was closed is not done")
	}
	if err := first.Err(); err != nil {
		t.Errorf("a node that was closed ended with %v", err)
	}
	if _, err := first.Client().Kinds().List(t.Context()); err == nil {
		t.Error("a node that was closed answers")
	}
	if _, err := os.Stat(c.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket of a node that was closed: %v", err)
	}

	bad := c
	bad.Metrics = "192.0.2.1:1" // no address of this machine (RFC 5737)
	bad.Logger = quiet
	if _, err := node.Open(t.Context(), bad); err == nil {
		t.Fatal("a node listens where it cannot")
	}
	second := open(t, c)
	count(t, second.Client(), "c1", "2")
}

// Opening that is cancelled leaves nothing that runs.
func TestOpeningIsCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	prepare := func(*host.Runtime) error { cancel(); return ctx.Err() }
	if _, err := node.Open(ctx, node.Config{Dir: dir, Logger: quiet, Prepare: prepare}); !errors.Is(err, context.Canceled) {
		t.Errorf("a node that is not prepared: %v, want %v", err, context.Canceled)
	}
	open(t, node.Config{Dir: dir})
}

// A node is drained into another, and takes daemons again when it is opened anew.
func TestDrain(t *testing.T) {
	a := open(t, node.Config{Name: "a"})
	spawnCounter(t, a.Client(), "c1")
	count(t, a.Client(), "c1", "1")
	none, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if sum, err := a.Drain(none); !errors.Is(err, drain.ErrIncomplete) || len(sum.Stayed) != 1 {
		t.Errorf("draining to nowhere: %d stay, %v; want 1, %v", len(sum.Stayed), err, drain.ErrIncomplete)
	}

	b := open(t, node.Config{Name: "b"})
	token, err := a.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := b.Join(t.Context(), token, trust.RightsAll); err != nil || id != a.ID() {
		t.Fatalf("joining: %v, %v, want %v", id, err, a.ID())
	}
	if _, err := a.Drain(t.Context(), "nobody"); !errors.Is(err, mesh.ErrUnknownNode) {
		t.Errorf("draining to a node that nobody knows: %v, want %v", err, mesh.ErrUnknownNode)
	}
	sum, err := a.Drain(t.Context(), "b")
	if err != nil || sum.Gone != 1 {
		t.Fatalf("draining: %d gone, %v", sum.Gone, err)
	}
	count(t, b.Client(), "c1", "2")
}

// A node listens where it is told to, and its files can be replaced while it runs.
func TestListeners(t *testing.T) {
	dir := t.TempDir()
	audit := filepath.Join(dir, "audit")
	n := open(t, node.Config{Dir: filepath.Join(dir, "data"), API: ":0", Metrics: "127.0.0.1:0", Pprof: "localhost:0", AuditLog: audit})
	at := n.Addrs()
	for what, url := range map[string]string{"metrics": "http://" + at.Metrics + "/metrics", "ready": "http://" + at.Metrics + "/readyz", "pprof": "http://" + at.Pprof + "/debug/pprof/cmdline"} {
		res, err := http.Get(url)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: status %d, %v, want %d", what, res.StatusCode, err, http.StatusOK)
		}
	}
	if !strings.HasPrefix(at.API, "127.0.0.1:") {
		t.Errorf("the API listens on %s, want 127.0.0.1", at.API)
	}

	if err := os.Rename(audit, audit+".1"); err != nil {
		t.Fatal(err)
	}
	if err := n.ReloadFiles(); err != nil {
		t.Fatal(err)
	}
	spawnCounter(t, n.Client(), "c1")
	if b, err := os.ReadFile(audit); err != nil || len(b) == 0 {
		t.Errorf("the audit log that was opened again has %d bytes, %v", len(b), err)
	}
	if err := os.Remove(filepath.Join(dir, "data", "api.crt")); err != nil {
		t.Fatal(err)
	}
	if err := n.ReloadFiles(); err == nil {
		t.Error("a certificate that is not there is read")
	}
}

// What cannot be is refused by the field's name before anything is opened.
func TestConfigErrors(t *testing.T) {
	for _, tt := range []struct {
		field string
		c     node.Config
	}{
		{"Name", node.Config{Name: "a b"}},
		{"JoinRights", node.Config{JoinRights: trust.RightsVoter}},
		{"PassivateAfter", node.Config{PassivateAfter: -1}},
		{"Rebalance", node.Config{Rebalance: -1}},
		{"ActiveBytes", node.Config{ActiveBytes: -1}},
		{"Pprof", node.Config{Pprof: "0.0.0.0:6060"}},
		{"Pprof", node.Config{Pprof: "6060"}},
		{"APICert", node.Config{APICert: "a"}},
		{"APICert", node.Config{API: ":0"}},
		{"Cluster.Name", node.Config{Cluster: &node.Cluster{Name: "Main"}}},
		{"Cluster.Name", node.Config{Cluster: &node.Cluster{Name: strings.Repeat("a", 65)}}},
		{"Cluster.Lease", node.Config{Cluster: &node.Cluster{Lease: time.Nanosecond}}},
		{"Cluster.Voters", node.Config{Cluster: &node.Cluster{Voters: 2}}},
		{"Cluster.Voters", node.Config{Cluster: &node.Cluster{Voters: node.MaxVoters + 2}}},
		{"Cluster.Etcd", node.Config{Cluster: &node.Cluster{}}},
		{"Cluster.EtcdCert", node.Config{Dir: "d", Cluster: &node.Cluster{EtcdKey: "k"}}},
	} {
		_, err := node.Open(t.Context(), tt.c)
		var bad *node.ConfigError
		if !errors.As(err, &bad) || !errors.Is(err, node.ErrConfig) {
			t.Errorf("%s: %v, want %v", tt.field, err, node.ErrConfig)
			continue
		}
		if bad.Field != tt.field {
			t.Errorf("the field is %s, want %s", bad.Field, tt.field)
		}
	}
}

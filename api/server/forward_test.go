package server

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

var ctx = context.Background()

// served is a node with its control API.
type served struct {
	rt     *host.Runtime
	mesh   *wire.Mesh
	server *Server
	store  *store.Store

	nodeKey *identity.KeyPair // to which the groups that it keeps are sealed; nil: it keeps none
}

func serve(t *testing.T, name string) *served {
	t.Helper()
	return serveWith(t, name, func(*host.Options) {}, func(*Server) {})
}

// serveWith is serve of a node that is made otherwise.
func serveWith(t *testing.T, name string, with func(*host.Options), and func(*Server)) *served {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	m, err := wire.Listen(ctx, wire.Config{Identity: key, Name: name, Addr: "127.0.0.1:0", Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	o := host.Options{Node: key, Store: s, Mesh: m, Logger: quiet}
	with(&o)
	rt, err := host.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := rt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(rt.Shutdown(ctx), m.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	server := New(rt, m, wire.NewNode(m, rt), "test", quiet)
	and(server)
	return &served{rt: rt, mesh: m, server: server, store: s}
}

// ask puts a request of the node's owner.
func (s *served) ask(method, path, hops string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	if hops != "" {
		r.Header.Set(web.HopsHeader, hops)
	}
	s.server.ServeHTTP(w, r)
	return w
}

// An identity keeps its 64 bits through every layer; a request follows a daemon
// that moved, but not for ever.
func TestR22_F56_OriginsAndHops(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	token, err := a.mesh.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.mesh.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "counter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.rt.Kinds().Push(ctx, "counter", wasm); err != nil {
		t.Fatal(err)
	}
	d, err := a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
	if err != nil {
		t.Fatal(err)
	}
	m, err := a.rt.StartMigration(ctx, d.Entity, b.mesh.Self())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	origin := d.Entity.Origin().String()
	w := a.ask("GET", "/v1/daemons/"+origin, "")
	var got api.Daemon
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.NodeID != b.mesh.Self().String() {
		t.Fatalf("%s, %v", w.Body, err)
	}
	bits, err := strconv.ParseUint(got.Origin, 16, 64)
	if err != nil || identity.OriginHash(bits) != d.Entity.Origin() || len(got.Origin) != 16 || got.EntityID != d.Entity.String() {
		t.Errorf("the origin came as %s, is %s", got.Origin, origin)
	}
	if w := a.ask("GET", "/v1/daemons/"+origin, strconv.Itoa(web.MaxHops-1)); w.Code != 200 {
		t.Errorf("the last hop: %d, %s", w.Code, w.Body)
	}
	w = a.ask("GET", "/v1/daemons/"+origin, strconv.Itoa(web.MaxHops))
	var p api.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil || p.Code != "routing-loop" || w.Code != 502 {
		t.Errorf("one hop more: %d, %s", w.Code, w.Body)
	}
}

package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

func counterModule(t *testing.T) []byte {
	t.Helper()
	wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "counter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	return wasm
}

// must fails the test where the request was not answered with success.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// A walk through the API: every answer is as the document says, and every
// operation but those that need a broken daemon was answered.
func TestAnswersAreAsTheDocumentSays(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	checked := newConforming(t, a.server)
	c, base := clientOf(t, checked)
	wasm := counterModule(t)

	must[api.Node](t)(c.Node().Get(ctx))
	token := must[string](t)(b.mesh.Token(time.Minute, trust.RightsAll))
	must[api.Node](t)(c.Node().Join(ctx, token))
	must[api.Token](t)(c.Node().JoinToken(ctx, time.Hour, "read"))
	must[[]api.Node](t)(c.Nodes().List(ctx))
	must[api.Incarnation](t)(c.Node().Incarnation(ctx))
	must[api.Incarnation](t)(c.Node().Confirm(ctx))
	must[api.Node](t)(c.Nodes().Get(ctx, "b"))
	must[api.Node](t)(c.Nodes().Grant(ctx, "b", "all"))

	must[api.Kind](t)(c.Kinds().Push(ctx, "counter", bytes.NewReader(wasm), "fuel=1000000"))
	must[[]api.Kind](t)(c.Kinds().List(ctx))
	must[api.Kind](t)(c.Kinds().Get(ctx, "counter"))
	drop(t)(c.Kinds().Pull(ctx, "counter"))
	must[api.Kind](t)(c.Kinds().Push(ctx, "spare", bytes.NewReader(wasm)))
	must[api.Kind](t)(c.Kinds().Remove(ctx, "spare"))

	followed := follow(t, base+"/v1/happenings", "application/jsonl")
	moves := follow(t, base+"/v1/migrations?follow=true", "text/event-stream")
	d := must[api.Daemon](t)(c.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c1"}))
	must[api.Grants](t)(c.Daemons().ChangeGrants(ctx, "c1", api.ChangeGrants{Grant: api.Grants{MaySend: []string{"*"}}}))
	must[api.Grants](t)(c.Daemons().Grants(ctx, "c1"))
	must[api.Application](t)(c.Applications().Put(ctx, api.Application{Name: "shop", Made: []api.Applied{{Type: "daemon", Name: "c1"}}}))
	must[api.Application](t)(c.Applications().Get(ctx, "shop"))
	must[[]api.Application](t)(c.Applications().List(ctx))
	outputs := follow(t, base+"/v1/daemons/c1/tail", "text/event-stream")
	must[api.Sent](t)(c.Send(ctx, "c1", "order-7", []byte("x")))
	must[api.Sent](t)(c.Send(ctx, "c1", "order-7", []byte("x")))
	if got := outputs.next(t); got != "event: output" {
		t.Errorf("the tail begins with %q", got)
	}
	if got := outputs.next(t); got != "id: 1" {
		t.Errorf("the tail goes on with %q", got)
	}
	events := slices.Values([]string{"y", "z"})
	next, stop := pull(events)
	defer stop()
	if err := c.SendAll(ctx, "c1", "", next, func(api.Sent) error { return nil }); err != nil {
		t.Fatal(err)
	}
	must[api.Daemon](t)(c.Daemons().Get(ctx, "c1"))
	must[api.NodeLimits](t)(c.Node().Limits(ctx))
	if l := must[api.DaemonLimits](t)(c.Daemons().SetLimits(ctx, "c1", api.SetLimits{Limits: map[string]int64{"fuel": 2000000}})); l.Own["fuel"] != 2000000 || l.Limits["fuel"] != 2000000 {
		t.Errorf("limits that were set: %+v", l)
	}
	must[api.DaemonLimits](t)(c.Daemons().Limits(ctx, "c1"))
	if l := must[api.KindLimits](t)(c.Kinds().SetLimits(ctx, "counter", api.SetLimits{Limits: map[string]int64{"fuel": 3000000}})); l.Own["fuel"] != 3000000 || len(l.Kept) != 1 || l.Kept[0].Name != "c1" {
		t.Errorf("limits of a kind that were set: %+v", l)
	}
	must[api.KindLimits](t)(c.Kinds().Limits(ctx, "counter"))
	must[[]api.Daemon](t)(c.Daemons().List(ctx, true))
	if top := must[api.Busiest](t)(c.Node().Top(ctx, 10*time.Millisecond, 1)); len(top.Daemons) != 1 {
		t.Errorf("the busiest daemon is %+v", top)
	}
	if err := c.Logs(ctx, "c1", false, func(api.LogLine) error { return nil }); err != nil {
		t.Fatal(err)
	}
	snapshot := drop(t)(c.Daemons().Snapshot(ctx, "c1"))
	drop(t)(c.Daemons().Chain(ctx, "c1"))
	must[api.Placed](t)(c.Daemons().Place(ctx, "c1", api.Place{}))
	must[api.Placed](t)(c.Kinds().Place(ctx, api.PlaceKind{Kind: "counter", Place: api.Place{Spread: "node", Pack: true, Prefer: map[string]string{"zone": "a"}}}))
	forks := must[[]api.Daemon](t)(c.Daemons().Fork(ctx, "c1", api.Fork{At: new(uint64), Count: 2, Name: "f"}))
	must[api.Daemon](t)(c.Daemons().Get(ctx, forks[1].Name))
	for _, f := range forks {
		must[api.Daemon](t)(c.Daemons().Remove(ctx, f.EntityID))
	}
	g := must[api.Group](t)(c.Groups().Create(ctx, api.CreateGroup{Name: "g", Kind: "counter", Size: 2, Strategy: "least-loaded"}))
	must[[]api.Group](t)(c.Groups().List(ctx, true))
	must[api.Sent](t)(c.Keyed("k").Send(ctx, "group/g", "", []byte("x")))
	seen, err := identity.ParseEntityID(g.Members[1].EntityID)
	if err != nil {
		t.Fatal(err)
	}
	must[api.Sighting](t)(c.Daemons().LocalStatus(ctx, seen))
	must[api.Group](t)(c.Groups().Scale(ctx, "g", 1))
	if s := must[api.Sighting](t)(c.Daemons().LocalStatus(ctx, seen)); s.Daemon != nil || s.Stopped == 0 && s.Went == nil {
		t.Errorf("a member that was stopped is seen as %+v", s)
	}
	must[api.Group](t)(c.Groups().Heal(ctx, "g", api.HealGroup{}))
	must[api.Group](t)(c.Groups().Get(ctx, "g"))
	must[api.Group](t)(c.Groups().Remove(ctx, "g"))
	must[api.Channel](t)(c.Channels().Create(ctx, api.CreateChannel{Name: "news"}))
	must[[]api.Subscription](t)(c.Channels().Subscribe(ctx, "c1", api.Subscribe{Publisher: "a", Channel: "news"}))
	must[api.Daemon](t)(c.Daemons().Get(ctx, "c1"))
	for _, path := range []string{"held", "daemons/c1/subscriptions"} {
		res := must[*http.Response](t)(http.Get(base + "/v1/" + path))
		drop(t)(res.Body, nil)
	}
	next, _ = pull(slices.Values([]string{"one", "two"}))
	if err := c.Channels().PublishAll(ctx, "news", client.AtNode{}, next, func(api.Published) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for _, accept := range []string{"application/jsonl", "text/event-stream"} {
		f := follow(t, base+"/v1/channels/news/events?after=0", accept)
		if got := f.next(t); got == "" {
			t.Error("the channel is silent")
		}
		f.end()
	}
	must[[]api.Channel](t)(c.Channels().List(ctx, client.AtNode{}))
	must[api.Channel](t)(c.Channels().Get(ctx, "news", client.AtNode{}))
	must[[]api.Subscription](t)(c.Channels().Unsubscribe(ctx, "c1", "a", "news"))
	must[api.Channel](t)(c.Channels().Remove(ctx, "news", client.AtNode{}))
	must[[]api.Revocation](t)(c.Channels().Revocations(ctx))
	must[[]api.Quarantined](t)(c.Quarantine().List(ctx, "c1"))
	must[*api.MigrationReport](t)(c.Migrate(ctx, "c1", api.Migrate{To: "b"}, func(api.MigrationStep) {}))
	must[[]api.Migration](t)(c.Migrations().List(ctx, true))
	receipts := must[[]api.Receipt](t)(c.Daemons().Receipts(ctx, "c1"))
	must[[]byte](t)(c.Daemons().Receipt(ctx, "c1", receipts[0].Epoch))
	must[[]api.Accusation](t)(c.Proofs().List(ctx))
	if d := must[api.Daemon](t)(c.Daemons().Stop(ctx, "c1")); d.State != daemon.HaltedState {
		t.Errorf("a stopped daemon is %s", d.State)
	}
	var stopped *api.Problem
	if _, err := c.Send(ctx, "c1", "", []byte("x")); !errors.As(err, &stopped) || stopped.Code != "daemon-stopped" {
		t.Errorf("to send to a stopped daemon: %v", err)
	}
	must[api.Daemon](t)(c.Daemons().Start(ctx, "c1"))
	must[api.Daemon](t)(c.Daemons().Remove(ctx, "c1"))
	must[api.Daemon](t)(c.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c2"}))
	must[api.Rebalanced](t)(c.Node().Rebalance(ctx, api.Rebalance{DryRun: true}))
	must[*api.DrainSummary](t)(c.Nodes().Drain(ctx, "a", api.Drain{}, nil))
	must[api.Node](t)(c.Nodes().Undrain(ctx, "a"))
	issued := must[api.APIToken](t)(c.Tokens().Issue(ctx, api.IssueToken{Name: "ci", Scope: "read", TTL: "1h"}))
	must[[]api.APIToken](t)(c.Tokens().List(ctx))
	must[api.APIToken](t)(c.Tokens().Revoke(ctx, issued.ID))
	for _, path := range []string{"/v1/openapi.json", "/healthz", "/readyz"} {
		res := must[*http.Response](t)(http.Get(base + path))
		if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode != 200 || res.Body.Close() != nil {
			t.Errorf("%s: %d, %v", path, res.StatusCode, err)
		}
	}

	// What goes wrong is a problem, whatever it is.
	for name, err := range map[string]error{
		"daemon-not-found":    errorOf(c.Daemons().Get(ctx, "nobody")),
		"kind-not-found":      errorOf(c.Spawn(ctx, api.Spawn{Kind: "none"})),
		"bad-snapshot":        errorOf(c.Daemons().Restore(ctx, bytes.NewReader(snapshot[1:]), "", "", nil)),
		"not-accused":         errorOf(c.Proofs().Pardon(ctx, "nobody")),
		"bad-proof":           errorOf(c.Proofs().Accuse(ctx, strings.NewReader("x"))),
		"cannot-upgrade":      errorOf(c.Daemons().Upgrade(ctx, "c2", api.Upgrade{Rollback: true})),
		"not-failed":          errorOf(c.Daemons().Repair(ctx, "c2", api.Mend{How: "retry"})),
		"no-fork-point":       errorOf(c.Daemons().Fork(ctx, "c2", api.Fork{At: at(9)})),
		"group-not-found":     errorOf(c.Groups().Get(ctx, "g")),
		"bad-group":           errorOf(c.Groups().Create(ctx, api.CreateGroup{Name: "g", Kind: "counter", Size: 256})),
		"settled":             errorOf(c.Migrations().Resolve(ctx, "c2", api.Resolve{How: "drop"})),
		"not-quarantined":     c.Quarantine().Skip(ctx, "c2", 1),
		"api-token-not-found": errorOf(c.Tokens().Revoke(ctx, "0")),
		"bad-request":         errorOf(c.Tokens().Issue(ctx, api.IssueToken{Name: "x", Scope: "all", TTL: "1h"})),
	} {
		var p *api.Problem
		if !errors.As(err, &p) || p.Code != name {
			t.Errorf("%v, want %s", err, name)
		}
	}
	must[api.Node](t)(c.Nodes().Distrust(ctx, "b"))

	asked, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "asked.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	must[api.Kind](t)(c.Kinds().Push(ctx, "asked", bytes.NewReader(asked)))
	must[api.Daemon](t)(c.Spawn(ctx, api.Spawn{Kind: "asked", Name: "asked"}))
	must[api.Answer](t)(c.Daemons().Query(ctx, "asked", []byte("count")))

	if got := followed.next(t); !strings.Contains(got, `"what":"spawned"`) || !strings.Contains(got, d.EntityID) {
		t.Errorf("what happened first: %s", got)
	}
	if got := moves.next(t); got != "event: happening" {
		t.Errorf("migrations begin with %q", got)
	}
	if got := moves.next(t); !strings.Contains(got, `"phase":"snapshot"`) {
		t.Errorf("a migration begins with %q", got)
	}
	followed.end()
	moves.end()
	outputs.end()
	if err := a.rt.Shutdown(ctx); err != nil { // what their clients left ends now, not when it has something to write
		t.Error(err)
	}
	checked.mu.Lock()
	defer checked.mu.Unlock()
	for pattern := range operations {
		switch pattern {
		case "GET /v1/cluster", "POST /v1/cluster/members", "DELETE /v1/cluster/members/{node}": // TestClusterAnswers
		case "POST /v1/cluster/recovery", "GET /v1/cluster/copies", "GET /v1/cluster/copies/{entity}/chain", "GET /v1/cluster/known", "POST /v1/cluster/promotions", "PUT /v1/cluster/directory": // TestAClusterIsRecovered
		case "POST /v1/backup": // TestBackupIsAStream
		case "POST /v1/snapshots", "POST /v1/revocations", "GET /v1/channels/{channel}/events", "POST /v1/daemons/{ref}/upgrade", "POST /v1/upgrades", "POST /v1/daemons/{ref}/mend", "POST /v1/daemons/{ref}/confirm", "POST /v1/daemons/{ref}/yield", "POST /v1/migrations/{ref}/resolve", "POST /v1/proofs", "GET /v1/proofs/{ref}", "DELETE /v1/proofs/{ref}",
			"POST /v1/daemons/{ref}/quarantine/{index}/retry", "DELETE /v1/daemons/{ref}/quarantine/{index}",
			"GET /v1/happenings", "GET /v1/daemons/{ref}/tail": // those that follow end after the test has
		default:
			if !checked.seen[pattern] {
				t.Errorf("%s was not answered with success", pattern)
			}
		}
	}
}

func errorOf[T any](_ T, err error) error { return err }

func drop(t *testing.T) func(io.ReadCloser, error) []byte {
	return func(r io.ReadCloser, err error) []byte {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		return b
	}
}

func pull(events func(func(string) bool)) (func() ([]byte, error), func()) {
	rest := slices.Collect(events)
	return func() ([]byte, error) {
		if len(rest) == 0 {
			return nil, io.EOF
		}
		e := rest[0]
		rest = rest[1:]
		return []byte(e), nil
	}, func() {}
}

// followed is a stream that is being read.
type followed struct {
	lines *bufio.Scanner
	end   func()
}

func follow(t *testing.T, url, accept string) *followed {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	r, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", accept)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if got := res.Header.Get("Content-Type"); res.StatusCode != 200 || got != accept {
		t.Errorf("%s: %d, %s", url, res.StatusCode, got)
	}
	end := func() {
		cancel()
		_ = res.Body.Close() // it was cut
	}
	t.Cleanup(end)
	return &followed{bufio.NewScanner(res.Body), end}
}

func (f *followed) next(t *testing.T) string {
	t.Helper()
	if !f.lines.Scan() {
		t.Fatalf("the stream ended: %v", f.lines.Err())
	}
	return f.lines.Text()
}

// A list comes in pages that hold all of it, each once, however long it is.
func TestPages(t *testing.T) {
	s := serve(t, "a")
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	names := []string{"a", "b", "c", "d", "e"}
	for _, n := range names {
		must[daemon.Info](t)(s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: n}))
	}
	var got []string
	path := "/v1/daemons?limit=2"
	for path != "" {
		w := s.ask("GET", path, "")
		var page []api.Daemon
		if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page) > 2 {
			t.Fatal(len(page), err, w.Body)
		}
		for _, d := range page {
			got = append(got, d.Name)
		}
		if path = ""; w.Header().Get("Link") != "" {
			path, _, _ = strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
		}
		if len(got) == 2 { // what ends meanwhile shifts nothing
			if err := s.rt.Stop(ctx, must[daemon.Info](t)(inspectNamed(s, "b")).Entity); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !slices.Equal(got, names) {
		t.Errorf("the pages have %v", got)
	}
	for _, bad := range []string{"limit=0", "limit=1001", "limit=x", "after=%25"} {
		if w := s.ask("GET", "/v1/daemons?"+bad, ""); w.Code != 400 {
			t.Errorf("%s: %d", bad, w.Code)
		}
	}
}

func inspectNamed(s *served, name string) (daemon.Info, error) {
	id, err := s.rt.Daemons().Resolve(name)
	if err != nil {
		return daemon.Info{}, err
	}
	return s.rt.Daemons().Inspect(id)
}

// The same request under the same key changes nothing again; another under it is
// refused; what failed for the caller's sake stays failed.
func TestIdempotencyKeys(t *testing.T) {
	s := serve(t, "a")
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	post := func(key, path, body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set(api.IdempotencyHeader, key)
		s.server.ServeHTTP(w, r)
		return w
	}
	first, again := post("k", "/v1/daemons", `{"kind":"counter"}`), post("k", "/v1/daemons", `{"kind":"counter"}`)
	if first.Code != 200 || again.Code != 200 || first.Body.String() != again.Body.String() || s.rt.DaemonCount() != 1 {
		t.Errorf("%d %s, %d %s, %d daemons", first.Code, first.Body, again.Code, again.Body, s.rt.DaemonCount())
	}
	if first.Header().Get("Idempotency-Replayed") != "" || again.Header().Get("Idempotency-Replayed") != "true" {
		t.Error("only the second is a replay")
	}
	if w := post("k", "/v1/daemons", `{"kind":"counter","name":"x"}`); w.Code != 422 || !strings.Contains(w.Body.String(), "idempotency-key-reused") {
		t.Errorf("another request: %d %s", w.Code, w.Body)
	}
	for range 2 {
		if w := post("l", "/v1/daemons", `{"kind":"none"}`); w.Code != 404 || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	}
	if w := post(strings.Repeat("k", access.MaxKey+1), "/v1/daemons", `{"kind":"counter"}`); w.Code != 400 || s.rt.DaemonCount() != 1 {
		t.Errorf("a key that is too long: %d", w.Code)
	}
	if w := post("m", "/v1/daemons", strings.Repeat(" ", api.MaxJSON+1)); w.Code != 413 {
		t.Errorf("a body that is too long: %d %s", w.Code, w.Body)
	}
}

func at(sequence uint64) *uint64 { return &sequence }

package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
	"wasmhost.example/host/store"
)

// Callers over TCP without a token, with one that has expired, was revoked, or
// has too small a scope, are told so, and written down, and change nothing.
func TestCallersOverTCPAreHeldToTheirTokens(t *testing.T) {
	s := serve(t, "a")
	var audit bytes.Buffer
	s.server.SetAudit(slog.New(slog.NewJSONHandler(&audit, nil)))
	now := time.Now()
	s.server.guard.SetClock(func() time.Time { return now })
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	must[daemon.Info](t)(s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"}))
	tcp := s.server.TCP()
	checked := newConforming(t, tcp)
	c, _ := clientOf(t, checked)
	issue := func(scope, ttl string) api.APIToken {
		t.Helper()
		return must[api.APIToken](t)(s.server.guard.IssueToken(api.IssueToken{Name: "for " + scope, Scope: scope, TTL: ttl}))
	}
	short, gone, other := issue("owner", "1h"), issue("owner", "24h"), issue("owner", "24h")
	now = now.Add(2 * time.Hour)
	if w := s.ask("DELETE", "/v1/api-tokens/"+gone.ID, ""); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	for _, x := range []struct {
		name, token, code string
		status            int
	}{
		{"nothing", "", "no-token", 401},
		{"no token of ours", "secret", "token-unknown", 401},
		{"a token that was never issued", strings.Replace(other.Token, other.ID, "0123456789abcdef", 1), "token-unknown", 401},
		{"another secret", other.Token[:len(other.Token)-1] + "!", "token-unknown", 401},
		{"an expired token", short.Token, "api-token-expired", 401},
		{"a revoked token", gone.Token, "token-unknown", 401},
	} {
		audit.Reset()
		c = c.Bearing(x.token)
		for what, err := range map[string]error{
			"spawn": errorOf(c.Spawn(ctx, api.Spawn{Kind: "counter"})),
			"list":  errorOf(c.Daemons().List(ctx, false)),
			"send":  errorOf(c.Send(ctx, "c", "", []byte("x"))),
			"stop":  errorOf(c.Daemons().Stop(ctx, "c")),
		} {
			var p *api.Problem
			if !errors.As(err, &p) || p.Code != x.code || p.Status != x.status || p.Exit() != api.ExitDenied {
				t.Errorf("%s, to %s: %v", x.name, what, err)
			}
		}
		if n := strings.Count(audit.String(), `"code":"`+x.code+`"`); n != 4 || strings.Contains(audit.String(), "secret") && x.token == "secret" {
			t.Errorf("%s: %d of 4 are written down:\n%s", x.name, n, audit.String())
		}
	}
	requests := []struct {
		name  string
		scope api.Scope
		do    func() error
	}{
		{"list", api.ScopeRead, func() error { return errorOf(c.Daemons().List(ctx, false)) }},
		{"show", api.ScopeRead, func() error { return errorOf(c.Daemons().Get(ctx, "c")) }},
		{"send", api.ScopeSend, func() error { return errorOf(c.Send(ctx, "c", "", []byte("x"))) }},
		{"migrate", api.ScopeOperate, func() error {
			return errorOf(c.Migrate(ctx, "c", api.Migrate{To: "nobody"}, func(api.MigrationStep) {}))
		}},
		{"drain", api.ScopeOperate, func() error { return errorOf(c.Nodes().Undrain(ctx, "a")) }},
		{"push", api.ScopeOwner, func() error { return errorOf(c.Kinds().Push(ctx, "mine", bytes.NewReader(counterModule(t)))) }},
		{"issue", api.ScopeOwner, func() error {
			return errorOf(c.Tokens().Issue(ctx, api.IssueToken{Name: "x", Scope: "owner", TTL: "1h"}))
		}},
		{"list tokens", api.ScopeOwner, func() error { return errorOf(c.Tokens().List(ctx)) }},
	}
	for _, scope := range []api.Scope{api.ScopeRead, api.ScopeSend, api.ScopeRead | api.ScopeSend, api.ScopeOperate, api.ScopeOwner} {
		c = c.Bearing(issue(scope.String(), "1h").Token)
		for _, r := range requests {
			audit.Reset()
			err := r.do()
			var p *api.Problem
			refused := errors.As(err, &p) && p.Code == "scope-too-small"
			if allowed := scope&r.scope == r.scope; refused == allowed || refused && p.Status != 403 {
				t.Errorf("with %s, to %s: %v", scope, r.name, err)
			}
			if refused && !strings.Contains(audit.String(), `"code":"scope-too-small"`) {
				t.Errorf("with %s, to %s: not written down", scope, r.name)
			}
		}
	}
	if n := s.rt.DaemonCount(); n != 1 {
		t.Errorf("%d daemons", n)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		w := httptest.NewRecorder()
		tcp.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 {
			t.Errorf("%s without a token: %d", path, w.Code)
		}
	}
	w := httptest.NewRecorder()
	tcp.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 401 || w.Header().Get("WWW-Authenticate") == "" {
		t.Errorf("/metrics without a token: %d", w.Code)
	}
}

// What a token was let in for ends when the token is revoked.
func TestRevokingATokenCutsItsStreams(t *testing.T) {
	s := serve(t, "a")
	issued := must[api.APIToken](t)(s.server.guard.IssueToken(api.IssueToken{Name: "x", Scope: "read", TTL: "1h"}))
	srv := httptest.NewServer(s.server.TCP())
	t.Cleanup(srv.Close)
	r := must[*http.Request](t)(http.NewRequest("GET", srv.URL+"/v1/happenings", nil))
	r.Header.Set("Authorization", "Bearer "+issued.Token)
	res := must[*http.Response](t)(srv.Client().Do(r))
	if res.StatusCode != 200 {
		t.Fatal(res.StatusCode)
	}
	if w := s.ask("DELETE", "/v1/api-tokens/"+issued.ID, ""); w.Code != 200 {
		t.Fatal(w.Code, w.Body)
	}
	if _, err := res.Body.Read(make([]byte, 1)); err == nil {
		t.Error("the stream goes on")
	}
}

// Tokens outlive the node; their secrets are not in the store.
func TestTokensAreStored(t *testing.T) {
	st := must[*store.Store](t)(store.Open(store.Options{Ephemeral: true}))
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	a, b := serve(t, "a"), serve(t, "b")
	if err := a.server.LoadTokens(st); err != nil {
		t.Fatal(err)
	}
	kept := must[api.APIToken](t)(a.server.guard.IssueToken(api.IssueToken{Name: "kept", Scope: "read,send", TTL: "1h"}))
	gone := must[api.APIToken](t)(a.server.guard.IssueToken(api.IssueToken{Name: "gone", Scope: "read", TTL: "1h"}))
	if w := a.ask("DELETE", "/v1/api-tokens/"+gone.ID, ""); w.Code != 200 {
		t.Fatal(w.Code)
	}
	secret := kept.Token[strings.LastIndexByte(kept.Token, '_')+1:]
	err := st.Scan(store.Meta, func(k, v []byte) error {
		if bytes.Contains(v, []byte(secret)) {
			t.Error("the store holds the secret")
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.server.LoadTokens(st); err != nil {
		t.Fatal(err)
	}
	if got, err := b.server.guard.CheckToken(kept.Token); err != nil || got.Scope != "read,send" || got.Name != "kept" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := b.server.guard.CheckToken(gone.Token); !errors.Is(err, problem.ErrTokenUnknown) {
		t.Errorf("a revoked token after a restart: %v", err)
	}
	w := b.ask("GET", "/v1/api-tokens", "")
	var list []api.APIToken
	if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil || len(list) != 1 || list[0].Token != "" || list[0].Scope != "read,send" {
		t.Errorf("%s, %v", w.Body, err)
	}
}

func FuzzScopes(f *testing.F) {
	f.Add("read,send")
	f.Add("owner")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := api.ParseScope(text)
		if err != nil {
			return
		}
		if again, err := api.ParseScope(s.String()); err != nil || again != s {
			t.Errorf("%q is %v, which is %v, %v", text, s, again, err)
		}
	})
}

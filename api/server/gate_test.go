package server

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/gate"
	"wasmhost.example/api/server/internal/dashboard"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
	"wasmhost.example/wire/trust"
)

const gateAddr = "127.0.0.1:7480"

// gateTo makes a gate to s, and returns the time that it goes by.
func gateTo(t *testing.T, s *served, readOnly bool) (*gate.Gate, *time.Time) {
	t.Helper()
	c, _ := clientOf(t, s.server)
	now := time.Now()
	g := must[*gate.Gate](t)(gate.New(c, gateAddr, gate.Options{ReadOnly: readOnly, Now: func() time.Time { return now }}))
	return g, &now
}

// browse puts a request to the gate, with headers NAME=VALUE; Host is one.
func browse(g http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = gateAddr
	for _, h := range headers {
		name, value, _ := strings.Cut(h, "=")
		if name == "Host" {
			r.Host = value
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	g.ServeHTTP(w, r)
	return w
}

func problemOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	if w.Code < 300 {
		return ""
	}
	var p api.Problem
	if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return p.Code
}

func codeOf(link string) string { _, code, _ := strings.Cut(link, "#code="); return code }

func sessionOf(t *testing.T, g *gate.Gate) gate.Session {
	t.Helper()
	w := browse(g, "POST", "/session", codeOf(g.Link()))
	var s gate.Session
	if err := json.Unmarshal(w.Body.Bytes(), &s); err != nil || w.Code != 200 || s.Key == "" {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return s
}

// A link is good once, for a while, and not after the next one; its session ends.
func TestALinkIsGoodOnce(t *testing.T) {
	g, now := gateTo(t, serve(t, "a"), false)
	link := g.Link()
	if !strings.HasPrefix(link, "http://"+gateAddr+"/dashboard/#code=") || len(codeOf(link)) < 40 {
		t.Fatal(link)
	}
	if got := problemOf(t, browse(g, "POST", "/session", "")); got != "link-used" {
		t.Errorf("no code: %q", got)
	}
	s := sessionOf(t, g)
	for name, code := range map[string]string{"an older link": codeOf(link), "no code": "", "the session's key": s.Key} {
		if got := problemOf(t, browse(g, "POST", "/session", code)); got != "link-used" {
			t.Errorf("%s: %q", name, got)
		}
	}
	link = g.Link()
	if got := problemOf(t, browse(g, "POST", "/session", codeOf(link))); got != "" {
		t.Error(got)
	}
	if got := problemOf(t, browse(g, "POST", "/session", codeOf(link))); got != "link-used" {
		t.Errorf("a link that was used: %q", got)
	}
	link = g.Link()
	*now = now.Add(gate.CodeTTL + time.Second)
	if got := problemOf(t, browse(g, "POST", "/session", codeOf(link))); got != "link-used" {
		t.Errorf("a link that is too old: %q", got)
	}
	if got := problemOf(t, browse(g, "GET", "/v1/node", "", "Authorization=Bearer "+s.Key)); got != "" {
		t.Error(got)
	}
	*now = now.Add(gate.SessionTTL)
	if got := problemOf(t, browse(g, "GET", "/v1/node", "", "Authorization=Bearer "+s.Key)); got != "no-session" {
		t.Errorf("a session that has ended: %q", got)
	}
	for range 3 * gate.MaxSessions {
		sessionOf(t, g)
	}
	if n := g.SessionCount(); n > gate.MaxSessions {
		t.Errorf("%d sessions, at most %d are kept", n, gate.MaxSessions)
	}
}

// Nothing is let in but what the page itself asks with its key: no name that
// somebody else points here, no other page, no path beyond the API.
func TestTheGateLetsInThePageAlone(t *testing.T) {
	a := serve(t, "a")
	must[registry.KindInfo](t)(a.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	d := must[daemon.Info](t)(a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"}))
	g, _ := gateTo(t, a, false)
	auth := "Authorization=Bearer " + sessionOf(t, g).Key
	for _, x := range []struct {
		name, method, path, problem string
		headers                     []string
	}{
		{"the page", "GET", "/dashboard/", "", nil},
		{"the page, by localhost", "GET", "/dashboard/", "", []string{"Host=localhost:7480"}},
		{"the page, by a link elsewhere", "GET", "/dashboard/", "", []string{"Sec-Fetch-Site=cross-site", "Sec-Fetch-Mode=navigate"}},
		{"its own request", "GET", "/v1/daemons", "", []string{auth, "Sec-Fetch-Site=same-origin"}},
		{"metrics", "GET", "/metrics", "not-supported", []string{auth}}, // this node counts nothing
		{"no key", "GET", "/v1/daemons", "no-session", nil},
		{"another key", "GET", "/v1/daemons", "no-session", []string{"Authorization=Bearer x"}},
		{"a key in a cookie", "GET", "/v1/daemons", "no-session", []string{"Cookie=" + auth}},
		{"a name made to mean this address", "GET", "/v1/daemons", "foreign-request", []string{auth, "Host=evil.example:7480"}},
		{"the page under such a name", "GET", "/dashboard/", "foreign-request", []string{"Host=evil.example:7480"}},
		{"another port", "GET", "/v1/daemons", "foreign-request", []string{auth, "Host=127.0.0.1:80"}},
		{"another page", "DELETE", "/v1/daemons/c", "foreign-request", []string{auth, "Origin=https://evil.example", "Sec-Fetch-Site=cross-site"}},
		{"a page of another port here", "DELETE", "/v1/daemons/c", "foreign-request", []string{auth, "Origin=http://127.0.0.1:8000", "Sec-Fetch-Site=same-site"}},
		{"a script of another page", "GET", "/dashboard/dashboard.js", "foreign-request", []string{"Sec-Fetch-Site=cross-site", "Sec-Fetch-Mode=no-cors"}},
		{"a page without an origin", "DELETE", "/v1/daemons/c", "foreign-request", []string{auth, "Origin=null"}},
		{"what is not of the API", "GET", "/debug/pprof/", "not-passed", []string{auth}},
	} {
		if got := problemOf(t, browse(g, x.method, x.path, "", x.headers...)); got != x.problem {
			t.Errorf("%s: %q, want %q", x.name, got, x.problem)
		}
	}
	if _, err := a.rt.Daemons().Inspect(d.Entity); err != nil {
		t.Errorf("the daemon: %v", err)
	}
	if got := problemOf(t, browse(g, "DELETE", "/v1/daemons/c", "", auth, "Origin=http://"+gateAddr, "Sec-Fetch-Site=same-origin")); got != "" {
		t.Errorf("the page may: %q", got)
	}
	c, _ := clientOf(t, a.server)
	for _, addr := range []string{"0.0.0.0:80", "192.0.2.1:80", "node:80", ""} {
		if _, err := gate.New(c, addr, gate.Options{}); err == nil {
			t.Errorf("a gate at %q", addr)
		}
	}
}

// Who may only look changes nothing.
func TestAGateToLookOnly(t *testing.T) {
	a := serve(t, "a")
	g, _ := gateTo(t, a, true)
	s := sessionOf(t, g)
	auth := "Authorization=Bearer " + s.Key
	if !s.ReadOnly {
		t.Error("the page is not told")
	}
	if got := problemOf(t, browse(g, "GET", "/v1/nodes", "", auth)); got != "" {
		t.Error(got)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		if got := problemOf(t, browse(g, method, "/v1/daemons", `{}`, auth)); got != "read-only" {
			t.Errorf("%s: %q", method, got)
		}
	}
}

// A socket that somebody forwarded to a port is no way in for other pages.
func TestOtherPagesChangeNothingBySocket(t *testing.T) {
	s := serve(t, "a")
	for header, want := range map[string]string{"Sec-Fetch-Site=cross-site": "foreign-request", "Origin=https://evil.example": "foreign-request", "X=y": "bad-request"} {
		if got := problemOf(t, browse(s.server, "POST", "/v1/daemons", "", header)); got != want {
			t.Errorf("%s: %q", header, got)
		}
	}
}

// The page comes with a policy that lets it load nothing from elsewhere, keeps to
// it, and needs no token where others do.
func TestThePage(t *testing.T) {
	s := serve(t, "a")
	for _, h := range []http.Handler{s.server, s.server.TCP()} {
		w := browse(h, "GET", "/dashboard/", "")
		if w.Code != 200 || !strings.Contains(w.Body.String(), "<title>wasmhost</title>") {
			t.Fatal(w.Code, w.Body)
		}
		for name, want := range map[string]string{"Content-Security-Policy": dashboard.PagePolicy, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Content-Type": "text/html; charset=utf-8"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s is %q", name, got)
			}
		}
		if w := browse(h, "GET", "/", ""); w.Code != 302 || w.Header().Get("Location") != "/dashboard/" {
			t.Errorf("/: %d to %q", w.Code, w.Header().Get("Location"))
		}
		if w := browse(h, "GET", "/dashboard/none", ""); w.Code != 404 {
			t.Errorf("a file that is not there: %d", w.Code)
		}
	}
	if w := browse(s.server.TCP(), "GET", "/v1/node", ""); w.Code != 401 {
		t.Errorf("what is not the page: %d", w.Code)
	}
	elsewhere := regexp.MustCompile(`https?://[\w.]+|<script>|<style|style=|\son\w+="|innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`)
	err := fs.WalkDir(dashboard.Files, "dashboard", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(dashboard.Files, path)
		for _, found := range elsewhere.FindAllString(string(b), -1) {
			if found != "http://www.w3.org" { // the name of SVG
				t.Errorf("%s has %s", path, found)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Who follows all nodes hears of each by its id, also of one that comes later.
func TestWhatHappensOnAllNodes(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	_, base := clientOf(t, newConforming(t, a.server))
	all := follow(t, base+"/v1/happenings?all=true", "application/jsonl")
	must[registry.KindInfo](t)(a.rt.Kinds().Push(ctx, "mine", counterModule(t)))
	wait := func(what, node string) api.Happening {
		t.Helper()
		for {
			var h api.Happening
			if err := json.Unmarshal([]byte(all.next(t)), &h); err != nil {
				t.Fatal(err)
			}
			if h.What == what && h.NodeID == node {
				return h
			}
		}
	}
	wait("kind-pushed", a.mesh.Self().String())
	token := must[string](t)(b.mesh.Token(time.Minute, trust.RightsAll))
	if _, err := a.mesh.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	wait("following", b.mesh.Self().String())
	must[registry.KindInfo](t)(b.rt.Kinds().Push(ctx, "theirs", counterModule(t)))
	if h := wait("kind-pushed", b.mesh.Self().String()); h.Kind != "theirs" {
		t.Errorf("%+v", h)
	}
	all.end()
}

package server

import (
	"encoding/json"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/access"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
	"wasmhost.example/wire/trust"
)

// put puts a request with a body and headers, NAME: VALUE.
func (s *served) put(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Add(name, value)
	}
	s.server.ServeHTTP(w, r)
	return w
}

// withCounter makes the node have the kind counter, and a daemon of it.
func withCounter(t *testing.T, s *served, name string) daemon.Info {
	t.Helper()
	wasm := must[[]byte](t)(os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "counter.wasm")))
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", wasm))
	return must[daemon.Info](t)(s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: name}))
}

// What a query says beside what its operation declares is refused by its name, and no
// event is applied.
func TestQueriesAreStrict(t *testing.T) {
	s := serve(t, "a")
	d := withCounter(t, s, "d")
	for query, name := range map[string]string{
		"id=order%zz": `id`, "id=order-8%": `id`, "id=a;b": `id`, "Id=order-9": `written \"id\"`, "ID=x": `written \"id\"`, "idd=order-9": `idd`, "id=x-1&id=x-2": `\"id\"`,
		"id=x-1&id=x-1": `\"id\"`, "id": `id`, "id=": `\"id\"`, "=x": `=x`, "id=x&": `NAME=VALUE`, "&id=x": `NAME=VALUE`, "id=%ff": `id`, "key=": `\"key\"`, "id=a&%zz=b": `%zz`, "i%64=a&id=b": `\"id\"`,
		"id=x/0": `x/0`, "id=x/-1": `x/-1`, "id=x/+1": `x/ 1`, "id=x/%2B1": `x/+1`, "id=x/18446744073709551616": `x/1844`, "local=1": `local`, "prefix=true": `prefix`,
	} {
		w := s.put("POST", "/v1/daemons/d/events?"+query, "pay")
		if w.Code != 400 || !strings.Contains(w.Body.String(), name) {
			t.Errorf("?%s: %d %s, want 400 that names %s", query, w.Code, w.Body, name)
		}
	}
	if got := must[daemon.Info](t)(s.rt.Daemons().Inspect(d.Entity)); got.EventsProcessed != 0 {
		t.Errorf("%d events were applied, want none", got.EventsProcessed)
	}
	for _, path := range []string{"/v1/daemons/d/tail?after=-1", "/v1/daemons/d/tail?after=%2B1", "/v1/daemons/d/tail?after=1e3", "/v1/daemons/d/tail?after=01", "/v1/daemons/d/tail?after=18446744073709551616",
		"/v1/daemons?all", "/v1/daemons?all=", "/v1/daemons?all=yes", "/v1/daemons?all=TRUE", "/v1/daemons?all=1&all=1", "/v1/daemons?limit=0", "/v1/daemons?limit=1001", "/v1/nodes?x=1", "/v1/kinds?after=%21"} {
		if w := s.put("GET", path, ""); w.Code != 400 {
			t.Errorf("%s: %d %s, want 400", path, w.Code, w.Body)
		}
	}
	for path, want := range map[string]string{"/v1/daemons?all=true": `"d"`, "/v1/daemons?all=1": `"d"`, "/v1/daemons?all=false": `"d"`} {
		if w := s.put("GET", path, ""); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

// Every operation refuses a parameter that it does not declare.
func TestEveryOperationRefusesUnknownParameters(t *testing.T) {
	s := serve(t, "a")
	withCounter(t, s, "x")
	for _, pattern := range slices.Sorted(maps.Keys(operations)) {
		method, path, _ := strings.Cut(pattern, " ")
		for _, in := range []string{"ref", "node", "kind", "channel", "group", "entity", "epoch", "index", "id"} {
			path = strings.ReplaceAll(path, "{"+in+"}", "x")
		}
		if w := s.put(method, path+"?nonesuch=1", ""); w.Code != 400 || !strings.Contains(w.Body.String(), "nonesuch") {
			t.Errorf("%s: %d %s, want 400 that names the parameter", pattern, w.Code, w.Body)
		}
	}
}

func TestBodiesAreStrict(t *testing.T) {
	s := serve(t, "a")
	withCounter(t, s, "d")
	for body, name := range map[string]string{
		`{"kind":"counter","name":"t1"}{"kind":"counter","name":"t2"}`: "behind", `{"kind":"counter","name":"t3"} trailing`: "behind",
		`{"kind":"counter","name":"t4","name":"t5"}`: "name", `{"kind":"counter","NAME":"t6"}`: "NAME", `{"kind":"counter","nam":"t7"}`: "nam",
		`{"kind":"counter","name":null}`: "name", `null`: "null", ``: "missing", `[]`: "array", `{"kind":"counter","place":{"where":{"a":"b","a":"c"}}}`: `\"a\"`,
		`{"kind":"counter","name":"t8","standbys":1e0}`: "1e0", `{"kind":"counter","config":"AA=A"}`: "config", `{"kind":"counter","name":"t9"` + "\x00}": "",
	} {
		if w := s.put("POST", "/v1/daemons", body); w.Code != 400 || !strings.Contains(w.Body.String(), name) {
			t.Errorf("%s: %d %s, want 400 that names %s", body, w.Code, w.Body, name)
		}
	}
	for path, body := range map[string]string{"/v1/daemons/d/migrate": `{"to":"b","to":"c"}`, "/v1/nodes/a/drain": `{"PARALLEL":1}`, "/v1/groups": `{"name":"g","kind":"counter","Size":1}`,
		"/v1/daemons/d/fork": `{"count":1}{}`, "/v1/token?rights=read": `{"rights":"all"}`, "/v1/daemons/d/subscriptions": `{"publisher":"a","channel":"c","channel":"d"}`, "/v1/api-tokens": `{"name":"x","scope":"read","ttl":"1h","scope":"owner"}`} {
		if w := s.put("POST", path, body); w.Code != 400 {
			t.Errorf("%s %s: %d %s, want 400", path, body, w.Code, w.Body)
		}
	}
	if got := s.rt.DaemonCount(); got != 1 {
		t.Errorf("%d daemons, want d alone", got)
	}
}

func TestHeadersAreStrict(t *testing.T) {
	s := serve(t, "a")
	d := withCounter(t, s, "d")
	const spawn, events = "/v1/daemons", "/v1/daemons/d/events"
	for _, c := range []struct {
		path    string
		headers []string
	}{
		{spawn, []string{"Idempotency-Key: a", "Idempotency-Key: b"}}, {spawn, []string{"Idempotency-Key: "}}, {spawn, []string{"Idempotency-Key: " + strings.Repeat("k", access.MaxKey+1)}},
		{events, []string{"Idempotency-Key: a"}}, {events, []string{"Content-Encoding: gzip"}}, {events, []string{"Content-Type: multipart/form-data; boundary=x"}}, {events, []string{"Content-Type: ;"}},
		{spawn, []string{"Content-Type: text/plain"}}, {spawn, []string{"Content-Type: application/json; charset=latin1"}}, {spawn, []string{"Content-Type: application/json", "Content-Type: text/plain"}},
		{events, []string{web.HopsHeader + ": -1"}}, {events, []string{web.HopsHeader + ": x"}}, {events, []string{web.HopsHeader + ": 9"}}, {spawn, []string{"Authorization: Bearer a", "Authorization: Bearer b"}},
	} {
		if w := s.put("POST", c.path, `{"kind":"counter"}`, c.headers...); w.Code != 400 {
			t.Errorf("%s with %v: %d %s, want 400", c.path, c.headers, w.Code, w.Body)
		}
	}
	if got := must[daemon.Info](t)(s.rt.Daemons().Inspect(d.Entity)); got.EventsProcessed != 0 || s.rt.DaemonCount() != 1 {
		t.Errorf("%d events, %d daemons, want none and d alone", got.EventsProcessed, s.rt.DaemonCount())
	}
	for _, h := range []string{"Content-Type: application/json", "Content-Type: application/json; charset=UTF-8", "Content-Type: application/x-www-form-urlencoded"} {
		if w := s.put("POST", spawn, `{"kind":"counter"}`, h); w.Code != 200 {
			t.Errorf("%s: %d %s", h, w.Code, w.Body)
		}
	}
}

// A join token has the rights that were asked for. None is the default.
func TestTokenRightsHaveNoDefault(t *testing.T) {
	s := serve(t, "a")
	for _, path := range []string{"/v1/token", "/v1/token?ttl=1h", "/v1/token?right=look", "/v1/token?rights=", "/v1/token?rights=look", "/v1/token?rights=read&rights=all", "/v1/token?Rights=read"} {
		if w := s.put("POST", path, ""); w.Code != 400 {
			t.Errorf("%s: %d %s, want 400", path, w.Code, w.Body)
		}
	}
	if w := s.put("POST", "/v1/token?rights=read", ""); w.Code != 200 {
		t.Errorf("with rights: %d %s", w.Code, w.Body)
	}
}

// Requests that change something take whole references. Those that look take the
// beginning of an id where they say so, and nothing is named so anywhere.
func TestReferencesAreWhole(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	token := must[string](t)(a.mesh.Token(time.Minute, trust.RightsAll))
	if _, err := b.mesh.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	stranger := withCounter(t, a, "stranger")
	far := withCounter(t, b, "far")
	origin, entity := stranger.Entity.Origin().String(), stranger.Entity.String()
	fingerprint := far.Entity.String()[:12]
	for _, ref := range []string{origin[:4], origin[:15], entity[:16] + "0", entity[:63], fingerprint} {
		for _, c := range []struct{ method, path, body string }{
			{"POST", "/events", "x"}, {"POST", "/stream", ""}, {"DELETE", "", ""}, {"POST", "/fork", `{}`}, {"POST", "/mend", `{"how":"retry"}`}, {"POST", "/upgrade", `{"to":"latest"}`},
			{"POST", "/migrate", `{"to":"b"}`}, {"POST", "/place", `{}`}, {"POST", "/subscriptions", `{"publisher":"a","channel":"c"}`}, {"DELETE", "/subscriptions?publisher=a&channel=c", ""},
			{"POST", "/quarantine/1/retry", ""}, {"DELETE", "/quarantine/1", ""}, {"GET", "", ""}, {"GET", "/chain", ""}, {"GET", "/snapshot", ""},
		} {
			if w := a.put(c.method, "/v1/daemons/"+ref+c.path, c.body); w.Code != 404 {
				t.Errorf("%s %s%s: %d %s, want 404", c.method, ref, c.path, w.Code, w.Body)
			}
		}
		if w := a.put("POST", "/v1/daemons", `{"kind":"counter","may_send":["`+ref+`"]}`); w.Code != 404 {
			t.Errorf("granting %s: %d %s, want 404", ref, w.Code, w.Body)
		}
		if w := a.put("POST", "/v1/migrations/"+ref+"/resolve", `{"how":"drop"}`); w.Code != 404 {
			t.Errorf("settling %s: %d %s, want 404", ref, w.Code, w.Body)
		}
		if w := a.put("DELETE", "/v1/proofs/"+ref, ""); w.Code != 404 {
			t.Errorf("pardoning %s: %d %s, want 404", ref, w.Code, w.Body)
		}
	}
	node := b.mesh.Self().String()[:8]
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/v1/daemons/stranger/migrate", `{"to":"` + node + `"}`}, {"POST", "/v1/nodes/" + node + "/drain", `{}`}, {"DELETE", "/v1/nodes/" + node + "/drain", ""}, {"POST", "/v1/nodes/a/drain", `{"to":["` + node + `"]}`},
		{"DELETE", "/v1/trust/" + node, ""}, {"PUT", "/v1/trust/" + node + "?rights=all", ""}, {"GET", "/v1/nodes/" + node, ""}, {"GET", "/v1/channels?node=" + node, ""}, {"PUT", "/v1/kinds/k?to=" + node, counterWasm(t)},
	} {
		if w := a.put(c.method, c.path, c.body); w.Code != 404 {
			t.Errorf("%s %s: %d %s, want 404", c.method, c.path, w.Code, w.Body)
		}
	}
	for path, want := range map[string]string{"/v1/daemons/" + origin[:6] + "?prefix=true": "stranger", "/v1/daemons/" + fingerprint + "?prefix=true": "far", "/v1/nodes/" + node + "?prefix=true": `"b"`} {
		if w := a.put("GET", path, ""); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("looking at %s: %d %s, want %s", path, w.Code, w.Body, want)
		}
	}
	named := must[daemon.Info](t)(b.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: origin[:4]}))
	for _, path := range []string{"/v1/daemons/" + origin[:4], "/v1/daemons/" + origin[:4] + "?prefix=true"} {
		var got api.Daemon
		w := a.put("GET", path, "")
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.EntityID != named.Entity.String() {
			t.Errorf("%s: %d %s, want the daemon of that name on the other node", path, w.Code, w.Body)
		}
	}
	if got := must[daemon.Info](t)(a.rt.Daemons().Inspect(stranger.Entity)); got.EventsProcessed != 0 {
		t.Errorf("the stranger got %d events", got.EventsProcessed)
	}
	for _, ref := range []string{"a%20b", "id:" + origin[:6], "name:", "%ff", "group%2Fx%2Fy"} {
		if w := a.put("GET", "/v1/daemons/"+ref, ""); w.Code != 400 || !strings.Contains(w.Body.String(), "bad-reference") {
			t.Errorf("%s: %d %s, want bad-reference", ref, w.Code, w.Body)
		}
	}
	for _, body := range []string{`{"kind":"counter","name":"` + origin + `"}`, `{"kind":"counter","name":"1234567890123456"}`} {
		if w := a.put("POST", "/v1/daemons", body); w.Code != 400 {
			t.Errorf("spawning %s: %d %s, want 400", body, w.Code, w.Body)
		}
	}
	if w := a.put("POST", "/v1/groups", `{"kind":"counter","name":"1234567890123456","size":1}`); w.Code != 400 {
		t.Errorf("a group with such a name: %d %s, want 400", w.Code, w.Body)
	}
	for range 2 {
		a.put("DELETE", "/v1/daemons/"+origin, "")
	}
	if w := a.put("DELETE", "/v1/daemons/"+origin, ""); w.Code != 404 {
		t.Errorf("stopping it again: %d %s, want 404", w.Code, w.Body)
	}
}

// Two daemons of one name on two nodes are nobody's: neither gets what is for the other.
func TestAlikeNamesOnOtherNodesAreAmbiguous(t *testing.T) {
	a, b, c := serve(t, "a"), serve(t, "b"), serve(t, "c")
	for _, s := range []*served{b, c} {
		token := must[string](t)(a.mesh.Token(time.Minute, trust.RightsAll))
		if _, err := s.mesh.Join(ctx, token); err != nil {
			t.Fatal(err)
		}
		withCounter(t, s, "twin")
	}
	if w := a.put("POST", "/v1/daemons/twin/events", "x"); w.Code != 409 || !strings.Contains(w.Body.String(), "ambiguous") {
		t.Errorf("%d %s, want ambiguous", w.Code, w.Body)
	}
}

func counterWasm(t *testing.T) string {
	t.Helper()
	return string(must[[]byte](t)(os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "counter.wasm"))))
}

func FuzzCheckQuery(f *testing.F) {
	for _, raw := range []string{"", "id=order-7", "id=order%zz", "Id=a", "id=a&id=b", "id=a;b", "n=+1", "n=1e3", "many=a&many=b", "on=true", "on=", "a", "&", "id=%ff", "i%64=a"} {
		f.Add(raw)
	}
	declared := []query.Parameter{{Name: "id", Is: "string"}, {Name: "n", Is: "integer"}, {Name: "on", Is: "boolean"}, {Name: "many", Is: "string", Many: true}}
	f.Fuzz(func(t *testing.T, raw string) {
		if query.Check(raw, declared) != nil {
			return
		}
		r := &http.Request{URL: must[*http.Request](t)(http.NewRequest("GET", "/", nil)).URL}
		r.URL.RawQuery = raw
		q := query.Of(r)
		pairs := 0
		for name, values := range q.Values {
			pairs += len(values)
			if len(values) > 1 && name != "many" {
				t.Fatalf("%q: %s is there %d times", raw, name, len(values))
			}
			if !slices.ContainsFunc(declared, func(p query.Parameter) bool { return p.Name == name }) {
				t.Fatalf("%q has %s, which is not declared", raw, name)
			}
		}
		if want := strings.Count(raw, "&") + 1; raw != "" && pairs != want {
			t.Fatalf("%q has %d parameters, of which %d are read", raw, want, pairs)
		}
		if _, ok := q.Number("n"); q.Has("n") && !ok {
			t.Fatalf("%q: n is no number", raw)
		}
	})
}

// The strict readers are the only ones.
func TestRequestsAreReadInOnePlace(t *testing.T) {
	readers := map[string]string{"r.URL.Query()": "internal/query/query.go", "FormValue(": "", "ParseForm(": "", "json.NewDecoder(r.Body": "", "json.NewDecoder(http.MaxBytesReader": "", "In.URL.Query()": ""}
	read := 0
	err := fs.WalkDir(os.DirFS("."), ".", func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		read++
		text := string(must[[]byte](t)(os.ReadFile(file)))
		for reader, only := range readers {
			if strings.Contains(text, reader) && file != only {
				t.Errorf("%s reads a request by %s; use query.Of or web.ReadJSON", file, reader)
			}
		}
		return nil
	})
	if err != nil || read < 40 {
		t.Errorf("%d files were read: %v", read, err)
	}
}

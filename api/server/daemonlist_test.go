package server

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
)

// Daemons are listed whole, in pages, and as JSON lines, in the same order.
func TestDaemonsInPagesAndLines(t *testing.T) {
	const many = api.MaxPage + 5 // lines are gathered in pages
	s := serve(t, "a")
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	var want []string
	for i := range many {
		name := fmt.Sprintf("d%04d", i)
		must[daemon.Info](t)(s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: name}))
		want = append(want, name)
	}
	ask := func(path, accept string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		s.server.ServeHTTP(w, r)
		if w.Code != 200 {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w
	}
	names := func(w *httptest.ResponseRecorder) (out []string) {
		t.Helper()
		if w.Header().Get("Content-Type") != "application/jsonl" {
			var list []api.Daemon
			if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
				t.Fatal(err)
			}
			for _, d := range list {
				out = append(out, d.Name)
			}
			return out
		}
		for lines := bufio.NewScanner(w.Body); lines.Scan(); {
			var d api.Daemon
			if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
				t.Fatal(err)
			}
			out = append(out, d.Name)
		}
		return out
	}
	if got := names(ask("/v1/daemons", "application/json")); !slices.Equal(got, want) {
		t.Errorf("the whole list has %d daemons, want %d in order", len(got), many)
	}
	if got := names(ask("/v1/daemons", "text/html, application/jsonl;q=0.9")); !slices.Equal(got, want) {
		t.Errorf("as lines there are %d daemons, want %d in order", len(got), many)
	}
	var got []string
	for path, pages := "/v1/daemons?limit=400", 0; path != ""; pages++ {
		w := ask(path, "application/json")
		if page := names(w); pages < 2 && len(page) != 400 {
			t.Fatalf("page %d has %d daemons", pages, len(page))
		} else {
			got = append(got, page...)
		}
		path = nextPath(w)
	}
	if !slices.Equal(got, want) {
		t.Errorf("in pages there are %d daemons, want %d in order", len(got), many)
	}
	next := nextPath(ask("/v1/daemons?limit=3", "application/json"))
	if got := names(ask(strings.Replace(next, "limit=3", "limit=2", 1), "application/jsonl")); !slices.Equal(got, want[3:5]) {
		t.Errorf("two lines after the third are %v, want %v", got, want[3:5])
	}
	if w := s.ask("GET", "/v1/daemons?after=eA", ""); w.Code != 400 {
		t.Errorf("a key that no page named is answered %d, want 400", w.Code)
	}
}

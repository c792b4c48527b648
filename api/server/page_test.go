package server

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/wire/trust"
)

// Every list can be asked for in pages, and the document says so.
func TestEveryListHasPages(t *testing.T) {
	for pattern, op := range operations {
		if !strings.HasPrefix(pattern, "GET ") || op.Answer == nil || reflect.TypeOf(op.Answer).Kind() != reflect.Slice {
			continue
		}
		has := make(map[string]bool)
		for _, p := range op.Query {
			has[p.Name] = true
		}
		if !has["limit"] || !has["after"] {
			t.Errorf("%s has no pages", pattern)
		}
	}
}

// Pages of what another node has are followed to that node, by the link alone.
func TestPagesOfAnotherNode(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	token := must[string](t)(b.mesh.Token(time.Minute, trust.RightsAll))
	if _, err := a.mesh.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	cb, _ := clientOf(t, b.server)
	for i := range 5 {
		must[api.Channel](t)(cb.Channels().Create(ctx, api.CreateChannel{Name: fmt.Sprintf("c%d", i)}))
	}
	for path, want := range map[string]int{"/v1/channels?node=b&limit=2": 5, "/v1/nodes?limit=1": 2} {
		got, asked := 0, 0
		for path != "" && asked < 10 {
			w := a.ask("GET", path, "")
			var page []json.RawMessage
			if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || w.Code != 200 {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			got, asked = got+len(page), asked+1
			path = nextPath(w)
		}
		if got != want || asked < 2 {
			t.Errorf("%d entries in %d pages", got, asked)
		}
	}
	var first []api.Node
	if err := json.Unmarshal(a.ask("GET", "/v1/nodes", "").Body.Bytes(), &first); err != nil || !first[0].Self {
		t.Errorf("%v, %+v", err, first)
	}
}

func nextPath(w *httptest.ResponseRecorder) string {
	path, _, _ := strings.Cut(strings.TrimPrefix(w.Header().Get("Link"), "<"), ">")
	return path
}

// Package checks holds what wasmhost says of itself against libraries that it does not
// need otherwise.
package checks

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"os"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/node"
)

func newValidator(t *testing.T) validator.Validator {
	t.Helper()
	b, err := os.ReadFile("../../api/server/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := libopenapi.NewDocument(b)
	if err != nil {
		t.Fatalf("reading the document: %v", err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatalf("making a validator: %v", errs)
	}
	return v
}

// The API's document is valid OpenAPI 3.1.
func TestDocumentIsOpenAPI(t *testing.T) {
	if ok, errs := newValidator(t).ValidateDocument(); !ok {
		for _, e := range errs {
			t.Error(e.Message, e.Reason)
			for _, s := range e.SchemaValidationErrors {
				t.Error(s.FieldPath, s.Reason)
			}
		}
	}
}

// checking is a transport that holds each answer against the document.
type checking struct {
	t    *testing.T
	next http.RoundTripper
	v    validator.Validator
	seen int
}

func (c *checking) RoundTrip(r *http.Request) (*http.Response, error) {
	asked, err := http.NewRequest(r.Method, r.URL.String(), nil)
	if err != nil {
		return nil, err
	}
	res, err := c.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if err := res.Body.Close(); err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	if ok, errs := c.v.ValidateHttpResponse(asked, res); !ok {
		for _, e := range errs {
			c.t.Errorf("%s %s was answered %d, %.300s: %s: %s", r.Method, r.URL, res.StatusCode, body, e.Message, e.Reason)
		}
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	c.seen++
	return res, nil
}

// A node answers as the document says, by a validator that others wrote. The tests of
// package api/server hold every route against the same document, by a smaller one.
func TestNodeAnswersAsDocumented(t *testing.T) {
	ctx := t.Context()
	socket := t.TempDir() + "/s"
	n, err := node.Open(ctx, node.Config{Name: "a", Socket: socket, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	check := &checking{t: t, next: transport(socket), v: newValidator(t)}
	c := client.New(check)

	wasm, err := os.ReadFile("../../testdata/wasm/rust/counter.wasm")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err = c.Kinds().Push(ctx, "counter", bytes.NewReader(wasm), "fuel=1000000")
	ask("pushing a kind", err)
	_, err = c.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c1"})
	ask("spawning", err)
	_, err = c.Send(ctx, "c1", "", []byte("hello"))
	ask("sending", err)
	_, err = c.Daemons().List(ctx, true)
	ask("listing daemons", err)
	_, err = c.Daemons().Get(ctx, "c1")
	ask("asking for a daemon", err)
	_, err = c.Daemons().Limits(ctx, "c1")
	ask("asking for a daemon's limits", err)
	_, err = c.Kinds().List(ctx)
	ask("listing kinds", err)
	_, err = c.Kinds().Get(ctx, "counter")
	ask("asking for a kind", err)
	_, err = c.Kinds().Limits(ctx, "counter")
	ask("asking for a kind's limits", err)
	_, err = c.Nodes().List(ctx)
	ask("listing nodes", err)
	_, err = c.Node().Get(ctx)
	ask("asking for the node", err)
	_, err = c.Node().Limits(ctx)
	ask("asking for the node's limits", err)
	_, err = c.Groups().Create(ctx, api.CreateGroup{Name: "g", Kind: "counter", Size: 2})
	ask("making a group", err)
	_, err = c.Groups().List(ctx, true)
	ask("listing groups", err)
	_, err = c.Daemons().Stop(ctx, "c1")
	ask("stopping", err)
	_, err = c.Daemons().Start(ctx, "c1")
	ask("starting", err)
	_, err = c.Daemons().Remove(ctx, "c1")
	ask("removing", err)
	if _, err = c.Daemons().Get(ctx, "nobody"); err == nil {
		t.Error("a daemon that nobody made is there")
	}
	if check.seen < 18 {
		t.Errorf("%d answers were checked", check.seen)
	}
}

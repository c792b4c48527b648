package server

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/host"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/daemon"
)

// loud is a native daemon that answers each event with a mebibyte that ends with it.
type loud struct{}

func (loud) Name() string                           { return "loud" }
func (loud) Requirements() daemon.Requirements      { return daemon.Requirements{} }
func (loud) Snapshot(*daemon.Call) ([]byte, error)  { return nil, nil }
func (loud) Restore(_ *daemon.Call, _ []byte) error { return nil }
func (loud) Process(_ *daemon.Call, payload []byte) ([][]byte, error) {
	return [][]byte{[]byte(strings.Repeat("x", 1<<20) + string(payload))}, nil
}

// A client that sends and never reads makes the node hold no more than its budget.
// Others are answered meanwhile; once it reads, it has every answer in order.
func TestAClientThatReadsNothingIsHeldBack(t *testing.T) {
	a := serve(t, "a")
	if err := a.rt.RegisterFactory("loud", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return loud{}, nil })); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"d", "e"} {
		if _, err := a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "loud", Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	c, base := clientOf(t, a.server)
	conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const events = 100
	go func() {
		fmt.Fprintf(conn, "POST /v1/daemons/d/stream HTTP/1.1\r\nHost: n\r\nTransfer-Encoding: chunked\r\n\r\n")
		for i := range events {
			b := fmt.Appendf(nil, "%03d", i)
			fmt.Fprintf(conn, "%x\r\n%s%s\r\n", 4+len(b), binary.BigEndian.AppendUint32(nil, uint32(len(b))), b)
		}
		fmt.Fprintf(conn, "0\r\n\r\n")
	}()
	answers := a.rt.Node().Budgets().Answers
	for answers.Use().Waiting == 0 {
		runtime.Gosched()
	}
	if use := answers.Use(); use.Used > budget.StreamAnswers {
		t.Errorf("the node holds %d bytes of answers, at most %d", use.Used, budget.StreamAnswers)
	}
	for _, name := range []string{"d", "e"} {
		if _, err := c.Send(ctx, name, "", []byte("beside")); err != nil {
			t.Errorf("another event to %s: %v", name, err)
		}
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := json.NewDecoder(res.Body)
	for i := range events {
		var sent api.Sent
		if err := lines.Decode(&sent); err != nil {
			t.Fatalf("answer %d: %v", i, err)
		}
		if len(sent.Outputs) != 1 || sent.Duplicate {
			t.Fatalf("answer %d: %d outputs, duplicate %v, %v", i, len(sent.Outputs), sent.Duplicate, sent.Error)
		}
		if text := sent.Outputs[0].Text; text == nil || !strings.HasSuffix(*text, fmt.Sprintf("%03d", i)) {
			t.Fatalf("answer %d is another's", i)
		}
	}
	for answers.Use().Used != 0 || a.rt.Node().Budgets().Requests.Use().Used != 0 {
		runtime.Gosched()
	}
}

// No body is waited for of a peer that may not put the request, whatever the headers
// say: bodies that never come are refused at once.
func TestRightsComeBeforeBodies(t *testing.T) {
	a, b := serve(t, "a"), serve(t, "b")
	token := must[string](t)(a.mesh.Token(time.Minute, 0))
	if _, err := b.mesh.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: b.mesh.HTTPTransport(a.mesh.Self())}
	for pattern, op := range operations {
		method, path, _ := strings.Cut(pattern, " ")
		if !web.Changes(method) || op.Event {
			continue
		}
		body, never := io.Pipe()
		r, err := http.NewRequestWithContext(ctx, method, "http://a"+strings.NewReplacer("{", "", "}", "").Replace(path), body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set(api.IdempotencyHeader, "k")
		res, err := client.Do(r)
		if err != nil {
			t.Fatalf("%s by a peer without rights: %v", pattern, err)
		}
		if res.StatusCode < 400 {
			t.Errorf("%s by a peer without rights: %s", pattern, res.Status)
		}
		_ = never.CloseWithError(io.ErrUnexpectedEOF)
		_ = res.Body.Close()
	}
	if use := a.rt.Node().Budgets().Requests.Use(); use.Used != 0 || use.Peak != 0 {
		t.Errorf("bodies were read: %+v", use)
	}
}

// A body for which there is no room is refused by name, and counts no more afterwards.
func TestBodiesAreBounded(t *testing.T) {
	a := serveWith(t, "a", func(o *host.Options) {
		o.Budgets = budget.NewSet(budget.Sizes{Requests: 1 << 20, RequestsCaller: 100 << 10})
	}, func(*Server) {})
	r := httptest.NewRequest("POST", "/v1/daemons", io.MultiReader(strings.NewReader(`{"kind":"`), strings.NewReader(strings.Repeat("x", 500<<10))))
	w := httptest.NewRecorder()
	a.server.ServeHTTP(w, r)
	if got := problemOf(t, w); got != "bodies-full" {
		t.Errorf("got the problem %q, want bodies-full", got)
	}
	if use := a.rt.Node().Budgets().Requests.Use(); use.Used != 0 || use.Refused == 0 {
		t.Errorf("afterwards: %+v", use)
	}
}

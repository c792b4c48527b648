package server

import (
	"bufio"
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"wasmhost.example/api/client"
	"wasmhost.example/api/server/internal/access"
)

// conforming answers as the server does, and fails the test where an answer is
// not as the API's document says.
type conforming struct {
	t       *testing.T
	handler http.Handler

	mu   sync.Mutex
	seen map[string]bool // patterns that were answered with success
}

func newConforming(t *testing.T, h http.Handler) *conforming {
	return &conforming{t: t, handler: h, seen: make(map[string]bool)}
}

func requestOf(method, path string) (*http.Request, error) {
	return http.NewRequest(method, "http://node"+path, nil)
}

func (c *conforming) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	tee := &teeing{ResponseWriter: w, status: http.StatusOK}
	asked, err := requestOf(r.Method, r.URL.RequestURI())
	if err != nil {
		c.t.Error(err)
	}
	c.handler.ServeHTTP(tee, r)
	if err := conforms(asked, tee.status, w.Header(), tee.body.Bytes()); err != nil {
		c.t.Errorf("%s %s was answered %d, %.300s: %v", r.Method, r.URL, tee.status, tee.body.String(), err)
	}
	if tee.status >= 300 || r.Pattern == "" {
		return
	}
	c.mu.Lock()
	c.seen[r.Pattern] = true
	c.mu.Unlock()
	op := operations[r.Pattern]
	switch kind := w.Header().Get("Content-Type"); kind {
	case "application/jsonl", "text/event-stream":
		c.stream(r, op, kind, tee.body.Bytes())
	}
}

// stream holds each value of a stream against its type, which the document
// describes: nothing else may be in it.
func (c *conforming) stream(r *http.Request, op access.Operation, kind string, body []byte) {
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if kind == "text/event-stream" {
			data, ok := strings.CutPrefix(line, "data: ")
			if !ok {
				if line != "" && !strings.HasPrefix(line, "event: ") && !strings.HasPrefix(line, "id: ") {
					c.t.Errorf("%s: an event stream with %q", r.URL, line)
				}
				continue
			}
			line = data
		}
		if err := holds(op.Lines, line); err != nil {
			c.t.Errorf("%s: the line %.200s: %v", r.URL, line, err)
		}
	}
}

type teeing struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (t *teeing) WriteHeader(status int) {
	t.status = status
	t.ResponseWriter.WriteHeader(status)
}

func (t *teeing) Write(b []byte) (int, error) {
	t.body.Write(b)
	return t.ResponseWriter.Write(b)
}

func (t *teeing) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// clientOf is a client of the handler, over HTTP.
func clientOf(t *testing.T, h http.Handler) (*client.Client, string) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return client.DialTLS(srv.URL, "", nil), srv.URL
}

package web

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/propagation"
)

// AcceptsLines reports whether the request asks for JSON lines in place of a list.
func AcceptsLines(r *http.Request) bool {
	for _, accepted := range strings.Split(r.Header.Get("Accept"), ",") {
		if kind, _, _ := strings.Cut(accepted, ";"); strings.TrimSpace(kind) == "application/jsonl" {
			return true
		}
	}
	return false
}

// startedWriter notes whether an answer has begun: an error is no problem document then.
type startedWriter struct {
	w   http.ResponseWriter
	any bool
}

// NewStartedWriter returns a writer to w that knows whether anything was written.
func NewStartedWriter(w http.ResponseWriter) *startedWriter { return &startedWriter{w: w} }

// Began reports whether anything was written.
func (s *startedWriter) Began() bool { return s.any }

// Write implements io.Writer: bytes of an unnamed type.
func (s *startedWriter) Write(b []byte) (int, error) {
	if !s.any {
		s.w.Header().Set("Content-Type", "application/octet-stream")
		s.any = true
	}
	return s.w.Write(b)
}

// WriteText answers with a line of text.
func WriteText(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text+"\n") // the client is gone if this fails
}

// WriteJSON answers with v. Its error is always nil: when writing fails the client is
// gone.
func WriteJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the client is gone if this fails
	return nil
}

// PassTrace has the node that a request is passed on to go on with its trace.
func PassTrace(in, out *http.Request) {
	propagation.TraceContext{}.Inject(in.Context(), propagation.HeaderCarrier(out.Header))
}

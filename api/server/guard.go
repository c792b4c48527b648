package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/dashboard"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/budget"
	"wasmhost.example/wire"
)

// Every request passes here: who asks is known, may do it or not, and what it
// changes is written down.

// caller is who put a request.
type caller struct {
	name  string // socket, peer:ID or token:ID
	token *apiToken
}

type tokenKey struct{}

func callerOf(r *http.Request) caller {
	if t, ok := r.Context().Value(tokenKey{}).(*apiToken); ok {
		return caller{"token:" + t.id, t}
	}
	if from, ok := wire.PeerOf(r.Context()); ok {
		return caller{name: "peer:" + from.String()}
	}
	return caller{name: "socket"}
}

// SetAudit makes the server write down every request that changes something or
// is refused: in JSON lines, where logger's handler does. It is called before
// the server serves.
func (s *Server) SetAudit(logger *slog.Logger) { s.audit = logger }

// guarded is the handler of a route: its errors become problems.
func (s *Server) guarded(pattern string, h web.Handler) http.HandlerFunc {
	op := operations[pattern]
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		who := callerOf(r)
		out := &response{ResponseWriter: w}
		r = r.WithContext(context.WithValue(budget.WithCaller(r.Context(), who.name), admissionKey{}, &admission{out, pattern, who}))
		defer s.counted(r, op)()
		defer web.TimeBody(w, r, op.stream)()
		if !op.stream {
			r.Body = http.MaxBytesReader(w, r.Body, op.bodyLimit())
		}
		r, end := s.traced(r, pattern)
		defer end(out)
		err := s.cross.Check(r)
		if err != nil {
			err = fmt.Errorf("%w: %w", problem.ErrForeign, err)
		} else {
			err = who.may(op)
		}
		if err == nil {
			err = query.Check(r.URL.RawQuery, op.query)
		}
		if err == nil {
			err = checkHeaders(r, op)
		}
		if err == nil && !op.follows() {
			var cancel context.CancelFunc
			r, cancel = outlasting(r, who, s.tokens.clock())
			defer cancel()
		}
		if err == nil {
			err = outcome(r, h(out, r))
		}
		if err != nil {
			s.logger.Debug("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			out.problem = problem.Of(err)
			problem.Write(out, err)
		}
		s.metrics.answered(pattern, out.code(), time.Since(began))
		s.record(r, op, who, out)
	}
}

// may returns nil when the caller's token, if it is one, has the scope.
func (c caller) may(op operation) error {
	if c.token == nil {
		return nil // the socket's mode, or the peer's rights, say what it may
	}
	need := op.scope
	if need == 0 {
		need = api.ScopeOwner
	}
	if c.token.scope&need != need {
		return fmt.Errorf("%w: it needs the scope %s, the token has %s", problem.ErrScope, need, c.token.scope)
	}
	return nil
}

// record writes the request down, where it changed something or was refused.
// Events are not: a daemon's chain is their record.
func (s *Server) record(r *http.Request, op operation, who caller, out *response) {
	status := out.code()
	refused := status == http.StatusUnauthorized || status == http.StatusForbidden
	if refused && s.metrics != nil {
		s.metrics.denied.WithLabelValues(deniedCode(out.problem)).Inc()
	}
	if s.audit == nil || !refused && (!web.Changes(r.Method) || op.event) {
		return
	}
	attrs := []slog.Attr{slog.String("caller", who.name), slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", status)}
	if who.token != nil {
		attrs = append(attrs, slog.String("token_name", who.token.name))
	}
	if r.RemoteAddr != "" && r.RemoteAddr != "@" {
		attrs = append(attrs, slog.String("remote", r.RemoteAddr))
	}
	if out.problem != nil {
		attrs = append(attrs, slog.String("code", out.problem.Code), slog.String("detail", out.problem.Detail))
	}
	s.audit.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelInfo, "request", attrs...)
}

// deniedCode returns the code of a refusal.
func deniedCode(p *api.Problem) string {
	if p == nil {
		return "denied" // by another node
	}
	return p.Code
}

// response notes what is answered.
type response struct {
	http.ResponseWriter
	status  int
	problem *api.Problem
}

func (r *response) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *response) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush is for what asks for an http.Flusher.
func (r *response) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() } // the client is gone if this fails

func (r *response) code() int {
	if r.status == 0 {
		return http.StatusOK
	}
	return r.status
}

// TCP returns the handler for callers that come over TCP, which TLS must
// protect: each names itself by a token. /healthz, /readyz and the dashboard's
// page need none: what the page shows it asks for with the token of its reader.
func (s *Server) TCP() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz") || dashboard.IsPage(r) {
			s.ServeHTTP(w, r)
			return
		}
		web.StartBody(w, r)
		text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		var t *apiToken
		err := error(problem.ErrNoToken)
		if ok {
			t, err = s.tokens.check(text)
		}
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="wasmhost"`)
			out := &response{ResponseWriter: w, problem: problem.Of(err)}
			problem.Write(out, err)
			s.record(r, operation{}, caller{name: "unknown"}, out)
			return
		}
		ctx, cancel := t.context(r.Context(), s.tokens.clock())
		defer cancel()
		s.ServeHTTP(w, r.WithContext(context.WithValue(ctx, tokenKey{}, t)))
	})
}

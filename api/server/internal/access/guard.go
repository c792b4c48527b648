// Package access is what every request passes before it is answered: who asks is known, by
// the socket, a peer's session or an API token; may do it or not; sends a body within bounds;
// is answered as before where its idempotency key was seen; and what it changes is written
// down. What a route needs is its Operation.
package access

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"
	"wasmhost.example/api"
	"wasmhost.example/api/server/internal/dashboard"
	"wasmhost.example/api/server/internal/query"
	"wasmhost.example/api/server/internal/web"
	"wasmhost.example/api/server/problem"
	"wasmhost.example/host/budget"
	"wasmhost.example/wire"
)

// Guard is what every request passes: who asks is known, may do it or not, and what it
// changes is written down. Its Set methods are called before it lets anybody in; after that
// it is safe for concurrent use.
type Guard struct {
	mesh    *wire.Mesh
	budgets *budget.Set
	logger  *slog.Logger
	cross   *http.CrossOriginProtection // against a browser that somebody let reach the socket
	tokens  apiTokens
	answers answers
	audit   *slog.Logger // nil: none
	metrics requestMeter // nil: none
	tracer  trace.Tracer // nil: none
}

// requestMeter counts requests.
type requestMeter interface {
	Answered(route string, status int, took time.Duration)
	Denied(code string)
}

// newGuard makes the guard of the node of mesh, which knows no API tokens. What bodies take
// counts in budgets.
func New(mesh *wire.Mesh, budgets *budget.Set, logger *slog.Logger) *Guard {
	return &Guard{mesh: mesh, budgets: budgets, logger: logger, cross: http.NewCrossOriginProtection(), tokens: apiTokens{clock: time.Now, byID: make(map[string]*apiToken)}}
}

// SetMetrics has requests counted.
func (g *Guard) SetMetrics(m requestMeter) { g.metrics = m }

// caller is who put a request.
type caller struct {
	name  string // socket, peer:ID or token:ID
	token *apiToken
}

type tokenKey struct{}

// CallerOf returns who makes a request: the holder of an API token, a peer, or the local
// user.
func CallerOf(r *http.Request) caller {
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
func (g *Guard) SetAudit(logger *slog.Logger) { g.audit = logger }

// Guarded is the handler of a route: its errors become problems.
func (g *Guard) Guarded(pattern string, op Operation, h web.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		who := CallerOf(r)
		out := &response{ResponseWriter: w}
		r = r.WithContext(context.WithValue(budget.WithCaller(r.Context(), who.name), admissionKey{}, &admission{out, op, who}))
		defer g.counted(r, op)()
		defer web.TimeBody(w, r, op.Stream)()
		if !op.Stream {
			r.Body = http.MaxBytesReader(w, r.Body, op.bodyLimit())
		}
		r, end := g.traced(r, pattern)
		defer end(out)
		err := g.cross.Check(r)
		if err != nil {
			err = fmt.Errorf("%w: %w", problem.ErrForeign, err)
		} else {
			err = who.May(op)
		}
		if err == nil {
			err = query.Check(r.URL.RawQuery, op.Query)
		}
		if err == nil {
			err = checkHeaders(r, op)
		}
		if err == nil && !op.follows() {
			var cancel context.CancelFunc
			r, cancel = outlasting(r, who, g.tokens.clock())
			defer cancel()
		}
		if err == nil {
			err = outcome(r, h(out, r))
		}
		if err != nil {
			g.logger.Debug("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
			out.problem = problem.Of(err)
			problem.Write(out, err)
		}
		if g.metrics != nil {
			g.metrics.Answered(pattern, out.code(), time.Since(began))
		}
		g.record(r, op, who, out)
	}
}

// May returns nil when the caller's token, if it is one, has the scope.
func (c caller) May(op Operation) error {
	if c.token == nil {
		return nil // the socket's mode, or the peer's rights, say what it may
	}
	need := op.Scope
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
func (g *Guard) record(r *http.Request, op Operation, who caller, out *response) {
	status := out.code()
	refused := status == http.StatusUnauthorized || status == http.StatusForbidden
	if refused && g.metrics != nil {
		g.metrics.Denied(deniedCode(out.problem))
	}
	if g.audit == nil || !refused && (!web.Changes(r.Method) || op.Event) {
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
	g.audit.LogAttrs(context.WithoutCancel(r.Context()), slog.LevelInfo, "request", attrs...)
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

// TCP returns the handler that has next answer callers that come over TCP, which TLS must
// protect: each names itself by a token. /healthz, /readyz and the dashboard's
// page need none: what the page shows it asks for with the token of its reader.
func (g *Guard) TCP(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz") || dashboard.IsPage(r) {
			next.ServeHTTP(w, r)
			return
		}
		web.StartBody(w, r)
		text, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		var t *apiToken
		err := error(problem.ErrNoToken)
		if ok {
			t, err = g.tokens.check(text)
		}
		if err != nil {
			w.Header().Set("WWW-Authenticate", `Bearer realm="wasmhost"`)
			out := &response{ResponseWriter: w, problem: problem.Of(err)}
			problem.Write(out, err)
			g.record(r, Operation{}, caller{name: "unknown"}, out)
			return
		}
		ctx, cancel := t.context(r.Context(), g.tokens.clock())
		defer cancel()
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, tokenKey{}, t)))
	})
}

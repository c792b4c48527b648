package access

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"wasmhost.example/api/server/internal/web"
)

// SetTracer makes the server trace requests that change something, and those that
// say that they are traced (W3C Trace Context), before it serves.
func (g *Guard) SetTracer(t trace.Tracer) { g.tracer = t }

// traced begins the span of a request; end takes the answer. What looks only is
// not traced unless it says so: whoever watches a node asks all the time.
func (g *Guard) traced(r *http.Request, pattern string) (_ *http.Request, end func(*response)) {
	if g.tracer == nil || !web.Changes(r.Method) && r.Header.Get("Traceparent") == "" {
		return r, func(*response) {}
	}
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := g.tracer.Start(ctx, pattern, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(
		attribute.String("http.request.method", r.Method), attribute.String("url.path", r.URL.Path), attribute.String("wasmhost.node", g.mesh.Self().String()),
		attribute.String("wasmhost.caller", CallerOf(r).name)))
	return r.WithContext(ctx), func(out *response) {
		span.SetAttributes(attribute.Int("http.response.status_code", out.code()))
		if out.problem != nil {
			span.SetAttributes(attribute.String("error.type", out.problem.Code))
			span.SetStatus(codes.Error, out.problem.Detail)
		}
		span.End()
	}
}

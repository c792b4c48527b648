package host

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/host/internal/engine"
	"wasmhost.example/host/internal/exchange"
	"wasmhost.example/host/internal/pending"
	"wasmhost.example/identity"
)

// Traces: what a caller's context says is traced gets spans here. Without a tracer
// nothing is looked at.

// traced applies the event within a span of its own, which ends once it is durable.
func (r *Runtime) traced(ctx context.Context, id identity.EntityID, ev *engine.Input, p *pending.Event) error {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return r.untraced(ctx, id, ev, p)
	}
	ctx, span := r.env.Tracer.Start(ctx, "deliver", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(exchange.SpanAttributes(r.env.Self, id)...))
	span.SetAttributes(attribute.Int("wasmhost.event.bytes", len(ev.Payload)))
	err := r.untraced(ctx, id, ev, p)
	switch {
	case err != nil:
		exchange.EndSpan(span, err)
	case p.Ticket == nil:
		exchange.EndSpan(span, p.Err)
	default:
		span.AddEvent("processed")
		span.SetAttributes(attribute.Int("wasmhost.outputs", len(p.Result.Outputs)), attribute.Bool("wasmhost.duplicate", p.Result.Duplicate))
		go func(t *pending.Ticket, failed error) {
			<-t.Done
			exchange.EndSpan(span, errors.Join(t.Err, failed))
		}(p.Ticket, p.Err)
	}
	return err
}

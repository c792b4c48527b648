package host

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/identity"
)

// Traces: what a caller's context says is traced gets spans here. Without a tracer
// nothing is looked at.

// traced applies the event within a span of its own, which ends once it is durable.
func (r *Runtime) traced(ctx context.Context, id identity.EntityID, ev *input, p *Pending) error {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return r.untraced(ctx, id, ev, p)
	}
	ctx, span := r.env.Tracer.Start(ctx, "deliver", trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(r.spanAttributes(id)...))
	span.SetAttributes(attribute.Int("wasmhost.event.bytes", len(ev.Payload)))
	err := r.untraced(ctx, id, ev, p)
	switch {
	case err != nil:
		endSpan(span, err)
	case p.ticket == nil:
		endSpan(span, p.err)
	default:
		span.AddEvent("processed")
		span.SetAttributes(attribute.Int("wasmhost.outputs", len(p.result.Outputs)), attribute.Bool("wasmhost.duplicate", p.result.Duplicate))
		go func(t *ticket, failed error) {
			<-t.done
			endSpan(span, errors.Join(t.err, failed))
		}(p.ticket, p.err)
	}
	return err
}

// spanAttributes are those of every span about a daemon.
func (r *Runtime) spanAttributes(id identity.EntityID) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("wasmhost.node", r.env.Self.String()), attribute.String("wasmhost.daemon", id.Origin().String())}
}

func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// trace begins the span of a migration that caller asked for, and that of its first
// phase. It returns ctx with the span, so that the other node goes on with it.
func (m *Migration) trace(ctx, caller context.Context, name string) context.Context {
	if m.env.Tracer == nil || !trace.SpanContextFromContext(caller).IsSampled() {
		return ctx
	}
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContextFromContext(caller))
	attrs := append(m.rt.spanAttributes(m.entity), attribute.String("wasmhost.target", m.target.String()))
	ctx, span := m.env.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(attrs...))
	m.mu.Lock()
	defer m.mu.Unlock()
	m.span, m.within = span, ctx
	m.tracePhase()
	return ctx
}

// spanned is ctx with the migration's span, if it has one.
func (m *Migration) spanned(ctx context.Context) context.Context {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, m.span)
}

// tracePhase ends the span of the phase before, and begins that of the phase now.
// It needs m.mu.
func (m *Migration) tracePhase() {
	if m.span == nil {
		return
	}
	if m.phaseSpan != nil {
		m.phaseSpan.End()
		m.phaseSpan = nil
	}
	if p := m.at.Phase().Shown(); !p.Terminal() {
		_, m.phaseSpan = m.env.Tracer.Start(m.within, p.String())
	}
}

// traceEnd ends the spans of a migration. It needs m.mu.
func (m *Migration) traceEnd(err error) {
	if m.span == nil {
		return
	}
	if m.phaseSpan != nil {
		m.phaseSpan.End()
		m.phaseSpan = nil
	}
	m.span.SetAttributes(attribute.Int64("wasmhost.bytes", m.bytes), attribute.Int("wasmhost.rounds", len(m.passes)),
		attribute.Float64("wasmhost.downtime_ms", float64(m.downtime.Microseconds())/1000), attribute.Int64("wasmhost.epoch", int64(m.epoch)))
	endSpan(m.span, err)
}

// traceTake begins the span of a daemon that comes here; end takes what became of it.
func (r *Runtime) traceTake(ctx context.Context, id identity.EntityID) (_ context.Context, end func(error)) {
	if r.env.Tracer == nil || !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, func(error) {}
	}
	ctx, span := r.env.Tracer.Start(ctx, "take", trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(r.spanAttributes(id)...))
	return ctx, func(err error) { endSpan(span, err) }
}

package source

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/host/internal/exchange"
)

// trace begins the span of a migration that caller asked for, and that of its first
// phase. It returns ctx with the span, so that the other node goes on with it.
func (m *Migration) trace(ctx, caller context.Context, name string) context.Context {
	if m.env.Tracer == nil || !trace.SpanContextFromContext(caller).IsSampled() {
		return ctx
	}
	ctx = trace.ContextWithSpanContext(ctx, trace.SpanContextFromContext(caller))
	attrs := append(exchange.SpanAttributes(m.env.Self, m.entity), attribute.String("wasmhost.target", m.target.String()))
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
	exchange.EndSpan(m.span, err)
}

package exchange

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/identity"
)

// SpanAttributes are those of every span about a daemon on a node.
func SpanAttributes(node identity.NodeID, id identity.EntityID) []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("wasmhost.node", node.String()), attribute.String("wasmhost.daemon", id.Origin().String())}
}

// EndSpan ends a span; err says why what it is of failed, or is nil.
func EndSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

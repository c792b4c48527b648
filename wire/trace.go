package wire

import (
	"context"
	"errors"
	"fmt"
	"io"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// A stream of something that is traced begins with purposeTraced and the trace's
// parent as W3C Trace Context writes it, 55 bytes; then its purpose follows. It is
// sent only to nodes that know it, and only where something is traced.

// ErrTraceParent says that bytes are no parent of a trace.
var ErrTraceParent = errors.New("not a traceparent")

const (
	traceParentSize = 55
	traceParent     = "traceparent" // the field's name
)

// traceOf is how a stream opened with ctx begins before its purpose; empty: it is
// not traced.
func traceOf(ctx context.Context) []byte {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return nil
	}

	c := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, c)
	if len(c[traceParent]) != traceParentSize {
		return nil // a later version of the format
	}
	return append([]byte{purposeTraced}, c[traceParent]...)
}

// readTrace reads what follows purposeTraced: ctx with the trace's parent, and the
// stream's purpose.
func readTrace(ctx context.Context, r io.Reader) (context.Context, byte, error) {
	var b [traceParentSize + 1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return ctx, 0, fmt.Errorf("reading a traceparent: %w", err)
	}

	c := propagation.MapCarrier{traceParent: string(b[:traceParentSize])}
	out := propagation.TraceContext{}.Extract(ctx, c)
	if !trace.SpanContextFromContext(out).IsValid() {
		return ctx, 0, fmt.Errorf("%w: %q", ErrTraceParent, b[:traceParentSize])
	}
	return out, b[traceParentSize], nil
}

package wire

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"
)

func sampled(flags trace.TraceFlags) context.Context {
	return trace.ContextWithSpanContext(context.Background(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1, 2}, SpanID: trace.SpanID{3}, TraceFlags: flags}))
}

// What a stream's opener is traced by, its other side goes on with; what is not
// traced leaves no byte.
func TestATraceCrossesAStream(t *testing.T) {
	ctx := sampled(trace.FlagsSampled)
	b := append(traceOf(ctx), purposeEvents, 'x')
	if b[0] != purposeTraced || len(b) != 1+traceParentSize+2 {
		t.Fatalf("%q", b)
	}
	got, purpose, err := readTrace(context.Background(), bytes.NewReader(b[1:]))
	want := trace.SpanContextFromContext(ctx)
	if sc := trace.SpanContextFromContext(got); err != nil || purpose != purposeEvents || sc.TraceID() != want.TraceID() || sc.SpanID() != want.SpanID() || !sc.IsSampled() || !sc.IsRemote() {
		t.Errorf("%v, purpose %d, %v", trace.SpanContextFromContext(got), purpose, err)
	}
	for name, ctx := range map[string]context.Context{"nothing": context.Background(), "what is not sampled": sampled(0)} {
		if b := traceOf(ctx); b != nil {
			t.Errorf("%s: %q", name, b)
		}
	}
	for _, bad := range []string{strings.Repeat("x", 56), "00-" + strings.Repeat("0", 32) + "-" + strings.Repeat("0", 16) + "-01\x03"} {
		if _, _, err := readTrace(context.Background(), strings.NewReader(bad)); !errors.Is(err, ErrTraceParent) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// FuzzTrace: whatever a peer says, what is read is a valid parent or an error, and
// no more than it is long.
func FuzzTrace(f *testing.F) {
	f.Add(append(traceOf(sampled(trace.FlagsSampled)), purposeEvents)[1:])
	f.Add([]byte("00-"))
	f.Add(bytes.Repeat([]byte{0xff}, 60))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		ctx, purpose, err := readTrace(context.Background(), r)
		if valid := trace.SpanContextFromContext(ctx).IsValid(); valid != (err == nil) {
			t.Errorf("valid %v, error %v", valid, err)
		}
		if err == nil && (purpose != b[traceParentSize] || r.Len() != len(b)-traceParentSize-1) {
			t.Errorf("purpose %d, %d bytes are left of %d", purpose, r.Len(), len(b))
		}
	})
}

// A node that does not know of traces is spoken to as before.
func TestAnOlderNodeIsSentNoTrace(t *testing.T) {
	ctx := sampled(trace.FlagsSampled)
	for protocol, want := range map[string]int{alpn: 1, alpnTraced: 2 + traceParentSize} {
		m := newMesh(t, Config{Name: "a"})
		config := m.clientTLS(m.config.Identity.ID())
		config.NextProtos = []string{protocol}
		conn, err := m.transport.Dial(ctx, m.Addr().(*net.UDPAddr), config, quicConfig())
		if err != nil {
			t.Fatal(err)
		}
		s := &session{conn: conn}
		if got := s.opening(ctx, purposeEvents); len(got) != want || got[len(got)-1] != purposeEvents {
			t.Errorf("%s: %q", protocol, got)
		}
		if got := s.opening(ctx, purposeTunnel); len(got) != 1 {
			t.Errorf("%s: a request begins with %q", protocol, got)
		}
		s.close(codeDone, "")
	}
}

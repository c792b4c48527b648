package otlp

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkresource "go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// A collector gets what was traced, as the protocol's JSON has it.
func TestSpansReachACollector(t *testing.T) {
	var got []byte
	var header http.Header
	var path string
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, header = r.URL.Path, r.Header.Clone()
		got, _ = io.ReadAll(r.Body) // what is missing fails the test below
		_, _ = io.WriteString(w, "{}")
	}))
	defer collector.Close()
	e, err := New(collector.URL, http.Header{"X-Key": {"secret"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	p := sdk.NewTracerProvider(sdk.WithSyncer(e), sdk.WithResource(sdkresource.NewSchemaless(attribute.String("service.name", "wasmhost"))))
	ctx, parent := p.Tracer("wasmhost").Start(ctx, "migrate", trace.WithSpanKind(trace.SpanKindClient))
	_, child := p.Tracer("wasmhost").Start(ctx, "transfer", trace.WithAttributes(attribute.Int64("bytes", 1<<60), attribute.Bool("whole", true), attribute.Float64("ms", 1.5)))
	child.AddEvent("sent")
	child.SetStatus(codes.Error, "why")
	child.End()
	var out struct {
		ResourceSpans []struct {
			Resource   struct{ Attributes []map[string]any }
			ScopeSpans []struct {
				Scope struct{ Name string }
				Spans []map[string]any
			}
		}
	}
	if err := json.Unmarshal(got, &out); err != nil {
		t.Fatal(err)
	}
	if path != "/v1/traces" || header.Get("Content-Type") != "application/json" || header.Get("X-Key") != "secret" {
		t.Errorf("%s %v", path, header)
	}
	s := out.ResourceSpans[0].ScopeSpans[0].Spans[0]
	for key, want := range map[string]any{
		"traceId": parent.SpanContext().TraceID().String(), "parentSpanId": parent.SpanContext().SpanID().String(), "spanId": child.SpanContext().SpanID().String(),
		"name": "transfer", "kind": 1.0,
	} {
		if s[key] != want {
			t.Errorf("%s is %v, want %v", key, s[key], want)
		}
	}
	if id, err := hex.DecodeString(s["traceId"].(string)); err != nil || len(id) != 16 {
		t.Errorf("%v", s["traceId"])
	}
	for _, want := range []string{
		`{"key":"bytes","value":{"intValue":"1152921504606846976"}}`, `{"key":"whole","value":{"boolValue":true}}`, `{"key":"ms","value":{"doubleValue":1.5}}`,
		`"status":{"code":2,"message":"why"}`, `"name":"sent"`, `{"key":"service.name","value":{"stringValue":"wasmhost"}}`, `"startTimeUnixNano":"1`,
	} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
	parent.End()
	if !strings.Contains(string(got), `"kind":3`) || strings.Contains(string(got), "parentSpanId") {
		t.Errorf("the root: %s", got)
	}
}

// What the collector refuses is an error that says what it answered.
func TestACollectorThatRefuses(t *testing.T) {
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "too many", http.StatusTooManyRequests) }))
	e, err := New(collector.URL+"/elsewhere", nil)
	if err != nil {
		t.Fatal(err)
	}
	p := sdk.NewTracerProvider()
	_, s := p.Tracer("x").Start(context.Background(), "x")
	spans := []sdk.ReadOnlySpan{s.(sdk.ReadOnlySpan)}
	if err := e.ExportSpans(context.Background(), spans); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "too many") {
		t.Error(err)
	}
	collector.Close()
	if err := e.ExportSpans(context.Background(), spans); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("nobody there: %v", err)
	}
	for _, bad := range []string{"", "localhost:4318", "ftp://x", "http://", "http://[::1"} {
		if _, err := New(bad, nil); !errors.Is(err, ErrEndpoint) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

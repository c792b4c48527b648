package otlp

import (
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// The messages of opentelemetry/proto/collector/trace/v1 in JSON, as far as spans of
// ours have fields: identifiers in hexadecimal, 64-bit numbers as texts.

type request struct {
	ResourceSpans []resourceSpans `json:"resourceSpans"`
}

type resourceSpans struct {
	Resource   resource     `json:"resource"`
	ScopeSpans []scopeSpans `json:"scopeSpans"`
}

type resource struct {
	Attributes []keyValue `json:"attributes,omitempty"`
}

type scopeSpans struct {
	Scope scope  `json:"scope"`
	Spans []span `json:"spans"`
}

type scope struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

type span struct {
	TraceID  string     `json:"traceId"`
	SpanID   string     `json:"spanId"`
	ParentID string     `json:"parentSpanId,omitempty"`
	State    string     `json:"traceState,omitempty"`
	Name     string     `json:"name"`
	Kind     int        `json:"kind"`
	Start    string     `json:"startTimeUnixNano"`
	End      string     `json:"endTimeUnixNano"`
	Attrs    []keyValue `json:"attributes,omitempty"`
	Events   []event    `json:"events,omitempty"`
	Status   status     `json:"status"`
	Dropped  int        `json:"droppedAttributesCount,omitempty"`
}

type event struct {
	Time  string     `json:"timeUnixNano"`
	Name  string     `json:"name"`
	Attrs []keyValue `json:"attributes,omitempty"`
}

type status struct {
	Code    int    `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
}

type keyValue struct {
	Key   string `json:"key"`
	Value value  `json:"value"`
}

type value struct {
	String *string  `json:"stringValue,omitempty"`
	Bool   *bool    `json:"boolValue,omitempty"`
	Int    *string  `json:"intValue,omitempty"`
	Double *float64 `json:"doubleValue,omitempty"`
}

// encode makes the request with the spans, which are of one provider: of one
// resource.
func encode(spans []sdk.ReadOnlySpan) request {
	byScope := make(map[string]int)
	var scopes []scopeSpans
	for _, s := range spans {
		of := s.InstrumentationScope()
		at, ok := byScope[of.Name+"\x00"+of.Version]
		if !ok {
			at = len(scopes)
			byScope[of.Name+"\x00"+of.Version] = at
			scopes = append(scopes, scopeSpans{Scope: scope{of.Name, of.Version}})
		}

		scopes[at].Spans = append(scopes[at].Spans, spanOf(s))
	}

	return request{[]resourceSpans{{Resource: resource{attributes(spans[0].Resource().Attributes())}, ScopeSpans: scopes}}}
}

func spanOf(s sdk.ReadOnlySpan) span {
	out := span{TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(), State: s.SpanContext().TraceState().String(),
		Name: s.Name(), Kind: kindOf(s.SpanKind()), Start: nanoseconds(s.StartTime()), End: nanoseconds(s.EndTime()),
		Attrs: attributes(s.Attributes()), Dropped: s.DroppedAttributes()}
	if s.Parent().SpanID().IsValid() {
		out.ParentID = s.Parent().SpanID().String()
	}

	for _, e := range s.Events() {
		out.Events = append(out.Events, event{nanoseconds(e.Time), e.Name, attributes(e.Attributes)})
	}

	switch s.Status().Code {
	case codes.Ok:
		out.Status.Code = 1
	case codes.Error:
		out.Status = status{2, s.Status().Description}
	}

	return out
}

// kindOf is the number of a SpanKind in the protocol.
func kindOf(k trace.SpanKind) int {
	switch k {
	case trace.SpanKindServer:
		return 2
	case trace.SpanKindClient:
		return 3
	case trace.SpanKindProducer:
		return 4
	case trace.SpanKindConsumer:
		return 5
	}
	return 1 // internal
}

func nanoseconds(t time.Time) string { return strconv.FormatInt(t.UnixNano(), 10) }

func attributes(list []attribute.KeyValue) []keyValue {
	out := make([]keyValue, 0, len(list))
	for _, a := range list {
		v := value{}
		switch a.Value.Type() {
		case attribute.BOOL:
			b := a.Value.AsBool()
			v.Bool = &b
		case attribute.INT64:
			n := strconv.FormatInt(a.Value.AsInt64(), 10)
			v.Int = &n
		case attribute.FLOAT64:
			f := a.Value.AsFloat64()
			v.Double = &f
		default:
			text := a.Value.String()
			v.String = &text
		}

		out = append(out, keyValue{string(a.Key), v})
	}

	return out
}

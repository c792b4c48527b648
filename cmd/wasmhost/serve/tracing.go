package serve

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/otlp"
	"wasmhost.example/identity"
)

// tracing is where a node sends spans.
type tracing struct {
	provider *sdk.TracerProvider // nil: nowhere
}

// newTracing makes the tracing of a node by --otlp and --otlp-sample; where --otlp is
// empty, by OTEL_EXPORTER_OTLP_TRACES_ENDPOINT or OTEL_EXPORTER_OTLP_ENDPOINT.
func newTracing(endpoint, sample, version string, node identity.NodeID, logger *slog.Logger) (*tracing, error) {
	if endpoint == "" {
		endpoint = otlpEndpoint(os.Getenv)
	}

	if endpoint == "" {
		return &tracing{}, nil
	}

	part, err := strconv.ParseFloat(sample, 64)
	if err != nil || !(part >= 0 && part <= 1) {
		return nil, cli.Usagef("--otlp-sample %q is not between 0 and 1", sample)
	}

	header, err := otlpHeader(os.Getenv("OTEL_EXPORTER_OTLP_HEADERS"))
	if err != nil {
		return nil, err
	}

	exporter, err := otlp.New(endpoint, header)
	if err != nil {
		return nil, cli.Usagef("--otlp: %v", err)
	}

	res := resource.NewSchemaless(attribute.String("service.name", "wasmhost"), attribute.String("service.version", version), attribute.String("service.instance.id", node.String()))
	p := sdk.NewTracerProvider(sdk.WithResource(res), sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(part))), sdk.WithBatcher(&logged{exporter, logger}))
	logger.Info("traces are sent", "to", endpoint, "sample", part)
	return &tracing{p}, nil
}

// otlpEndpoint is what the standard variables say.
func otlpEndpoint(env func(string) string) string {
	if at := env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"); at != "" {
		return at
	}
	if at := env("OTEL_EXPORTER_OTLP_ENDPOINT"); at != "" {
		return strings.TrimSuffix(at, "/") + "/v1/traces"
	}
	return ""
}

// otlpHeader reads NAME=VALUE,NAME=VALUE, with percent-encoded values.
func otlpHeader(text string) (http.Header, error) {
	h := http.Header{}
	for _, pair := range strings.Split(text, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}

		name, value, ok := strings.Cut(pair, "=")
		decoded, err := url.PathUnescape(strings.TrimSpace(value))
		if !ok || err != nil {
			return nil, cli.Usagef("OTEL_EXPORTER_OTLP_HEADERS is not NAME=VALUE,NAME=VALUE") // what it holds may be secret
		}

		h.Set(strings.TrimSpace(name), decoded)
	}

	return h, nil
}

// tracer is nil where nothing is traced.
func (t *tracing) tracer() trace.Tracer {
	if t.provider == nil {
		return nil
	}
	return t.provider.Tracer("wasmhost")
}

// close sends what is left, within a few seconds.
func (t *tracing) close() error {
	if t.provider == nil {
		return nil
	}

	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		return fmt.Errorf("sending the last spans: %w", err)
	}
	return nil
}

// logged tells the log of spans that were not taken, and nobody else.
type logged struct {
	sdk.SpanExporter
	logger *slog.Logger
}

func (l *logged) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if err := l.SpanExporter.ExportSpans(ctx, spans); err != nil {
		l.logger.Warn("spans are lost", "spans", len(spans), "error", err)
	}
	return nil
}

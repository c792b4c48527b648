// Package otlp sends spans to a collector, as OTLP over HTTP in its JSON encoding.
package otlp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// ErrEndpoint says that a text is no address of a collector.
var ErrEndpoint = errors.New("not the address of a collector: give http://HOST:4318 or https://HOST")

// ErrRefused says that the collector did not take spans.
var ErrRefused = errors.New("the collector refused the spans")

const (
	timeout   = 10 * time.Second // of one request
	maxAnswer = 4 << 10          // bytes of an answer that are read
)

// Exporter sends spans. It is safe for concurrent use.
type Exporter struct {
	url    string
	header http.Header
	client *http.Client
}

var _ sdk.SpanExporter = (*Exporter)(nil)

// New makes an exporter to the collector at endpoint, an http or https URL; where it
// has no path, /v1/traces is meant. Each request has the headers.
func New(endpoint string, header http.Header) (*Exporter, error) {
	u, err := url.Parse(endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%w: %q", ErrEndpoint, endpoint)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	return &Exporter{url: u.String(), header: header, client: &http.Client{Timeout: timeout}}, nil
}

// ExportSpans implements sdktrace.SpanExporter. It does not try again: spans are not
// worth holding a node's memory for.
func (e *Exporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	if len(spans) == 0 {
		return nil
	}

	body, err := json.Marshal(encode(spans))
	if err != nil {
		return fmt.Errorf("encoding spans: %w", err)
	}

	req, err := http.NewRequestWithContext(ctx, http.MethodPost, e.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("sending spans: %w", err)
	}

	for name, values := range e.header {
		req.Header[name] = values
	}

	req.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(req)
	if err != nil {
		return fmt.Errorf("sending spans: %w", err)
	}

	defer res.Body.Close()
	said, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if res.StatusCode/100 != 2 {
		return fmt.Errorf("%w: %s: %.200s", ErrRefused, res.Status, said)
	}
	if err != nil {
		return fmt.Errorf("sending spans: %w", err)
	}

	return nil
}

// Shutdown implements sdktrace.SpanExporter.
func (e *Exporter) Shutdown(context.Context) error {
	e.client.CloseIdleConnections()
	return nil
}

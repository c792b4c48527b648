package server

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"wasmhost.example/api/server/metrics"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
)

// A scrape says what the node did, by kind, in names that Prometheus's own rules
// approve of; no daemon is a label.
func TestScrape(t *testing.T) {
	s := serve(t, "a")
	s.server.SetMetrics(metrics.New(s.rt, s.mesh, s.store, "test", slog.New(slog.DiscardHandler)))
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "shop/größe::v2", counterModule(t)))
	d := must[daemon.Info](t)(s.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "unlikely"}))
	for range 3 {
		must[daemon.Result](t)(s.rt.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}))
	}
	s.ask("GET", "/v1/daemons/nobody", "")
	text := s.ask("GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`wasmhost_events_total{kind="counter"} 3`, `wasmhost_outputs_total{kind="counter"} 3`, `wasmhost_events_total{kind="shop/größe::v2"} 0`, `wasmhost_daemons{kind="counter",state="running"} 1`,
		`wasmhost_event_process_duration_seconds_count{kind="counter"} 1`, `wasmhost_api_requests_total{route="GET /v1/daemons/{ref}",status="404"} 1`,
		`wasmhost_store_poisoned 0`, `wasmhost_ready 1`, `wasmhost_build_info{version="test"} 1`, `wasmhost_store_syncs_total`, `go_goroutines`, `process_open_fds`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the scrape lacks %s", want)
		}
	}
	for _, not := range []string{"unlikely", d.Entity.String(), d.Entity.Origin().String()} {
		if strings.Contains(text, not) {
			t.Errorf("the scrape names a daemon: %s", not)
		}
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if w := serve(t, "b").ask("GET", "/metrics", ""); w.Code != 501 {
		t.Errorf("a node without metrics: %d", w.Code)
	}
}

// The dashboard, the alert rules and the runbook speak of metrics that there
// are, and each alert has its page.
func TestDashboardAndAlertsNameMetricsThatThereAre(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("metrics", "metrics.go"))
	if err != nil {
		t.Fatal(err)
	}
	there := make(map[string]bool)
	for _, m := range regexp.MustCompile(`desc\("(\w+)"|Name: "wasmhost_(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		there["wasmhost_"+m[1]+m[2]] = true
	}
	docs := filepath.Join("..", "..", "docs")
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for _, name := range []string{"grafana.json", "alerts.yml", "runbook.md"} {
		for _, metric := range regexp.MustCompile(`wasmhost_\w+`).FindAllString(read(name), -1) {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(metric, "")
			if !there[metric] && !there[base] {
				t.Errorf("%s names %s", name, metric)
			}
		}
	}
	runbook := read("runbook.md")
	alerts := regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(read("alerts.yml"), -1)
	urls := regexp.MustCompile(`runbook_url: docs/runbook\.md#(\w+)`).FindAllStringSubmatch(read("alerts.yml"), -1)
	if len(alerts) == 0 || len(urls) != len(alerts) {
		t.Fatalf("%d alerts, %d pages", len(alerts), len(urls))
	}
	for i, a := range alerts {
		if urls[i][1] != strings.ToLower(a[1]) || !strings.Contains(runbook, fmt.Sprintf("\n## %s\n", a[1])) {
			t.Errorf("alert %s has page %s, which the runbook must have", a[1], urls[i][1])
		}
	}
}

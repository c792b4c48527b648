package server

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/registry"
	"wasmhost.example/wire/trust"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// traces are the spans of several nodes.
type traces struct {
	t        *testing.T
	exporter *tracetest.InMemoryExporter
	provider *sdk.TracerProvider
}

func newTraces(t *testing.T) *traces {
	e := tracetest.NewInMemoryExporter()
	p := sdk.NewTracerProvider(sdk.WithSyncer(e))
	return &traces{t, e, p}
}

// serve is a node whose spans are kept.
func (tr *traces) serve(name string) *served {
	return serveWith(tr.t, name, func(o *host.Options) { o.Tracer = tr.provider.Tracer(name) }, func(s *Server) { s.SetTracer(tr.provider.Tracer(name)) })
}

// wait returns the spans once there are those that are named, as NODE SPAN.
func (tr *traces) wait(names ...string) map[string]tracetest.SpanStub {
	tr.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		got := make(map[string]tracetest.SpanStub)
		for _, s := range tr.exporter.GetSpans() {
			got[s.InstrumentationScope.Name+" "+s.Name] = s
		}
		missing := slices.DeleteFunc(slices.Clone(names), func(n string) bool { _, ok := got[n]; return ok })
		if len(missing) == 0 {
			return got
		}
		if time.Now().After(deadline) {
			tr.t.Fatalf("no span %v among %v", missing, got)
		}
		time.Sleep(time.Millisecond)
	}
}

const parentOfAll = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// One trace goes from the caller through the node that is asked to the node that has
// the daemon, for an event and for a migration, wherever each is asked for.
func TestOneTraceSpansTheNodes(t *testing.T) {
	tr := newTraces(t)
	a, b := tr.serve("a"), tr.serve("b")
	c, base := clientOf(t, a.server)
	plain := c
	c = c.Trace(parentOfAll)
	token := must[string](t)(b.mesh.Token(time.Minute, trust.RightsAll))
	must[api.Node](t)(plain.Node().Join(ctx, token))
	must[registry.KindInfo](t)(a.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	d := must[daemon.Info](t)(a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"}))
	tr.exporter.Reset()

	must[*api.MigrationReport](t)(c.Migrate(ctx, "c", api.Migrate{To: "b"}, func(api.MigrationStep) {}))
	got := tr.wait("a POST /v1/daemons/{ref}/migrate", "a migrate", "a snapshot", "a transfer", "a restore", "a replay", "a cutover", "b take")
	asked, move, take := got["a POST /v1/daemons/{ref}/migrate"], got["a migrate"], got["b take"]
	if asked.SpanContext.TraceID().String() != parentOfAll[3:35] || asked.Parent.SpanID().String() != parentOfAll[36:52] {
		t.Errorf("the API's span is of %s, under %s", asked.SpanContext.TraceID(), asked.Parent.SpanID())
	}
	under := func(child, parent tracetest.SpanStub) {
		t.Helper()
		if child.SpanContext.TraceID() != parent.SpanContext.TraceID() || child.Parent.SpanID() != parent.SpanContext.SpanID() {
			t.Errorf("%s is not under %s", child.Name, parent.Name)
		}
	}
	under(move, asked)
	under(take, move)
	for _, phase := range []string{"snapshot", "transfer", "restore", "replay", "cutover"} {
		under(got["a "+phase], move)
	}
	if take.SpanKind != trace.SpanKindServer || !take.Parent.IsRemote() || take.EndTime.Before(got["a transfer"].StartTime) {
		t.Errorf("%+v", take)
	}

	// An event for the daemon that moved, asked for at the first node.
	tr.exporter.Reset()
	must[api.Sent](t)(c.Send(ctx, "c", "", []byte("x")))
	got = tr.wait("a POST /v1/daemons/{ref}/events", "b deliver")
	under(got["b deliver"], got["a POST /v1/daemons/{ref}/events"])
	if got["b deliver"].SpanContext.TraceID().String() != parentOfAll[3:35] {
		t.Error("another trace")
	}
	said := ""
	for _, at := range got["b deliver"].Attributes {
		said += string(at.Key) + "=" + at.Value.String() + " "
	}
	if !strings.Contains(said, "wasmhost.daemon="+d.Entity.Origin().String()) || !strings.Contains(said, "wasmhost.node="+b.mesh.Self().String()) || !strings.Contains(said, "wasmhost.outputs=1") {
		t.Error(said)
	}

	// A migration back, which is passed on to the node that has the daemon.
	tr.exporter.Reset()
	must[*api.MigrationReport](t)(c.Migrate(ctx, "c", api.Migrate{To: "a"}, func(api.MigrationStep) {}))
	got = tr.wait("a POST /v1/daemons/{ref}/migrate", "b POST /v1/daemons/{ref}/migrate", "b migrate", "a take")
	under(got["b POST /v1/daemons/{ref}/migrate"], got["a POST /v1/daemons/{ref}/migrate"])
	under(got["a take"], got["b migrate"])

	// What fails says so; who only looks is not traced.
	tr.exporter.Reset()
	if _, err := plain.Send(ctx, "nobody", "", nil); err == nil {
		t.Error("nobody got an event")
	}
	if s := tr.wait("a POST /v1/daemons/{ref}/events")["a POST /v1/daemons/{ref}/events"]; s.Status.Code.String() != "Error" || s.Parent.IsValid() {
		t.Errorf("%+v", s.Status)
	}
	tr.exporter.Reset()
	must[[]api.Daemon](t)(plain.Daemons().List(ctx, true))
	res := must[*http.Response](t)(http.Get(base + "/v1/nodes"))
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	if s := tr.exporter.GetSpans(); len(s) > 0 {
		t.Errorf("%d spans of who looks", len(s))
	}
}

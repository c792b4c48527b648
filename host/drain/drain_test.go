package drain_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/drain"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/placement"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

var ctx = context.Background()

func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.NewTextHandler(io.Discard, nil)))
	os.Exit(m.Run())
}

// counter counts its events.
type counter struct{ n byte }

func (c *counter) Name() string                      { return "n" }
func (c *counter) Requirements() daemon.Requirements { return daemon.Requirements{} }
func (c *counter) Process(*daemon.Call, []byte) ([][]byte, error) {
	c.n++
	return [][]byte{[]byte(fmt.Sprint(c.n))}, nil
}
func (c *counter) Snapshot(*daemon.Call) ([]byte, error) { return []byte{c.n}, nil }
func (c *counter) Restore(_ *daemon.Call, b []byte) error {
	c.n = b[0]
	return nil
}

type node struct {
	*host.Runtime
	t    *testing.T
	name string
}

// start makes a node whose daemons are of kind n.
func start(t *testing.T, net *hosttest.Net, name string, change func(*host.Options)) *node {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	mesh, err := net.Join(key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	o := host.Options{Node: key, Store: s, Mesh: mesh}
	if change != nil {
		change(&o)
	}
	r, err := host.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	err = r.RegisterFactory("n", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &counter{}, nil }))
	if err == nil {
		err = r.Start(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return &node{r, t, name}
}

func (n *node) spawn(names ...string) (ids []identity.EntityID) {
	n.t.Helper()
	for _, name := range names {
		i, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: name})
		if err != nil {
			n.t.Fatal(err)
		}
		ids = append(ids, i.Entity)
	}
	return ids
}

func (n *node) wantSend(id identity.EntityID, want string) {
	n.t.Helper()
	res, err := n.Deliver(ctx, id, daemon.Event{})
	if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != want {
		n.t.Errorf("on %s: %v, %v; want %s", n.name, res.Outputs, err, want)
	}
}

func (n *node) names() (out []string) {
	for _, i := range n.Daemons().List() {
		out = append(out, i.Name)
	}
	return out
}

// to makes these nodes the targets.
func to(nodes ...*node) func(context.Context) ([]placement.Node, error) {
	return func(context.Context) (out []placement.Node, err error) {
		for _, n := range nodes {
			out = append(out, placement.Node{ID: n.Self(), Name: n.name, Capabilities: placement.Capabilities{Daemons: n.DaemonCount(), Draining: n.Node().Draining()}})
		}
		return out, nil
	}
}

// begin drains n.
func (n *node) begin(ctx context.Context, o drain.Options) *drain.Drain {
	n.t.Helper()
	if err := n.Node().SetDraining(true, true); err != nil {
		n.t.Fatal(err)
	}
	return drain.Start(ctx, n.Runtime, o)
}

func (n *node) drain(o drain.Options) drain.Summary {
	n.t.Helper()
	s, err := n.begin(ctx, o).Wait(ctx)
	if err != nil {
		n.t.Fatal(err)
	}
	return s
}

// inBubble runs fn with three nodes in virtual time.
func inBubble(t *testing.T, fn func(t *testing.T, net *hosttest.Net, a, b, c *node)) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		fn(t, &net, start(t, &net, "a", func(o *host.Options) { o.PassivateAfter = time.Minute }), start(t, &net, "b", nil), start(t, &net, "c", nil))
	})
}

func named(prefix string, n int) (out []string) {
	for i := range n {
		out = append(out, fmt.Sprintf("%s%02d", prefix, i))
	}
	return out
}

// stayed says of each daemon that stayed why, by name.
func stayed(s drain.Summary) string {
	var out []string
	for _, r := range s.Stayed {
		out = append(out, fmt.Sprintf("%s: %v", r.Name, r.Err))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// Every daemon goes, the passive ones too, spread over the targets; each with
// its state, and a result.
func TestEveryDaemonGoes(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *hosttest.Net, a, b, c *node) {
		ids := a.spawn(named("d", 12)...)
		for _, id := range ids {
			a.wantSend(id, "1")
		}
		time.Sleep(3 * time.Minute)
		a.wantSend(ids[0], "2")
		passive := 0
		for _, i := range a.Daemons().List() {
			if i.State == "passive" {
				passive++
			}
		}
		if passive != 11 {
			t.Fatalf("%d are passive", passive)
		}
		d := a.begin(ctx, drain.Options{Targets: to(b, c)})
		var seen []string
		if err := d.Each(ctx, func(r drain.Result) error {
			seen = append(seen, r.Name)
			if r.Err != nil || r.Attempts != 1 || r.Report.Epoch != 2 || r.Report.To != r.To || r.Report.Bytes == 0 {
				t.Errorf("%+v", r)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		s, err := d.Wait(ctx)
		if err != nil || s.Err() != nil || s.Total != 12 || s.Gone != 12 || s.Failed != 0 || s.Bytes == 0 || s.Remaining != 0 {
			t.Errorf("%+v, %v, %v", s, err, s.Err())
		}
		slices.Sort(seen)
		if !slices.Equal(seen, named("d", 12)) || a.DaemonCount() != 0 {
			t.Errorf("results of %v, %d left", seen, a.DaemonCount())
		}
		if b.DaemonCount() != 6 || c.DaemonCount() != 6 {
			t.Errorf("%d and %d", b.DaemonCount(), c.DaemonCount())
		}
		for k, id := range ids {
			at, want := b, "2"
			if _, err := b.Daemons().Inspect(id); err != nil {
				at = c
			}
			if k == 0 {
				want = "3"
			}
			at.wantSend(id, want)
		}
		if s := a.drain(drain.Options{Targets: to(b, c)}); s.Err() != nil || s.Total != 0 { // nothing is left to do
			t.Errorf("%+v", s)
		}
	})
}

// What one target does not take goes to another; what none takes stays, and of
// each it is said why.
func TestRefusedDaemonsGoElsewhere(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *hosttest.Net, a, b, c *node) {
		ids := a.spawn("at-b", "at-both", "free")
		b.spawn("at-b", "at-both")
		c.spawn("at-both", "x1", "x2", "x3") // so that b is tried first
		s := a.drain(drain.Options{Targets: to(b, c), Parallel: 1})
		if !errors.Is(s.Err(), drain.ErrIncomplete) || s.Total != 3 || s.Gone != 2 || s.Failed != 1 || len(s.Stayed) != 1 {
			t.Fatalf("%+v", s)
		}
		r := s.Stayed[0]
		if text := s.Err().Error(); r.Name != "at-both" || !errors.Is(r.Err, placement.ErrNoNode) || strings.Count(text, "already-present") != 2 || !strings.HasPrefix(text, "1 of 3 daemons are still here: at-both: ") {
			t.Errorf("%s", text)
		}
		c.wantSend(ids[0], "1")
		a.wantSend(ids[1], "1")
		b.wantSend(ids[2], "1")
	})
}

// A daemon that cannot move stays where it is, and stops no other.
func TestDaemonsThatCannotMoveStay(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *hosttest.Net, a, b, c *node) {
		a.spawn("well")
		if _, err := a.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "native"}, &counter{}); err != nil {
			t.Fatal(err)
		}
		// One whose key is not here has nothing to leave behind.
		i, err := b.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "keyless"})
		if err != nil {
			t.Fatal(err)
		}
		m, err := b.StartMigrationWith(ctx, i.Entity, a.Self(), host.MigrationOptions{PublicOnly: true})
		if err == nil {
			_, err = m.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		// Without a key it goes only where it is named, with where it comes from.
		if err := errors.Join(c.ExpectMigration("n", i.Entity), c.Migrations().BindSource(i.Entity, a.Self())); err != nil {
			t.Fatal(err)
		}
		s := a.drain(drain.Options{Targets: to(c)})
		if s.Gone != 2 || len(s.Stayed) != 1 || s.Stayed[0].Name != "native" || !errors.Is(s.Stayed[0].Err, &migration.Error{Code: migration.NotPortable}) {
			t.Errorf("%+v\n%s", s, stayed(s))
		}
		c.wantSend(i.Entity, "1")
	})
}

// A target that dies in the middle takes no more; the others take the rest.
func TestTargetDiesBeforeItWasReleasedTo(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b, c *node) {
		var once sync.Once
		net.Filter = func(_, to identity.NodeID, m migration.Message) bool {
			if _, last := m.(*migration.SnapshotChunk); last && to == b.Self() {
				once.Do(func() { net.SetDown(b.Self(), true) })
				return false
			}
			return true
		}
		ids := a.spawn(named("d", 10)...)
		d := a.begin(ctx, drain.Options{Targets: to(b, c), Parallel: 2})
		again := 0
		err := d.Each(ctx, func(r drain.Result) error {
			again += r.Attempts - 1
			return nil
		})
		s, waitErr := d.Wait(ctx)
		if err != nil || waitErr != nil || s.Err() != nil || c.DaemonCount() != 10 {
			t.Fatalf("%d are on c; %s", c.DaemonCount(), stayed(s))
		}
		if again == 0 || again > 2 { // those that were on their way there, and no others
			t.Errorf("%d attempts in vain", again)
		}
		for _, id := range ids {
			c.wantSend(id, "1")
		}
	})
}

// A daemon that was released to a target which then dies is that target's: the
// drain goes on with the others, says so, and the daemon is there once the target
// is back.
func TestTargetDiesAfterTheRelease(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b, c *node) {
		net.Filter = func(_, to identity.NodeID, m migration.Message) bool {
			_, release := m.(*migration.Release)
			if release && to == b.Self() {
				net.SetDown(b.Self(), true)
			}
			return !release || to != b.Self()
		}
		a.spawn(named("d", 6)...)
		s := a.drain(drain.Options{Targets: to(b, c), Parallel: 1})
		var unconfirmed *drain.UnconfirmedError
		if s.Total != 6 || len(s.Stayed) != 1 || !errors.As(s.Stayed[0].Err, &unconfirmed) || unconfirmed.Node != b.Self() || c.DaemonCount() != 5 {
			t.Fatalf("%+v, %d on c: %s", s, c.DaemonCount(), stayed(s))
		}
		net.Filter = nil
		net.SetDown(b.Self(), false)
		time.Sleep(time.Minute)
		b.wantSend(s.Stayed[0].Entity, "1")
		if a.DaemonCount() != 0 {
			t.Errorf("%d are left", a.DaemonCount())
		}
	})
}

// A drain that is cut short, by its deadline or by hand, leaves what is not
// released where it is, serving.
func TestEndedSooner(t *testing.T) {
	for name, end := range map[string]struct {
		err error
		how func(context.Context, func(context.Context) *drain.Drain) (*drain.Drain, func())
	}{
		"deadline": {drain.ErrDeadline, func(ctx context.Context, begin func(context.Context) *drain.Drain) (*drain.Drain, func()) {
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			return begin(ctx), cancel
		}},
		"cancelled": {drain.ErrEnded, func(ctx context.Context, begin func(context.Context) *drain.Drain) (*drain.Drain, func()) {
			d := begin(ctx)
			time.AfterFunc(time.Minute, d.Cancel)
			return d, func() {}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, net *hosttest.Net, a, b, _ *node) {
				stuck := make(chan struct{})
				moved := 0
				net.Filter = func(_, _ identity.NodeID, m migration.Message) bool {
					if _, offer := m.(*migration.Offer); offer {
						if moved++; moved > 3 {
							<-stuck
						}
					}
					return true
				}
				ids := a.spawn(named("d", 8)...)
				began := time.Now()
				d, release := end.how(ctx, func(ctx context.Context) *drain.Drain {
					return a.begin(ctx, drain.Options{Targets: to(b), Parallel: 1})
				})
				defer release()
				time.AfterFunc(time.Minute+time.Second, func() { close(stuck) }) // Send knows no context
				s, err := d.Wait(ctx)
				if err != nil || s.Gone != 3 || len(s.Stayed) != 5 || time.Since(began) > 2*time.Minute {
					t.Fatalf("after %v: %+v, %v", time.Since(began), s, err)
				}
				for _, r := range s.Stayed {
					if !errors.Is(r.Err, end.err) {
						t.Errorf("%s: %v", r.Name, r.Err)
					}
					a.wantSend(r.Entity, "1")
				}
				for _, id := range ids[:3] {
					b.wantSend(id, "1")
				}
			})
		})
	}
}

// What is on its way here when the drain begins comes, and goes on.
func TestArrivalsGoOn(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b, c *node) {
		id := b.spawn("late")[0]
		reached, open := make(chan struct{}), make(chan struct{})
		var once sync.Once
		net.Filter = func(from, _ identity.NodeID, m migration.Message) bool {
			if _, ready := m.(*migration.Ready); ready && from == a.Self() {
				once.Do(func() { close(reached) })
				<-open
			}
			return true
		}
		m, err := b.StartMigration(ctx, id, a.Self())
		if err != nil {
			t.Fatal(err)
		}
		<-reached
		a.spawn("other")
		d := a.begin(ctx, drain.Options{Targets: to(c)})
		time.Sleep(time.Second)
		close(open)
		if _, err := m.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if s, err := d.Wait(ctx); err != nil || s.Err() != nil || !slices.Equal(c.names(), []string{"late", "other"}) {
			t.Errorf("%+v, %v; c has %v", s, err, c.names())
		}
	})
}

// Where no target takes anything the drain says so without waiting long.
func TestNoTargets(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *hosttest.Net, a, b, _ *node) {
		a.spawn("d")
		if err := b.Node().SetDraining(true, false); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for want, targets := range map[string]func(context.Context) ([]placement.Node, error){
			"d: no node meets the requirements: b: it is being drained":       to(b),
			"d: no node meets the requirements: there is none to choose from": to(),
			"d: asking the targets: " + io.ErrUnexpectedEOF.Error():           func(context.Context) ([]placement.Node, error) { return nil, io.ErrUnexpectedEOF },
		} {
			if s := a.drain(drain.Options{Targets: targets}); stayed(s) != want {
				t.Errorf("%s", stayed(s))
			}
		}
		if time.Since(began) > 0 {
			t.Errorf("it took %v", time.Since(began))
		}
	})
}

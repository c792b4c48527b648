package host_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/standby"
	"wasmhost.example/identity"
)

// traffic remembers who says what to whom.
type traffic struct {
	mu   sync.Mutex
	said []string // "ab Offer"
	name map[identity.NodeID]string
}

func (l *traffic) filter(from, to identity.NodeID, m migration.Message) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, l.name[from]+l.name[to]+" "+strings.TrimPrefix(fmt.Sprintf("%T", m), "*migration."))
	return true
}

// between returns what was said from a node to another, in order.
func (l *traffic) between(link string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, s := range l.said {
		if rest, ok := strings.CutPrefix(s, link+" "); ok {
			out = append(out, rest)
		}
	}
	return out
}

// threeNodes runs fn in virtual time with an orchestrator a that has no kinds, a
// source b with daemon d at 3, and a target c.
func threeNodes(t *testing.T, fn func(t *testing.T, net *hosttest.Net, log *traffic, a, b, c *node, d daemon.Info)) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b, c := start(t, &net, newKey(t), "", nil), nativeNode(t, &net), nativeNode(t, &net)
		log := &traffic{name: map[identity.NodeID]string{a.Self(): "a", b.Self(): "b", c.Self(): "c"}}
		net.Filter = log.filter
		d := b.spawnAs("n", nil)
		for i := range 3 {
			b.wantSend(d.Entity, "x", fmt.Sprint(i+1))
		}
		fn(t, &net, log, a, b, c, d)
	})
}

// A third node orders a migration. It says one thing and hears phases and the
// outcome; everything else goes between source and target, and is decided there.
func TestM81_M88_M89_M94_M100_to_M104_M123_F50_F52_F53_F65_ThirdNodeOrders(t *testing.T) {
	threeNodes(t, func(t *testing.T, net *hosttest.Net, log *traffic, a, b, c *node, d daemon.Info) {
		g := newGate(&migration.Order{})
		net.Filter = func(from, to identity.NodeID, m migration.Message) bool {
			return log.filter(from, to, m) && g.filter(from, to, m)
		}
		m := begin(t, a, d.Entity, c.Self(), host.MigrationOptions{Source: b.Self()})
		<-g.reached
		if m.Phase() != migration.Snapshot || m.Source() != b.Self() || m.Target() != c.Self() || m.Entity() != d.Entity { // M81
			t.Errorf("phase %s, from %s to %s", m.Phase(), m.Source(), m.Target())
		}
		g.open()
		rep, err := m.Wait(ctx)
		if err != nil || rep.Entity != d.Entity || rep.From != b.Self() || rep.To != c.Self() || rep.Epoch != 2 || rep.Bytes == 0 || len(rep.Phases) != 5 {
			t.Fatalf("%+v, %v", rep, err)
		}
		if _, ok := a.MigrationPhase(d.Entity); ok || m.Phase() != migration.Complete || a.DaemonCount() != 0 || b.DaemonCount() != 0 || c.DaemonCount() != 1 { // M88, M123
			t.Errorf("phase %s; %d, %d and %d daemons", m.Phase(), a.DaemonCount(), b.DaemonCount(), c.DaemonCount())
		}
		for link, want := range map[string]string{
			"ab": "[Order]",                                                 // M81
			"ac": "[]",                                                      // M102: the hand-over is the source's
			"ca": "[]",                                                      // M94, F50
			"bc": "[Offer HistoryBatch SnapshotChunk Tail Release Receipt]", // M100, M101, M103, M104
			"cb": "[Accept Arrived Ready Prepared Done]",
		} {
			if got := log.between(link); fmt.Sprint(got) != want {
				t.Errorf("from %c to %c: %v, want %s", link[0], link[1], got, want)
			}
		}
		back := log.between("ba")                                                                                                                       // as many steps as it saw
		if i := slices.Index(back, "Outcome"); i < 1 || i != len(back)-1 || slices.ContainsFunc(back[:i], func(s string) bool { return s != "Step" }) { // M89: no event, no state
			t.Errorf("the orchestrator heard %v", back)
		}
		log.mu.Lock()
		release, tail := slices.Index(log.said, "bc Release"), slices.Index(log.said, "bc Tail")
		log.mu.Unlock()
		if tail > release { // M104
			t.Error("the release went before the last events")
		}
		c.wantSend(d.Entity, "x", "4")
		if err := c.proves(d.Entity); err != nil { // M94: the chain goes on from its real head
			t.Error(err)
		}
	})
}

// The orchestrator can be the target, or name itself as the source: nobody
// talks to itself, and it ends.
func TestM111_F55_OrchestratorIsSourceOrTarget(t *testing.T) {
	threeNodes(t, func(t *testing.T, _ *hosttest.Net, log *traffic, a, b, c *node, d daemon.Info) {
		if err := c.moveWith(d.Entity, c.Self(), host.MigrationOptions{Source: b.Self()}); err != nil { // pulled
			t.Fatal(err)
		}
		c.wantSend(d.Entity, "x", "4")
		if err := c.moveWith(d.Entity, b.Self(), host.MigrationOptions{Source: c.Self()}); err != nil { // pushed
			t.Fatal(err)
		}
		b.wantSend(d.Entity, "x", "5")
		for _, n := range []string{"aa", "bb", "cc"} {
			if said := log.between(n); len(said) != 0 {
				t.Errorf("%s talks to itself: %v", n[:1], said)
			}
		}
		// To where it is already it does not move, whoever asks.
		if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{Source: b.Self()}); !failedWith(err, migration.TargetUnavailable) {
			t.Errorf("to where it is: %v", err)
		}
		for _, n := range []*node{a, b, c} {
			if len(n.Migrations().Running()) != 0 {
				t.Error("a record is left")
			}
		}
	})
}

// Of two that order the same daemon elsewhere the first has it, and hears of it;
// the second is told so, and can cancel nothing.
func TestM82_M105_F54_TheOneWhoOrderedHearsOfIt(t *testing.T) {
	threeNodes(t, func(t *testing.T, net *hosttest.Net, log *traffic, a, b, c *node, d daemon.Info) {
		g := newGate(&migration.Prepared{})
		net.Filter = func(from, to identity.NodeID, m migration.Message) bool {
			return log.filter(from, to, m) && g.filter(from, to, m)
		}
		first := begin(t, a, d.Entity, c.Self(), host.MigrationOptions{Source: b.Self()})
		<-g.reached
		if _, err := a.StartMigrationWith(ctx, d.Entity, b.Self(), host.MigrationOptions{Source: c.Self()}); !failedWith(err, migration.AlreadyMigrating) {
			t.Errorf("the same orchestrator: %v", err)
		}
		e := start(t, net, newKey(t), "", nil)
		log.mu.Lock()
		log.name[e.Self()] = "e"
		log.mu.Unlock()
		second := begin(t, e, d.Entity, e.Self(), host.MigrationOptions{Source: b.Self()})
		second.Cancel()
		if _, err := second.Wait(ctx); !failedWith(err, migration.AlreadyMigrating) {
			t.Errorf("another orchestrator: %v", err)
		}
		if all := b.Migrations().Running(); len(all) != 1 || all[0].Target() != c.Self() {
			t.Errorf("the source's migrations: %v", all)
		}
		g.open()
		if rep, err := first.Wait(ctx); err != nil || rep.To != c.Self() {
			t.Errorf("the first: %+v, %v", rep, err)
		}
		if said := log.between("be"); fmt.Sprint(said) != "[Refuse]" {
			t.Errorf("the second heard %v", said)
		}
		c.wantSend(d.Entity, "x", "4")
	})
}

// What a source refuses, or fails of, the orchestrator hears as the source would
// tell it to its own caller.
func TestM16_M17_M113_M118_RefusedOrders(t *testing.T) {
	threeNodes(t, func(t *testing.T, net *hosttest.Net, _ *traffic, a, b, c *node, d daemon.Info) {
		from := func(n *node) host.MigrationOptions { return host.MigrationOptions{Source: n.Self()} }
		for name, tc := range map[string]struct {
			id     identity.EntityID
			to     identity.NodeID
			o      host.MigrationOptions
			want   migration.Code
			before func()
		}{
			"no such daemon": {newKey(t).ID(), c.Self(), from(b), migration.DaemonNotFound, nil},
			"no such target": {d.Entity, 12345, from(b), migration.TargetUnavailable, nil},
			"no such source": {d.Entity, c.Self(), host.MigrationOptions{Source: 12345}, migration.SourceUnavailable, nil},
			"no factory":     {d.Entity, a.Self(), from(b), migration.FactoryNotFound, nil}, // M113
			"too patient":    {d.Entity, c.Self(), host.MigrationOptions{Source: b.Self(), RetryNotReady: 100 * time.Hour}, migration.ProtocolError, nil},
		} {
			if err := a.moveWith(tc.id, tc.to, tc.o); !failedWith(err, tc.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		net.SetDown(b.Self(), true)
		if err := a.moveWith(d.Entity, c.Self(), from(b)); !failedWith(err, migration.SourceUnavailable) {
			t.Errorf("an unreachable source: %v", err)
		}
		net.SetDown(b.Self(), false)
		c.SimulateNotReady(true)
		started := time.Now()
		err := a.moveWith(d.Entity, c.Self(), host.MigrationOptions{Source: b.Self(), RetryNotReady: 2 * time.Second})
		var e *migration.Error
		if !errors.As(err, &e) || e.Code != migration.NotReadyTimeout || e.Attempts != 4 || time.Since(started) > 2*time.Second { // M17
			t.Errorf("a target that is not ready: %v after %v", err, time.Since(started))
		}
		time.AfterFunc(700*time.Millisecond, func() { c.SimulateNotReady(false) })
		if err := a.moveWith(d.Entity, c.Self(), host.MigrationOptions{Source: b.Self(), RetryNotReady: 10 * time.Second}); err != nil { // M16
			t.Error(err)
		}
		c.wantSend(d.Entity, "x", "4")
		for _, n := range []*node{a, b, c} {
			if len(n.Migrations().Running()) != 0 || len(n.Migrations().Arriving()) != 0 {
				t.Error("a record is left")
			}
		}
		// A source that does not run yet, or no more.
		b.stop()
		if err := a.moveWith(d.Entity, a.Self(), host.MigrationOptions{Source: b.Self(), RetryNotReady: host.NoRetry}); !failedWith(err, migration.NotReady) {
			t.Errorf("a source that has shut down: %v", err)
		}
	})
}

// The orchestrator is lost, or loses its source: the migration goes on, the
// orchestrator says what it does not know, and hears it when it asks again.
func TestM106_F43_F51_OrchestratorLosesItsSource(t *testing.T) {
	threeNodes(t, func(t *testing.T, net *hosttest.Net, _ *traffic, a, b, c *node, d daemon.Info) {
		var lost atomic.Bool
		net.Filter = func(_, _ identity.NodeID, m migration.Message) bool {
			_, outcome := m.(*migration.Outcome)
			return !outcome || !lost.CompareAndSwap(false, true)
		}
		m := begin(t, a, d.Entity, c.Self(), host.MigrationOptions{Source: b.Self()})
		_, err := m.Wait(ctx)
		if !failedWith(err, migration.SourceUnavailable) || m.Phase() == migration.Aborted || m.Phase() == migration.Complete { // neither is known
			t.Errorf("in %s: %v", m.Phase(), err)
		}
		if len(a.Migrations().Running()) != 0 {
			t.Error("a record is left")
		}
		synctest.Wait()
		c.wantSend(d.Entity, "x", "4")
		for range 2 { // that was done, and is said as often as it is asked
			rep, err := begin(t, a, d.Entity, c.Self(), host.MigrationOptions{Source: b.Self()}).Wait(ctx)
			if err != nil || rep.Epoch != 2 || rep.To != c.Self() {
				t.Errorf("%+v, %v", rep, err)
			}
		}
		// Elsewhere it cannot go from here.
		if err := a.moveWith(d.Entity, a.Self(), host.MigrationOptions{Source: b.Self()}); !failedWith(err, migration.DaemonNotFound) {
			t.Errorf("to another node: %v", err)
		}
		if i, err := c.Daemons().Inspect(d.Entity); err != nil || i.Epoch != 2 {
			t.Errorf("%+v, %v", i, err)
		}
	})
}

// An orchestrator that shuts down ends its waiting, not the migration.
func TestOrchestratorShutsDown(t *testing.T) {
	threeNodes(t, func(t *testing.T, net *hosttest.Net, log *traffic, a, b, c *node, d daemon.Info) {
		g := newGate(&migration.Ready{})
		net.Filter = g.filter
		m := begin(t, a, d.Entity, c.Self(), host.MigrationOptions{Source: b.Self()})
		<-g.reached
		a.stop()
		if _, err := m.Wait(ctx); !failedWith(err, migration.SourceUnavailable) {
			t.Errorf("the order: %v", err)
		}
		if _, err := a.StartMigrationWith(ctx, d.Entity, c.Self(), host.MigrationOptions{Source: b.Self()}); !errors.Is(err, daemon.ErrShuttingDown) {
			t.Errorf("another order: %v", err)
		}
		g.open()
		synctest.Wait()
		c.wantSend(d.Entity, "x", "4")
	})
}

// Orders that are no orders.
func TestBadOrders(t *testing.T) {
	threeNodes(t, func(t *testing.T, net *hosttest.Net, _ *traffic, _, b, c *node, d daemon.Info) {
		s := newStranger(t, net)
		s.refused(migration.ProtocolError, b.Self(), &migration.Order{Version: migration.Version + 1, Entity: d.Entity, Target: c.Self()})
		s.refused(migration.ProtocolError, b.Self(), &migration.Step{Phase: migration.Cutover})
		s.refused(migration.ProtocolError, b.Self(), &migration.Outcome{Epoch: 9})
		// A source that answers nonsense.
		l := &answering{migration.Message(&migration.Done{Epoch: 2})}
		s.mesh.Handle(l)
		if err := b.moveWith(d.Entity, c.Self(), host.MigrationOptions{Source: s.mesh.Self()}); !failedWith(err, migration.SourceUnavailable) {
			t.Errorf("a source that answers with Done: %v", err)
		}
		b.wantSend(d.Entity, "x", "4")
	})
}

// answering answers whatever comes first with one message.
type answering struct{ with migration.Message }

func (*answering) HandleStandby(context.Context, identity.NodeID, standby.Conn) {}

func (*answering) HandleChannel(context.Context, identity.NodeID, mesh.ChannelAccess, channel.Conn) {}

func (a *answering) HandleMigration(_ context.Context, _ identity.NodeID, c migration.Conn) {
	if _, err := c.Recv(); err == nil {
		_ = c.Send(a.with) // the other side is gone if this fails
	}
}

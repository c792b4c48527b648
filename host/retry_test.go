package host_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/identity"
)

// gate holds back the first message of one kind until it is opened.
type gate struct {
	kind    string
	reached chan struct{} // closed when the message is there
	message migration.Message
	open    func()

	first atomic.Bool
	await chan struct{}
}

func newGate(kind migration.Message) *gate {
	g := &gate{kind: fmt.Sprintf("%T", kind), reached: make(chan struct{}), await: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.await) })
	return g
}

// filter is a hosttest.Net's Filter.
func (g *gate) filter(_, _ identity.NodeID, m migration.Message) bool {
	if fmt.Sprintf("%T", m) == g.kind && g.first.CompareAndSwap(false, true) {
		g.message = m
		close(g.reached)
		<-g.await
	}
	return true
}

// inBubble runs fn with a pair of native nodes, a with daemon d, in virtual time.
func inBubble(t *testing.T, fn func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info)) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b := nativeNode(t, &net), nativeNode(t, &net)
		fn(t, &net, a, b, a.spawnAs("n", nil))
	})
}

func begin(t *testing.T, n *node, id identity.EntityID, to identity.NodeID, o host.MigrationOptions) *host.Migration {
	t.Helper()
	m, err := n.StartMigrationWith(ctx, id, to, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestM15_F66_NodeWithoutRuntime(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, _ *node, d daemon.Info) {
		mesh, err := net.Join(newKey(t))
		if err != nil {
			t.Fatal(err)
		}
		mesh.NoDaemons()
		for _, o := range []host.MigrationOptions{{}, {RetryNotReady: time.Minute}} {
			started := time.Now()
			err := a.moveWith(d.Entity, mesh.Self(), o)
			if !failedWith(err, migration.ComputeNotSupported) || time.Since(started) > 2*time.Second {
				t.Errorf("after %v: %v", time.Since(started), err)
			}
		}
		// Nor can it be ordered to move anything.
		if err := a.moveWith(d.Entity, a.Self(), host.MigrationOptions{Source: mesh.Self()}); !failedWith(err, migration.ComputeNotSupported) {
			t.Errorf("as a source: %v", err)
		}
		a.wantSend(d.Entity, "x", "1")
	})
}

// A node that starts is waited for: its mesh answers before its runtime does.
func TestNodeThatStartsIsWaitedFor(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, _ *node, d daemon.Info) {
		key := newKey(t)
		mesh, err := net.Join(key)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.moveWith(d.Entity, mesh.Self(), host.MigrationOptions{RetryNotReady: host.NoRetry}); !failedWith(err, migration.NotReady) {
			t.Errorf("without a budget: %v, want not-ready", err)
		}
		m := begin(t, a, d.Entity, mesh.Self(), host.MigrationOptions{RetryNotReady: 10 * time.Second})
		time.Sleep(9 * time.Second)
		c := start(t, net, key, "", nil)
		if err := c.RegisterFactory("n", nativeFactory(new(int))); err != nil {
			t.Fatal(err)
		}
		if _, err := m.Wait(ctx); err != nil {
			t.Fatalf("moving to a node that started meanwhile: %v", err)
		}
		c.wantSend(d.Entity, "x", "1")
	})
}

func TestM16_NotReadyIsRetried(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *hosttest.Net, a, b *node, d daemon.Info) {
		b.SimulateNotReady(true)
		if !b.IsReady() { // it changes the answer to migrations alone
			t.Error("a runtime that plays not ready is not ready")
		}
		b.spawnAs("n", nil)
		time.AfterFunc(700*time.Millisecond, func() { b.SimulateNotReady(false) })
		started := time.Now()
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{RetryNotReady: 10 * time.Second})
		if _, err := m.Wait(ctx); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(started); took != 1500*time.Millisecond || m.Retries() != 2 { // asked at 0, 0.5 s and 1.5 s
			t.Errorf("took %v, %d retries", took, m.Retries())
		}
		if a.DaemonCount() != 0 || b.DaemonCount() != 2 {
			t.Errorf("%d and %d daemons", a.DaemonCount(), b.DaemonCount())
		}
	})
}

func TestM17_NotReadyTimeout(t *testing.T) {
	for _, tc := range []struct {
		budget   time.Duration
		attempts int
		took     time.Duration
	}{
		// Pauses of 0.5, 1, 2, 4, 8, 16, 16, 16 s, the last cut to what is left.
		{400 * time.Millisecond, 2, 400 * time.Millisecond}, {1500 * time.Millisecond, 3, 1500 * time.Millisecond},
		{30 * time.Second, 7, 30 * time.Second}, {64 * time.Second, 10, 64 * time.Second},
	} {
		inBubble(t, func(t *testing.T, _ *hosttest.Net, a, b *node, d daemon.Info) {
			b.SimulateNotReady(true)
			started := time.Now()
			err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{RetryNotReady: tc.budget})
			var e *migration.Error
			if !errors.As(err, &e) || e.Code != migration.NotReadyTimeout || e.Attempts != tc.attempts || time.Since(started) != tc.took {
				t.Errorf("budget %v: %v after %v", tc.budget, err, time.Since(started))
			}
			a.wantSend(d.Entity, "x", "1")
		})
	}
}

func TestM14_M18_NotRetried(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *hosttest.Net, a, b *node, d daemon.Info) {
		b.SimulateNotReady(true)
		started := time.Now()
		err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{RetryNotReady: host.NoRetry})
		if !failedWith(err, migration.NotReady) || time.Since(started) != 0 { // M18
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		// M14: what does not pass by itself is not waited for, whatever the budget.
		b.SimulateNotReady(false)
		if err := a.RegisterFactory("alien", nativeFactory(new(int))); err != nil {
			t.Fatal(err)
		}
		alien := a.spawnAs("alien", nil)
		for _, o := range []host.MigrationOptions{{}, {RetryNotReady: time.Minute}} {
			err = a.moveWith(alien.Entity, b.Self(), o)
			if !failedWith(err, migration.FactoryNotFound) || time.Since(started) != 0 {
				t.Errorf("after %v: %v", time.Since(started), err)
			}
		}
	})
}

// A migration that stands still is waited for as long as its waiter likes, and
// no longer: it goes on all the same.
func TestM19_M26_F68_WaitEndsWithItsContextAlone(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
		g := newGate(&migration.Arrived{})
		net.Filter = g.filter
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		waited := make(chan error, 1)
		go func() { waited <- second(m.Wait(ctx)) }()
		<-g.reached
		time.Sleep(120 * time.Second)
		synctest.Wait()
		select {
		case err := <-waited:
			t.Errorf("the wait ended: %v", err)
		default:
		}
		impatient, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		started := time.Now()
		if _, err := m.Wait(impatient); !errors.Is(err, context.DeadlineExceeded) || time.Since(started) != time.Second {
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		if _, err := m.Wait(impatient); !errors.Is(err, context.DeadlineExceeded) { // M26: it has ended already
			t.Errorf("a second time: %v", err)
		}
		if p := m.Phase(); p != migration.Transfer {
			t.Errorf("phase %s", p)
		}
		g.open()
		if err := <-waited; err != nil {
			t.Error(err)
		}
		for range 100 { // M26: what is known is said, however little time there is
			if _, err := m.Wait(impatient); err != nil {
				t.Fatalf("of a migration that is complete: %v", err)
			}
		}
	})
}

// Only the target's silence while the daemon holds its events has an end: the
// daemon goes on where it is.
func TestPausedDaemonIsNotHeldForEver(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
		g := newGate(&migration.Prepared{})
		net.Filter = g.filter
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		<-g.reached
		started := time.Now()
		if err := second(a.Deliver(ctx, d.Entity, daemon.Event{})); err != nil { // held, then applied
			t.Error(err)
		}
		if took := time.Since(started); took != 10*time.Second {
			t.Errorf("the event was held for %v", took)
		}
		if _, err := m.Wait(ctx); !failedWith(err, migration.TargetUnavailable) {
			t.Errorf("the migration: %v", err)
		}
		g.open()
		time.Sleep(time.Minute) // the target has asked by now
		a.wantSend(d.Entity, "x", "2")
		if b.DaemonCount() != 0 || len(b.Migrations().Arriving()) != 0 {
			t.Errorf("%d daemons on the target, %d arriving", b.DaemonCount(), len(b.Migrations().Arriving()))
		}
	})
}

// What is measured, and for how long a target is asked, does not depend on a
// clock that somebody turns back.
func TestM37_F48_ClockTurnedBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		var reads atomic.Int64
		a, b := start(t, &net, newKey(t), "", func(o *host.Options) {
			o.Clock = func() time.Time { return time.Unix(1<<30, 0).Add(-time.Duration(reads.Add(1)) * time.Hour) }
		}), nativeNode(t, &net)
		if err := a.RegisterFactory("n", nativeFactory(new(int))); err != nil {
			t.Fatal(err)
		}
		d := a.spawnAs("n", nil)
		b.SimulateNotReady(true)
		started := time.Now()
		err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{RetryNotReady: time.Second})
		if !failedWith(err, migration.NotReadyTimeout) || time.Since(started) > time.Second {
			t.Errorf("after %v: %v", time.Since(started), err)
		}
		b.SimulateNotReady(false)
		g := newGate(&migration.Prepared{})
		net.Filter = g.filter
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		<-g.reached
		time.Sleep(3 * time.Second)
		g.open()
		rep, err := m.Wait(ctx)
		if err != nil || rep.Downtime != 3*time.Second || len(rep.Phases) != 5 {
			t.Fatalf("%+v, %v", rep, err)
		}
		for _, p := range rep.Phases {
			want := time.Duration(0)
			if p.Phase == migration.Replay {
				want = 3 * time.Second
			}
			if p.Took != want {
				t.Errorf("phase %s took %v", p.Phase, p.Took)
			}
		}
	})
}

// The phases that a reader sees, through refusals and retries: no phase twice
// in a row, the end is the end, and afterwards there is no migration.
func TestM24_F51_PhaseStream(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
		c := nativeNode(t, net)
		b.SimulateNotReady(true)
		time.AfterFunc(time.Second, func() { b.SimulateNotReady(false) })
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{RetryNotReady: time.Minute})
		var readers sync.WaitGroup
		for range 8 { // who begin to read at any time
			readers.Go(func() {
				var last migration.Phase
				for p := range m.Phases(ctx) {
					if p.Phase == last {
						t.Errorf("%s twice", last)
					}
					last = p.Phase
				}
				if last != migration.Complete {
					t.Errorf("the last phase was %s", last)
				}
				if p, ok := a.MigrationPhase(d.Entity); ok {
					t.Errorf("afterwards the migration is in %s", p)
				}
			})
		}
		var seen []migration.Phase
		for p := range m.Phases(ctx) {
			seen = append(seen, p.Phase)
		}
		readers.Wait()
		want := []migration.Phase{migration.Snapshot, migration.Transfer, migration.Snapshot, migration.Transfer, migration.Snapshot,
			migration.Transfer, migration.Restore, migration.Replay, migration.Cutover, migration.Complete}
		if !endsWith(want, seen) { // the first may be over
			t.Errorf("saw %v", seen)
		}
		var ended []migration.Phase
		for p := range m.Phases(ctx) {
			ended = append(ended, p.Phase)
		}
		if fmt.Sprint(ended) != "[complete]" {
			t.Errorf("of a migration that has ended: %v", ended)
		}
		// An orchestrator elsewhere sees the same, and its record ends too (F51).
		m = begin(t, c, d.Entity, a.Self(), host.MigrationOptions{Source: b.Self()})
		seen = nil
		for p := range m.Phases(ctx) {
			seen = append(seen, p.Phase)
		}
		if !endsWith(want, seen) || len(c.Migrations().Running()) != 0 {
			t.Errorf("the orchestrator saw %v", seen)
		}
	})
}

func endsWith(want, seen []migration.Phase) bool {
	return len(seen) > 0 && len(seen) <= len(want) && slices.Equal(want[len(want)-len(seen):], seen)
}

// What an attempt failed of is told by its own handle, and by no later one.
func TestM22_F67_FailuresAreNotInherited(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *hosttest.Net, a, b *node, d daemon.Info) {
		b.SimulateNotReady(true)
		failed := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{RetryNotReady: host.NoRetry})
		if _, err := failed.Wait(ctx); !failedWith(err, migration.NotReady) {
			t.Fatal(err)
		}
		b.SimulateNotReady(false)
		m := begin(t, a, d.Entity, b.Self(), host.MigrationOptions{})
		if _, err := m.Wait(ctx); err != nil {
			t.Errorf("the next attempt: %v", err)
		}
		if _, err := failed.Wait(ctx); !failedWith(err, migration.NotReady) || failed.Phase() != migration.Aborted {
			t.Errorf("the first attempt, later: %v", err)
		}
	})
}

// Shutdown ends the migrations that can still fail, and forgets them all.
func TestM23_M146_ShutdownEndsMigrations(t *testing.T) {
	inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, _ daemon.Info) {
		g := newGate(nil)
		net.Filter = func(_, _ identity.NodeID, m migration.Message) bool {
			if _, ok := m.(*migration.Arrived); ok {
				<-g.await
			}
			return true
		}
		var all []*host.Migration
		for range 16 {
			all = append(all, begin(t, a, a.spawnAs("n", nil).Entity, b.Self(), host.MigrationOptions{}))
		}
		synctest.Wait()
		if n := len(a.Migrations().Running()); n != 16 {
			t.Fatalf("%d migrations", n)
		}
		if err := a.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		for _, m := range all {
			if _, err := m.Wait(ctx); !failedWith(err, migration.Cancelled) {
				t.Error(err)
			}
			if _, ok := a.MigrationPhase(m.Entity()); ok {
				t.Error("a migration outlived the shutdown")
			}
		}
		g.open() // the stragglers of the dropped streams reach nobody
		net.Settle()
		time.Sleep(time.Minute) // what a broken connection left is kept for a while
		if b.DaemonCount() != 0 || len(b.Migrations().Arriving()) != 0 {
			t.Errorf("%d daemons on the target, %d arriving", b.DaemonCount(), len(b.Migrations().Arriving()))
		}
	})
}

// What no option says is what the reference does: a target that is not ready is asked
// again for half a minute, whether this node moves the daemon or orders another to.
func TestZeroOptionsRetry(t *testing.T) {
	for name, tc := range map[string]struct {
		options host.MigrationOptions
		took    time.Duration
		code    migration.Code
	}{
		"zero":            {host.MigrationOptions{}, host.DefaultRetryNotReady, migration.NotReadyTimeout},
		"no retry":        {host.MigrationOptions{RetryNotReady: host.NoRetry}, 0, migration.NotReady},
		"zero, of a peer": {host.MigrationOptions{Source: 1}, host.DefaultRetryNotReady, migration.NotReadyTimeout},
		"none, of a peer": {host.MigrationOptions{Source: 1, RetryNotReady: host.NoRetry}, 0, migration.NotReady},
	} {
		inBubble(t, func(t *testing.T, net *hosttest.Net, a, b *node, d daemon.Info) {
			b.SimulateNotReady(true)
			by := a
			if tc.options.Source != 0 {
				by, tc.options.Source = nativeNode(t, net), a.Self()
			}
			started := time.Now()
			err := by.moveWith(d.Entity, b.Self(), tc.options)
			if took := time.Since(started); !failedWith(err, tc.code) || took != tc.took {
				t.Errorf("%s: %v after %v, want %v after %v", name, err, took, tc.code, tc.took)
			}
			a.wantSend(d.Entity, "x", "1")
		})
	}
}

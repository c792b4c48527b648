package host_test

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
)

// hookedMesh calls before and after as a handler is installed.
type hookedMesh struct {
	*hosttest.Mesh
	before, after func()
}

func (m *hookedMesh) Handle(h mesh.Handler) bool {
	if h != nil && m.before != nil {
		m.before()
	}
	installed := m.Mesh.Handle(h)
	if h != nil && m.after != nil {
		m.after()
	}
	return installed
}

// closing is a native daemon that counts how many of its kind are open.
type closing struct {
	native
	open *atomic.Int64
}

func (c *closing) Close() error {
	c.open.Add(-1)
	return nil
}

func closingFactory(open, made *atomic.Int64) daemon.Factory {
	return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
		made.Add(1)
		open.Add(1)
		return &closing{open: open}, nil
	})
}

// Whoever sees that a runtime is ready finds its handler installed.
func TestR13_F1_ReadyOnlyWithAHandler(t *testing.T) {
	for range 64 {
		var net hosttest.Net
		key := newKey(t)
		mesh, err := net.Join(key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := host.New(ctx, host.Options{Node: key, Mesh: mesh})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			for !r.IsReady() {
				runtime.Gosched()
			}
			if !mesh.Handled() {
				t.Error("ready without a handler")
			}
		})
		if err := r.Start(ctx); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if err := r.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

// A Start that has recovered its daemons, and then loses to Shutdown just before
// or after it has installed its handler, leaves neither behind.
func TestR14_F2_StartLosesToShutdown(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { startLoses(t, late) })
	}
}

func startLoses(t *testing.T, late bool) {
	var net hosttest.Net
	var open, made atomic.Int64
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key := newKey(t)
	mesh, err := net.Join(key)
	if err != nil {
		t.Fatal(err)
	}
	hooked := &hookedMesh{Mesh: mesh}
	begin := func() *host.Runtime {
		r, err := host.New(ctx, host.Options{Node: key, Store: s, Mesh: hooked})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.RegisterFactory("n", closingFactory(&open, &made)); err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := begin()
	if err := first.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := first.Spawn(ctx, daemon.SpawnRequest{Kind: "n"}); err != nil {
		t.Fatal(err)
	}
	if err := first.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	r, down := begin(), make(chan error, 1)
	lose := func() {
		go func() { down <- r.Shutdown(ctx) }()
		synctest.Wait() // it is shutting down now
	}
	if late {
		hooked.after = lose
	} else {
		hooked.before = lose
	}
	if err := r.Start(ctx); !errors.Is(err, daemon.ErrShuttingDown) {
		t.Errorf("start: %v", err)
	}
	if err := <-down; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if mesh.Handled() || r.IsReady() || r.DaemonCount() != 0 || open.Load() != 0 || made.Load() != 2 {
		t.Errorf("handled %v, ready %v, %d daemons, %d of %d open", mesh.Handled(), r.IsReady(), r.DaemonCount(), open.Load(), made.Load())
	}
	if err := r.Start(ctx); !errors.Is(err, daemon.ErrShuttingDown) {
		t.Errorf("start again: %v", err)
	}
}

// Two Starts at once bring back each daemon once.
func TestR04_StartsAtOnce(t *testing.T) {
	var open, made atomic.Int64
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	key := newKey(t)
	for round := range 2 {
		r, err := host.New(ctx, host.Options{Node: key, Store: s})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.RegisterFactory("n", closingFactory(&open, &made)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := r.Start(ctx); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if round == 0 {
			if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"}); err != nil {
				t.Fatal(err)
			}
		}
		if open.Load() != 1 || made.Load() != int64(round+1) || r.DaemonCount() != 1 {
			t.Errorf("%d daemons, %d open, %d made", r.DaemonCount(), open.Load(), made.Load())
		}
		if err := r.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
	}
}

func TestR05_R15_F3_NoHandlerAfterShutdown(t *testing.T) {
	var net hosttest.Net
	n := start(t, &net, newKey(t), "", nil)
	if !n.mesh.Handled() || !n.IsReady() {
		t.Error("ready without a handler")
	}
	n.stop()
	if n.mesh.Handled() || n.IsReady() {
		t.Error("a handler after shutdown")
	}
}

// A spawn that passed the check for readiness and is overtaken by Shutdown while
// its factory works leaves nothing.
func TestR16_F4_SpawnLosesToShutdown(t *testing.T) {
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var open atomic.Int64
	making, goOn := make(chan struct{}), make(chan struct{})
	err = r.RegisterFactory("slow", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
		close(making)
		<-goOn
		open.Add(1)
		return &closing{open: &open}, nil
	}))
	if err := errors.Join(err, r.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	spawned, down := make(chan error, 1), make(chan error, 1)
	go func() { spawned <- second(r.Spawn(ctx, daemon.SpawnRequest{Kind: "slow"})) }()
	<-making
	go func() { down <- r.Shutdown(ctx) }()
	for r.IsReady() {
		runtime.Gosched()
	}
	close(goOn)
	if err := <-spawned; !errors.Is(err, daemon.ErrShuttingDown) {
		t.Errorf("spawn: %v", err)
	}
	if err := <-down; err != nil || r.DaemonCount() != 0 || open.Load() != 0 {
		t.Errorf("shutdown: %v; %d daemons, %d open", err, r.DaemonCount(), open.Load())
	}
}

// What is expected of migrations is registered before Shutdown, and gone with
// it, or refused.
func TestF5_ExpectationsLoseToShutdown(t *testing.T) {
	for range 20 {
		r, err := host.New(ctx, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.RegisterFactory("n", nativeFactory(new(int))); err != nil { // still Registering: expecting needs no more
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					err := errors.Join(r.ExpectMigration("n", newKey(t).ID()), r.RegisterMigrationTargetIdentity("n", newKey(t)))
					if err != nil {
						if !errors.Is(err, daemon.ErrShuttingDown) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		if err := r.Shutdown(ctx); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		if n := r.Expected(); n != 0 {
			t.Fatalf("%d expectations outlived the shutdown", n)
		}
	}
}

// The mesh is its maker's: it goes on when a runtime on it ends, and takes
// another.
func TestR18_MeshOutlivesItsRuntime(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.stop()
	if p, err := a.mesh.Peer(b.Self()); err != nil || p.ID() != b.Self() {
		t.Errorf("the peer: %v", err)
	}
	r, err := host.New(ctx, host.Options{Node: a.key, Mesh: a.mesh})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Start(ctx), r.Shutdown(ctx)); err != nil {
		t.Error(err)
	}
}

// A runtime needs no mesh: it says so, by type, where one is asked for.
func TestR19_NoMesh(t *testing.T) {
	r := bare(t)
	if err := errors.Join(r.RegisterFactory("n", nativeFactory(new(int))), r.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.StartMigration(ctx, d.Entity, 7); !errors.Is(err, &migration.Error{Code: migration.TargetUnavailable}) {
		t.Errorf("from here: %v", err)
	}
	if _, err := r.StartMigrationWith(ctx, d.Entity, 7, host.MigrationOptions{Source: 8}); !errors.Is(err, &migration.Error{Code: migration.SourceUnavailable}) {
		t.Errorf("from elsewhere: %v", err)
	}
	if _, err := host.New(ctx, host.Options{Limits: daemon.Limits{Fuel: -1}}); err == nil {
		t.Error("a runtime with impossible limits")
	}
}

// A kind's name is a runtime's own.
func TestR68_KindsOfTwoRuntimes(t *testing.T) {
	for range 2 {
		r := bare(t)
		if err := errors.Join(r.RegisterFactory("n", nativeFactory(new(int))), r.Start(ctx)); err != nil {
			t.Error(err)
		}
		if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "same"}); err != nil {
			t.Error(err)
		}
	}
}

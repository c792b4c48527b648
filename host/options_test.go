package host_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
)

// Options with which no runtime could work are refused before anything starts.
func TestOptionsThatCannotWorkAreRefused(t *testing.T) {
	var net hosttest.Net
	key := newKey(t)
	mesh, err := net.Join(key)
	if err != nil {
		t.Fatal(err)
	}
	used, err := net.Join(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	used.Handle(&answering{})
	for name, c := range map[string]struct {
		options host.Options
		field   string
		why     string
	}{
		"a mesh of another node":     {host.Options{Node: newKey(t), Mesh: mesh}, "Mesh", "that of node"},
		"a mesh of a node at random": {host.Options{Mesh: mesh}, "Mesh", "that of node"},
		"a node that cannot sign":    {host.Options{Node: identity.PublicOnly(key.ID()), Mesh: mesh}, "Node", "private key"},
		"no member":                  {host.Options{Node: key, Mesh: mesh, Cluster: &host.ClusterOptions{}}, "Cluster", "no Member"},
		"no place for idle daemons":  {host.Options{PassivateAfter: time.Minute}, "PassivateAfter", "Store"},
		"no place for large daemons": {host.Options{ActiveBytes: 1}, "ActiveBytes", "Store"},
		"idle before now":            {host.Options{PassivateAfter: -1}, "PassivateAfter", "or more"},
		"less than no memory":        {host.Options{ActiveBytes: -1}, "ActiveBytes", "or more"},
		"clocks that never agree":    {host.Options{TokenSkew: time.Hour}, "TokenSkew", "between"},
		"a key of zeros":             {host.Options{ModuleKeys: []identity.EntityID{{}}}, "ModuleKeys", "zeros"},
		"negative compile limits":    {host.Options{CompileLimits: registry.CompileLimits{Wall: -1}}, "CompileLimits", "negative"},
	} {
		_, err := host.New(ctx, c.options)
		var refused *host.OptionsError
		if !errors.As(err, &refused) || refused.Field != c.field || !strings.Contains(refused.Why, c.why) {
			t.Errorf("%s: %v; want an OptionsError of %s that says %q", name, err, c.field, c.why)
		}
	}
	if _, err := host.New(ctx, host.Options{Limits: daemon.Limits{Fuel: -1}}); !errors.Is(err, daemon.ErrBadLimit) {
		t.Errorf("a negative limit: %v, want ErrBadLimit", err)
	}
}

// Two runtimes never share a mesh: the second would take the first one's peers.
func TestMeshHasOneRuntime(t *testing.T) {
	var net hosttest.Net
	key := newKey(t)
	mesh, err := net.Join(key)
	if err != nil {
		t.Fatal(err)
	}
	fresh := func() *host.Runtime {
		r, err := host.New(ctx, host.Options{Node: key, Mesh: mesh})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
		return r
	}
	first, second := fresh(), fresh()
	if err := first.Start(ctx); err != nil {
		t.Fatal(err)
	}
	var refused *host.OptionsError
	if _, err := host.New(ctx, host.Options{Node: key, Mesh: mesh}); !errors.As(err, &refused) || refused.Field != "Mesh" {
		t.Errorf("making another beside it: %v, want an OptionsError of Mesh", err)
	}
	if err := second.Start(ctx); !errors.As(err, &refused) || refused.Field != "Mesh" {
		t.Errorf("starting another beside it: %v, want an OptionsError of Mesh", err)
	}
	if err := second.Shutdown(ctx); err != nil || !mesh.Handled() {
		t.Errorf("the end of the second: %v; the mesh is handled: %v, want true", err, mesh.Handled())
	}
	if err := first.Shutdown(ctx); err != nil || mesh.Handled() {
		t.Fatalf("the end of the first: %v; the mesh is handled: %v, want false", err, mesh.Handled())
	}
	if err := fresh().Start(ctx); err != nil {
		t.Errorf("starting the next after it: %v", err)
	}
}

// Of runtimes on one mesh that start at once one does.
func TestMeshTakesOneOfManyStarts(t *testing.T) {
	for range 32 {
		var net hosttest.Net
		key := newKey(t)
		mesh, err := net.Join(key)
		if err != nil {
			t.Fatal(err)
		}

		const many = 4
		results := make(chan error, many)
		var begin sync.WaitGroup
		begin.Add(many)
		for range many {
			r, err := host.New(ctx, host.Options{Node: key, Mesh: mesh})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Shutdown(ctx)
			go func() {
				begin.Done()
				begin.Wait()
				results <- r.Start(ctx)
			}()
		}

		started := 0
		for range many {
			var refused *host.OptionsError
			if err := <-results; err == nil {
				started++
			} else if !errors.As(err, &refused) || refused.Field != "Mesh" {
				t.Errorf("starting beside others: %v, want an OptionsError of Mesh", err)
			}
		}
		if started != 1 {
			t.Fatalf("%d runtimes of one mesh started, want 1", started)
		}
	}
}

// The zero Options, with a Mesh and its Node, move daemons of modules too.
func TestModulesMoveWithoutStores(t *testing.T) {
	var net hosttest.Net
	bare := func() (*host.Runtime, identity.NodeID) {
		key := newKey(t)
		mesh, err := net.Join(key)
		if err != nil {
			t.Fatal(err)
		}
		r, err := host.New(ctx, host.Options{Node: key, Mesh: mesh})
		if err == nil {
			err = r.Start(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := r.Shutdown(ctx); err != nil {
				t.Error(err)
			}
		})
		return r, mesh.Self()
	}
	a, _ := bare()
	b, idB := bare()
	c, idC := bare()
	if _, err := a.Kinds().Push(ctx, "counter", guest(t, "c/counter.wasm")); err != nil {
		t.Fatal(err)
	}
	d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"})
	if err != nil {
		t.Fatal(err)
	}
	for _, move := range []struct {
		from *host.Runtime
		to   identity.NodeID
	}{{a, idB}, {b, idC}} { // the second with the module that came by the first
		m, err := move.from.StartMigration(ctx, d.Entity, move.to)
		if err == nil {
			_, err = m.Wait(ctx)
		}
		if errors.Is(err, &migration.Error{Code: migration.FactoryNotFound}) {
			t.Fatalf("the module did not come along: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if c.DaemonCount() != 1 {
		t.Errorf("the last node has %d daemons, want 1", c.DaemonCount())
	}
}

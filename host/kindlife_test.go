package host_test

import (
	"context"
	"errors"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// What makes nothing is refused where it is registered, and leaves the name free.
func TestNilFactoryIsRefused(t *testing.T) {
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Shutdown(context.Background()) })

	for name, f := range map[string]daemon.Factory{"nil": nil, "a nil function": daemon.FactoryFunc(nil)} {
		var of *daemon.KindError
		if err := r.RegisterFactory("n", f); !errors.Is(err, daemon.ErrNilFactory) || !errors.As(err, &of) || of.Kind != "n" {
			t.Errorf("registering %s: %v, want a KindError with ErrNilFactory", name, err)
		}
	}

	if err := r.RegisterFactory("n", nativeFactory(new(int))); err != nil {
		t.Errorf("registering a factory under the name after that: %v", err)
	}
}

// A runtime that has ended has no kinds, and stopping its daemons does nothing: what the
// store keeps of them comes back with the next runtime.
func TestAfterShutdown(t *testing.T) {
	s := openStore(t, t.TempDir(), nil)
	t.Cleanup(func() { _ = s.Close() })
	begin := func() *host.Runtime {
		r, err := host.New(ctx, host.Options{Store: s})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(r.RegisterFactory("shop/größe::n", nativeFactory(new(int))), r.Start(ctx)); err != nil {
			t.Fatal(err)
		}
		return r
	}

	r := begin()
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "shop/größe::n"})
	if err != nil {
		t.Fatal(err)
	}
	if kinds := r.Kinds().List(); len(kinds) != 1 || kinds[0].Name != "shop/größe::n" || kinds[0].Daemons != 1 {
		t.Errorf("before the shutdown the kinds are %+v, want one with one daemon", kinds)
	}
	if err := r.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}

	if kinds := r.Kinds().List(); len(kinds) != 0 {
		t.Errorf("after the shutdown there are the kinds %+v, want none", kinds)
	}
	if err := r.Stop(ctx, d.Entity); err != nil {
		t.Errorf("stopping a daemon after the shutdown: %v, want nothing", err)
	}
	if err := r.Daemons().Remove(ctx, d.Entity); !errors.Is(err, daemon.ErrShuttingDown) {
		t.Errorf("removing it for good: %v, want ErrShuttingDown", err)
	}

	next := begin()
	defer next.Shutdown(ctx)
	if i, err := next.Daemons().Inspect(d.Entity); err != nil || i.Kind != "shop/größe::n" {
		t.Errorf("in the next runtime the daemon is %+v, %v; want it of its kind", i, err)
	}
}

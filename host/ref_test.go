package host_test

import (
	"errors"
	"strings"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
)

// Only whole names, origins and entity ids name a daemon. Their beginnings do for those
// who look.
func TestResolveIsExact(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("echo", "c/echo.wasm")
	d := a.spawn("echo", "e1")
	id, origin := d.Entity.String(), d.Entity.Origin().String()
	for _, ref := range []string{"e1", "name:e1", id, "id:" + id, origin, "id:" + origin, strings.ToUpper(origin)} {
		if got, err := a.Daemons().Resolve(ref); err != nil || got != d.Entity {
			t.Errorf("%q: %v, %v, want %v", ref, got, err, d.Entity)
		}
	}
	for _, ref := range []string{"e", "e2", "name:" + origin, id[:8], id[:63], origin[:6], origin[:15]} {
		if got, err := a.Daemons().Resolve(ref); !errors.Is(err, daemon.ErrNotFound) {
			t.Errorf("%q: %v, %v, want ErrNotFound", ref, got, err)
		}
	}
	for _, ref := range []string{"", "name:", "id:" + origin[:6], "a b", "../e1"} {
		if _, err := a.Daemons().Resolve(ref); !errors.Is(err, daemon.ErrBadRef) {
			t.Errorf("%q: %v, want ErrBadRef", ref, err)
		}
	}
	for _, text := range []string{id[:8], id, origin[:6], strings.ToUpper(origin[:4])} {
		if got, err := a.Daemons().BegunBy(text); err != nil || len(got) != 1 || got[0] != d.Entity {
			t.Errorf("those that %q begins: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "e1", origin[:3], id + "0"} {
		if got, err := a.Daemons().BegunBy(text); !errors.Is(err, daemon.ErrBadRef) {
			t.Errorf("those that %q begins: %v, %v, want ErrBadRef", text, got, err)
		}
	}
}

// A daemon that moved away keeps its name here, though another's id begins alike.
func TestNameOfAMovedDaemonIsExact(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push("echo", "c/echo.wasm")
	stranger := a.spawn("echo", "stranger")
	name := stranger.Entity.Origin().String()[:4]
	d := a.spawn("echo", name)
	m, err := a.StartMigration(ctx, d.Entity, b.Self())
	if err == nil {
		_, err = m.Wait(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := a.Daemons().Resolve(name); err != nil || got != d.Entity {
		t.Errorf("%q: %v, %v, want %v", name, got, err, d.Entity)
	}
}

// No daemon gets a name that looks like an id.
func TestNamesThatLookLikeIDsAreRefused(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "e1")
	for _, name := range []string{d.Entity.Origin().String(), strings.ToUpper(d.Entity.Origin().String()), "1234567890123456", d.Entity.String()} {
		if _, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: name}); !errors.Is(err, daemon.ErrBadName) {
			t.Errorf("spawning %q: %v, want ErrBadName", name, err)
		}
		if _, err := a.Fork(ctx, d.Entity, host.ForkRequest{Name: name}); !errors.Is(err, daemon.ErrBadName) {
			t.Errorf("forking as %q: %v, want ErrBadName", name, err)
		}
		snap, err := a.Snapshot(ctx, d.Entity)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.SpawnFromDecoded(ctx, daemon.SpawnRequest{Name: name}, snap); !errors.Is(err, daemon.ErrBadName) {
			t.Errorf("restoring as %q: %v, want ErrBadName", name, err)
		}
	}
	if got := a.Daemons().List(); len(got) != 1 {
		t.Errorf("daemons %v, want e1 alone", got)
	}
}

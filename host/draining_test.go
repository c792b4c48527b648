package host_test

import (
	"errors"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
)

// A draining node takes no daemon, lets those it has serve and leave, and is
// still draining after a restart.
func TestDrainingNodeTakesNoDaemons(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	key, dir := newKey(t), t.TempDir()
	b := start(t, &net, key, dir, nil)
	for _, n := range []*node{a, b} {
		n.push("counter", "c/counter.wasm")
	}
	d, other := b.spawn("counter", "d"), a.spawn("counter", "other")
	snap, err := b.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := snap.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Node().SetDraining(true, true); err != nil {
		t.Fatal(err)
	}
	refuses := func(count string) {
		t.Helper()
		if _, err := b.Spawn(ctx, daemon.SpawnRequest{Kind: "counter"}); !errors.Is(err, daemon.ErrDraining) || !b.Node().Draining() {
			t.Errorf("spawning: %v", err)
		}
		if _, err := b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Name: "again"}, encoded); !errors.Is(err, daemon.ErrDraining) {
			t.Errorf("restoring: %v", err)
		}
		if err := a.moveWith(other.Entity, b.Self(), host.MigrationOptions{RetryNotReady: migration.MaxRetryNotReady}); !errors.Is(err, &migration.Error{Code: migration.Draining}) {
			t.Errorf("a daemon that comes: %v", err)
		}
		b.wantSend(d.Entity, "x", count)
	}
	refuses("1")
	b.stop()
	b = start(t, &net, key, dir, nil)
	refuses("2")
	if err := b.moveWith(d.Entity, a.Self(), host.MigrationOptions{}); err != nil {
		t.Errorf("leaving: %v", err)
	}
	if err := b.Node().SetDraining(false, true); err != nil {
		t.Fatal(err)
	}
	if err := a.moveWith(other.Entity, b.Self(), host.MigrationOptions{}); err != nil {
		t.Error(err)
	}
	if err := b.Node().SetDraining(true, false); err != nil {
		t.Fatal(err)
	}
	b.stop()
	if b = start(t, &net, key, dir, nil); b.Node().Draining() {
		t.Error("what was not to last lasted")
	}
}

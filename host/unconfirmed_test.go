package host_test

import (
	"bytes"
	"errors"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// TestUnconfirmedDaemonServesNothingUntilItIsConfirmed holds a daemon, restarts the node
// and confirms the copy.
func TestUnconfirmedDaemonServesNothingUntilItIsConfirmed(t *testing.T) {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	start := func() *host.Runtime {
		rt, err := host.New(t.Context(), host.Options{Store: s, Node: key})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(rt.RegisterFactory("n", nativeFactory(new(int))), rt.Start(t.Context())); err != nil {
			t.Fatal(err)
		}
		return rt
	}
	rt := start()
	d, err := rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "n", Name: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	sender := someone(t)
	deliver := func(n uint64) error {
		_, err := rt.Deliver(t.Context(), d.Entity, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")})
		return err
	}
	if err := deliver(1); err != nil {
		t.Fatal(err)
	}
	if err := rt.Unconfirmed().Mark(d.Entity, "restored from a backup of yesterday"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		var held *daemon.HeldError
		if err := deliver(2); !errors.As(err, &held) || !errors.Is(err, daemon.ErrHeld) || held.Reason != daemon.HoldUnconfirmed {
			t.Fatalf("an event to a held daemon: %v", err)
		}
		if _, err := rt.Snapshot(t.Context(), d.Entity); !errors.Is(err, daemon.ErrHeld) {
			t.Errorf("a snapshot of a held daemon: %v", err)
		}
		if _, err := rt.Fork(t.Context(), d.Entity, host.ForkRequest{}); !errors.Is(err, daemon.ErrHeld) {
			t.Errorf("a fork of a held daemon: %v", err)
		}
		if i, err := rt.Daemons().Inspect(d.Entity); err != nil || i.State != daemon.HeldState || i.Reason == "" {
			t.Errorf("a held daemon is shown as %s (%s), %v", i.State, i.Reason, err)
		}
		if list := rt.Unconfirmed().List(); len(list) != 1 || list[0].Entity != d.Entity || list[0].Name != "c1" || rt.Metrics().Held != 1 {
			t.Errorf("the held daemons: %+v", list)
		}
		var b bytes.Buffer
		if err := rt.Outputs().Export(t.Context(), d.Entity, &b); err != nil {
			t.Errorf("the chain of a held daemon: %v", err)
		}
		if _, err := rt.Unconfirmed().Yield(t.Context(), d.Entity); !errors.Is(err, daemon.ErrNoneFurther) {
			t.Errorf("yielding to nobody: %v", err)
		}
		if err := rt.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		rt = start()
	}
	fact, err := rt.Unconfirmed().Confirm(t.Context(), d.Entity)
	if err != nil || fact.How != chain.MendConfirm || fact.Epoch != 2 {
		t.Fatalf("confirming: %+v, %v", fact, err)
	}
	if _, err := rt.Unconfirmed().Confirm(t.Context(), d.Entity); !errors.Is(err, daemon.ErrNotHeld) {
		t.Errorf("confirming again: %v", err)
	}
	if err := deliver(2); err != nil {
		t.Errorf("after it was confirmed: %v", err)
	}
	if err := rt.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	rt = start()
	if err := deliver(3); err != nil {
		t.Errorf("after another start: %v", err)
	}
	var b bytes.Buffer
	if err := rt.Outputs().Export(t.Context(), d.Entity, &b); err != nil {
		t.Fatal(err)
	}
	if r, err := chain.Verify(&b); err != nil || r.Epoch != 2 || r.Outputs != 3 || len(r.Mended) != 1 || r.Mended[0].How != chain.MendConfirm {
		t.Errorf("the chain: %+v, %v", r, err)
	}
	if err := rt.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

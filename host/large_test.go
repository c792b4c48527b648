package host_test

import (
	"bytes"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
)

// A memory of many chunks comes back from the store at a restart, and from a
// snapshot that is streamed to another runtime; a snapshot with senders enough
// to fill more than is left before the state does as well.
func TestLargeMemoriesComeBack(t *testing.T) {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	key, cache := newKey(t), t.TempDir()
	begin := func(s *store.Store) *host.Runtime {
		r, err := host.New(ctx, host.Options{Node: key, Store: s, CacheDir: cache})
		if err == nil {
			err = r.Start(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	end := func(r *host.Runtime) {
		if err := r.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}
	a := begin(s)
	if _, err := a.Kinds().Push(ctx, "heap", guest(t, "c/heap.wasm")); err != nil {
		t.Fatal(err)
	}
	d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "heap", Name: "h"})
	if err != nil {
		t.Fatal(err)
	}
	send := func(r *host.Runtime, text string, sender byte) string {
		ev := daemon.Event{Payload: []byte(text)}
		if sender != 0 {
			ev.Sender, ev.Number = [32]byte{sender}, 1
		}
		res, err := r.Deliver(ctx, d.Entity, ev)
		if err != nil {
			t.Fatal(err)
		}
		return string(res.Outputs[0].Payload)
	}
	send(a, "r 4", 0)               // 4 MiB that do not compress
	for sender := range byte(120) { // whose marks take more than 4 KiB
		send(a, "w 3", sender+1)
	}
	first, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.State) < 4<<20 || first.Header.Form != snapshot.FormMemory {
		t.Fatalf("a state of %d bytes: it says nothing", len(first.State))
	}
	encoded, err := first.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := send(a, "w 2000", 0)
	last, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	end(a)

	a = begin(s)
	defer end(a)
	restarted, err := a.Snapshot(ctx, d.Entity)
	if err != nil || !bytes.Equal(restarted.State, last.State) || restarted.Header.Applied != last.Header.Applied {
		t.Errorf("after a restart the state has %d bytes, before it %d; %v", len(restarted.State), len(last.State), err)
	}
	other := begin(nil)
	defer end(other)
	if _, err := other.Kinds().Push(ctx, "heap", guest(t, "c/heap.wasm")); err != nil {
		t.Fatal(err)
	}
	read, err := snapshot.Read(bytes.NewReader(encoded), 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.SpawnFromDecoded(ctx, daemon.SpawnRequest{}, read); err != nil {
		t.Fatal(err)
	}
	if got := send(other, "w 2000", 0); got != want {
		t.Errorf("restored: %s, the original: %s", got, want)
	}
	again, err := other.Snapshot(ctx, d.Entity)
	if err != nil || !bytes.Equal(again.State, last.State) {
		t.Errorf("restored and an event later the state has %d bytes, the original's %d; %v", len(again.State), len(last.State), err)
	}
}

package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

type testNode struct {
	mesh *wire.Mesh
	rt   *host.Runtime
}

func newNode(t *testing.T, name string) testNode {
	t.Helper()
	ctx := context.Background()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	logger := slog.New(slog.DiscardHandler)
	mesh, err := wire.Listen(ctx, wire.Config{Identity: key, Name: name, Addr: "127.0.0.1:0", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(store.Options{Ephemeral: true, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	rt, err := host.New(ctx, host.Options{Node: key, Store: s, Mesh: mesh, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	New(rt, mesh, wire.NewNode(mesh, rt), "test", logger)
	if err := rt.Start(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(rt.Shutdown(ctx), mesh.Close(), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return testNode{mesh, rt}
}

// What a peer asks for without the right is denied and counted, where the
// operator sees it, and changes nothing. What is the owner's no right gives.
func TestPeersAreHeldToTheirRights(t *testing.T) {
	ctx := context.Background()
	wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "counter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := newNode(t, "a"), newNode(t, "b")
	if _, err := a.rt.Kinds().Push(ctx, "counter", wasm); err != nil {
		t.Fatal(err)
	}
	d, err := a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"})
	if err != nil {
		t.Fatal(err)
	}
	token, err := a.mesh.Token(time.Minute, trust.RightsAll)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.mesh.Join(ctx, token); err != nil {
		t.Fatal(err)
	}
	peer := client.New(b.mesh.HTTPTransport(a.mesh.Self()))
	requests := []struct {
		name  string
		right trust.Rights
		do    func() error
	}{
		{"push a kind", trust.RightKinds, func() error { _, err := peer.Kinds().Push(ctx, "mine", bytes.NewReader(wasm)); return err }},
		{"forget a kind", trust.RightOwner, func() error { _, err := peer.Kinds().Remove(ctx, "counter"); return err }},
		{"spawn", trust.RightOwner, func() error { _, err := peer.Spawn(ctx, api.Spawn{Kind: "counter"}); return err }},
		{"restore", trust.RightOwner, func() error { _, err := peer.Daemons().Restore(ctx, bytes.NewReader(nil), "", "", nil); return err }},
		{"issue a token", trust.RightOwner, func() error { _, err := peer.Node().JoinToken(ctx, time.Minute, "all"); return err }},
		{"join", trust.RightOwner, func() error { _, err := peer.Node().Join(ctx, "wh1."); return err }},
		{"grant", trust.RightOwner, func() error { _, err := peer.Nodes().Grant(ctx, "b", "all"); return err }},
		{"distrust", trust.RightOwner, func() error { _, err := peer.Nodes().Distrust(ctx, "b"); return err }},
		{"list accusations", trust.RightOwner, func() error { _, err := peer.Proofs().List(ctx); return err }},
		{"accuse", trust.RightOwner, func() error { _, err := peer.Proofs().Accuse(ctx, bytes.NewReader(nil)); return err }},
		{"pardon", trust.RightOwner, func() error { _, err := peer.Proofs().Pardon(ctx, "c"); return err }},
		{"list nodes", trust.RightRead, func() error { _, err := peer.Nodes().List(ctx); return err }},
		{"show a node", trust.RightRead, func() error { _, err := peer.Nodes().Get(ctx, "b"); return err }},
		{"list kinds", trust.RightRead, func() error { _, err := peer.Kinds().List(ctx); return err }},
		{"show a kind", trust.RightRead, func() error { _, err := peer.Kinds().Get(ctx, "counter"); return err }},
		{"pull a module", trust.RightRead, func() error { _, err := peer.Kinds().Pull(ctx, "counter"); return err }},
		{"read logs", trust.RightRead, func() error { return peer.Logs(ctx, "c", false, func(api.LogLine) error { return nil }) }},
		{"save a snapshot", trust.RightRead, func() error { _, err := peer.Daemons().Snapshot(ctx, "c"); return err }},
		{"export a chain", trust.RightRead, func() error { _, err := peer.Daemons().Chain(ctx, "c"); return err }},
		{"migrate", trust.RightOperate, func() error {
			_, err := peer.Migrate(ctx, "c", api.Migrate{To: "nobody"}, func(api.MigrationStep) {})
			return err
		}},
		{"place", trust.RightOperate, func() error {
			_, err := peer.Daemons().Place(ctx, "c", api.Place{Where: map[string]string{"no": "such"}})
			return err
		}},
		{"drain", trust.RightOperate, func() error {
			_, err := peer.Nodes().Drain(ctx, "a", api.Drain{To: []string{"nobody"}}, func(api.DrainStep) error { return nil })
			return err
		}},
		{"undrain", trust.RightOperate, func() error { _, err := peer.Nodes().Undrain(ctx, "a"); return err }},
		{"top", trust.RightRead, func() error { _, err := peer.Node().Top(ctx, 10*time.Millisecond, 1); return err }},
		{"stop", trust.RightOperate, func() error { _, err := peer.Daemons().Stop(ctx, "c"); return err }},
		{"start", trust.RightOperate, func() error { _, err := peer.Daemons().Start(ctx, "c"); return err }},
		{"remove", trust.RightOperate, func() error { _, err := peer.Daemons().Remove(ctx, "c"); return err }},
	}
	denied := uint64(0)
	for _, rights := range []trust.Rights{0, trust.RightRead, trust.RightOperate, trust.RightMigrate, trust.RightsAll} {
		p, err := a.mesh.FindPeer("b")
		if err == nil {
			err = a.mesh.Grant(p.Key, rights)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range requests {
			err := r.do()
			var problem *api.Problem
			refused := errors.As(err, &problem) && problem.Code == "denied"
			if allowed := rights&r.right == r.right; refused == allowed {
				t.Errorf("with %v, to %s: %v", rights, r.name, err)
			}
			if refused {
				denied++
			}
			if r.name == "remove" && !refused { // it was right to: bring it back
				if d, err = a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := peer.Send(ctx, "c", "", []byte("x")); err != nil {
			t.Errorf("with %v, to send: %v", rights, err)
		}
		if _, err := peer.Daemons().Get(ctx, "c"); err != nil {
			t.Errorf("with %v, to ask for a daemon: %v", rights, err)
		}
		if p, err := a.mesh.FindPeer("b"); err != nil || p.Denied != denied || p.Rights != rights {
			t.Errorf("with %v: %+v, %v; %d were denied", rights, p, err, denied)
		}
	}
	if kinds := a.rt.Kinds().List(); len(kinds) != 2 /* counter, and mine once it was allowed */ || len(a.rt.Daemons().List()) != 1 || a.rt.Daemons().List()[0].Entity != d.Entity {
		t.Errorf("kinds %v, daemons %v", kinds, a.rt.Daemons().List())
	}
}

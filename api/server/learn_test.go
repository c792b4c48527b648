package server

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/host/daemon"
	"wasmhost.example/wire/trust"
)

// TestAKindIsTakenFromWhoeverMayPushIt spawns a daemon of a kind that other nodes have:
// what is taken is what those who may push kinds here agree on.
func TestAKindIsTakenFromWhoeverMayPushIt(t *testing.T) {
	ctx := context.Background()
	module := func(path ...string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(append([]string{"..", "..", "testdata", "wasm"}, path...)...))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	counter, echo := module("c", "counter.wasm"), module("c", "echo.wasm")
	a, b, c := newNode(t, "a"), newNode(t, "b"), newNode(t, "c")
	joined(t, a, b)
	joined(t, c, b)
	owned(t, a)
	owned(t, c)
	_, client := owned(t, b)
	own := daemon.Limits{EventBytes: 1000}
	if _, err := a.rt.Kinds().PushWith(ctx, "counter", counter, own); err != nil {
		t.Fatal(err)
	}
	refused := func(code string) {
		t.Helper()
		var problem *api.Problem
		if _, err := client.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c1"}); !errors.As(err, &problem) || problem.Code != code {
			t.Errorf("%v, not %s", err, code)
		}
		if _, err := b.rt.Kinds().Get("counter"); !errors.Is(err, daemon.ErrKindNotFound) {
			t.Errorf("the kind is here: %v", err)
		}
	}
	grant := func(n testNode, rights trust.Rights) {
		t.Helper()
		p, err := b.mesh.FindPeer(n.mesh.Self().String())
		if err == nil {
			err = b.mesh.Grant(p.Key, rights)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	grant(a, trust.RightsAll&^trust.RightKinds)
	refused("kind-not-found")
	grant(a, trust.RightsAll)
	grant(c, trust.RightsAll)
	if _, err := c.rt.Kinds().Push(ctx, "counter", echo); err != nil {
		t.Fatal(err)
	}
	refused("kind-differs")
	if _, err := c.rt.Kinds().Push(ctx, "counter", counter); err != nil { // the same module, without the limits
		t.Fatal(err)
	}
	refused("kind-differs")
	if _, err := c.rt.Kinds().PushWith(ctx, "counter", counter, own); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Spawn(ctx, api.Spawn{Kind: "counter", Name: "c1"}); err != nil {
		t.Fatal(err)
	}
	k, err := b.rt.Kinds().Get("counter")
	if err != nil || k.Limits.EventBytes != 1000 {
		t.Errorf("%+v, %v", k, err)
	}
	if _, err := client.Send(ctx, "c1", "", bytes.Repeat([]byte("x"), 10)); err != nil {
		t.Error(err)
	}
	refusedUnknown := &api.Problem{}
	if _, err := client.Spawn(ctx, api.Spawn{Kind: "nowhere", Name: "n"}); !errors.As(err, &refusedUnknown) || refusedUnknown.Code != "kind-not-found" {
		t.Error(err)
	}
}

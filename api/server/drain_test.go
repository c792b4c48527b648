package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/api/server/socket"
	"wasmhost.example/host/daemon"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// owned is the node with its owner's client.
func owned(t *testing.T, n testNode) (*Server, *client.Client) {
	t.Helper()
	s := New(n.rt, n.mesh, wire.NewNode(n.mesh, n.rt), "test", slog.New(slog.DiscardHandler))
	dir, err := os.MkdirTemp("", "wasmhost") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	l, err := socket.Listen(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s}
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		err := server.Close()
		if serveErr := <-served; !errors.Is(serveErr, http.ErrServerClosed) && !errors.Is(serveErr, net.ErrClosed) {
			err = errors.Join(err, serveErr)
		}
		if err := errors.Join(err, os.RemoveAll(dir)); err != nil {
			t.Error(err)
		}
	})
	return s, client.Dial(filepath.Join(dir, "s"))
}

func joined(t *testing.T, a, b testNode) {
	t.Helper()
	token, err := a.mesh.Token(time.Minute, trust.RightsAll)
	if err == nil {
		_, err = b.mesh.Join(context.Background(), token)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Who watches a drain may leave: it goes on, and can be watched again, from the
// beginning. It ends by itself, or when the node is undrained.
func TestDrainGoesOnWithoutItsWatcher(t *testing.T) {
	ctx := context.Background()
	wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", "c", "counter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	a, b := newNode(t, "a"), newNode(t, "b")
	joined(t, a, b)
	if _, err := a.rt.Kinds().Push(ctx, "counter", wasm); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		if _, err := a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: fmt.Sprint("d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	server, client := owned(t, a)
	b.rt.SimulateNotReady(true)
	watching, leave := context.WithCancel(ctx)
	_, err = client.Nodes().Drain(watching, "a", api.Drain{}, func(s api.DrainStep) error {
		if s.Progress == nil || s.Progress.Total != 3 {
			t.Errorf("%+v", s)
		}
		leave()
		return nil
	})
	if !errors.Is(err, context.Canceled) || !a.rt.Node().Draining() || server.drains.running() == nil {
		t.Fatalf("%v; draining %v", err, a.rt.Node().Draining())
	}
	var problem *api.Problem
	if _, err := client.Nodes().Drain(ctx, "a", api.Drain{Parallel: 2}, nil); !errors.As(err, &problem) || problem.Code != "drain-running" {
		t.Errorf("with other options: %v", err)
	}
	first := server.drains.running()
	b.rt.SimulateNotReady(false)
	var seen int
	sum, err := client.Nodes().Drain(ctx, "a", api.Drain{}, func(s api.DrainStep) error {
		if s.Daemon != nil {
			seen++
		}
		return nil
	})
	if err != nil || sum.Total != 3 || sum.Gone != 3 || len(sum.Left) != 0 || seen != 3 || server.drains.current != first {
		t.Errorf("%+v, %v, %d seen", sum, err, seen)
	}

	// Back, and a drain that is ended.
	if n, err := client.Nodes().Undrain(ctx, "a"); err != nil || n.Capabilities.Draining || a.rt.Node().Draining() {
		t.Fatalf("%+v, %v", n, err)
	}
	if _, err := a.rt.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "e"}); err != nil {
		t.Fatal(err)
	}
	b.rt.SimulateNotReady(true)
	if sum, err := client.Nodes().Drain(ctx, "a", api.Drain{Detach: true}, nil); sum != nil || err != nil {
		t.Fatalf("%+v, %v", sum, err)
	}
	second := server.drains.running()
	if _, err := client.Nodes().Undrain(ctx, "a"); err != nil || a.rt.Node().Draining() {
		t.Fatal(err)
	}
	if s, err := second.Wait(ctx); err != nil || s.Gone != 0 || len(s.Stayed) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := client.Send(ctx, "e", "", []byte("x")); err != nil {
		t.Error(err)
	}
}

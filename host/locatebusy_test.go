package host

import (
	"context"
	"errors"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/residence"
)

// quiet is a native daemon that does nothing.
type quiet struct{}

func (quiet) Name() string                                   { return "quiet" }
func (quiet) Requirements() (r daemon.Requirements)          { return }
func (quiet) Snapshot(*daemon.Call) ([]byte, error)          { return []byte{}, nil }
func (quiet) Restore(*daemon.Call, []byte) error             { return nil }
func (quiet) Process(*daemon.Call, []byte) ([][]byte, error) { return nil, nil }

// started returns a runtime that has started, until the test ends.
func started(t *testing.T, o Options) *Runtime {
	t.Helper()
	r, err := New(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestWhoAsksWhereABusyDaemonIsGivesUp asks for a residence statement of a daemon that is
// busy with an event, for as long as the asker waits.
func TestWhoAsksWhereABusyDaemonIsGivesUp(t *testing.T) {
	r := started(t, Options{})
	i, err := r.SpawnWithDaemon(t.Context(), daemon.SpawnRequest{Name: "busy"}, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.find(i.Entity)
	if err != nil {
		t.Fatal(err)
	}

	d.Lock() // as while it processes an event
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = r.stateResidence(ctx, i.Entity, make([]byte, residence.NonceSize))
	d.Unlock()
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that the asker has gone", err)
	}
}

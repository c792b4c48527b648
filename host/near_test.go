package host_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
)

// lockedBuffer is a log that several write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// A daemon that comes near its memory is named by inspect, in the metrics and once in the
// log, before an event fails.
func TestADaemonNearItsLimitIsNamed(t *testing.T) {
	s := openStore(t, t.TempDir(), nil)
	log := &lockedBuffer{}
	r := quietHost(t, s, host.Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	if _, err := r.Kinds().PushWith(ctx, "heap", guest(t, "c/heap.wasm"), daemon.Limits{MemoryBytes: 10 << 20}); err != nil {
		t.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "heap", Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	near := func() bool {
		i := stateOf(t, r, d)
		return slices.Equal(i.Near.Names(), []string{"memory"}) && r.Metrics().Kinds["heap"].Near["memory"] == 1
	}
	tell(t, r, d, "r 2")
	if near() {
		t.Fatal("a small daemon is near")
	}
	tell(t, r, d, "r 7")
	if !near() {
		t.Fatalf("%+v is not near, %+v", stateOf(t, r, d), r.Metrics().Kinds["heap"].Near)
	}
	for range 100 { // one in 16 is looked at
		tell(t, r, d, "w 1")
	}
	if n := log.count("near a limit"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	if err := r.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

// A native daemon's state that is larger than it may be cannot be stored: that is said once
// in the log, and by inspect, until it can.
func TestAStateThatCannotBeStoredIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := openStore(t, t.TempDir(), vfs.NewCrashableMem())
		log := &lockedBuffer{}
		small := daemon.Limits{StateBytes: 1 << 20, MemoryBytes: 1 << 20, SnapshotEvents: 1, SnapshotInterval: time.Second}
		r := heavyHost(t, host.Options{Store: s, Limits: small, Logger: slog.New(slog.NewTextHandler(log, nil))})
		d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "heavy", Name: "d"})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			tell(t, r, d, "1048577")
			time.Sleep(time.Second)
		}
		if n, why := log.count("state is not stored"), stateOf(t, r, d).Unstored; n != 1 || !strings.Contains(why, "state-bytes") {
			t.Errorf("the log says it %d times, inspect %q", n, why)
		}
		tell(t, r, d, "1000")
		if why := stateOf(t, r, d).Unstored; why != "" || log.count("is stored again") != 1 {
			t.Errorf("once it is small again: %q", why)
		}
		if err := r.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// heavyHost is a runtime of one kind, whose daemons have states of the size that they are
// told.
func heavyHost(t *testing.T, o host.Options) *host.Runtime {
	t.Helper()
	r, err := host.New(ctx, o)
	if err == nil {
		err = r.RegisterFactory("heavy", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &weighty{}, nil }))
	}
	if err == nil {
		err = r.Start(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// tell has the daemon process an event.
func tell(t *testing.T, r *host.Runtime, d daemon.Info, payload string) {
	t.Helper()
	if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(payload)}); err != nil {
		t.Fatal(err)
	}
}

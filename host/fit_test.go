package host_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// Limits that do not fit one another are refused by name wherever they are given, and the
// error says which two, and what to set.
func TestLimitsThatDoNotFit(t *testing.T) {
	for _, tc := range []struct {
		name      string
		node, own daemon.Limits
		says      []string // nothing: they fit
	}{
		{name: "the defaults"},
		{name: "memory over the state", own: daemon.Limits{MemoryBytes: 300 << 20},
			says: []string{"memory is 300MiB and state-bytes is 256MiB", "set state-bytes=300MiB, or memory to at most 256MiB"}},
		{name: "memory over the state and over what arrives", own: daemon.Limits{MemoryBytes: 1 << 30},
			says: []string{"memory is 1GiB and state-bytes is 256MiB", "set state-bytes=1GiB", "room for a daemon that arrives is 384MiB", "wasmhost serve --limit"}},
		{name: "what was said of the first is not enough", own: daemon.Limits{MemoryBytes: 1 << 30, StateBytes: 1 << 30},
			says: []string{"room for a daemon that arrives is 384MiB", "state-bytes=1GiB for the nodes"}},
		{name: "both, on a node that takes as much", node: daemon.Limits{StateBytes: 1 << 30}, own: daemon.Limits{MemoryBytes: 1 << 30}},
		{name: "a small state", own: daemon.Limits{StateBytes: 1 << 20},
			says: []string{"memory is 64MiB and state-bytes is 1MiB", "state-bytes=64MiB, or memory to at most 1MiB"}},
		{name: "a small state of a small memory", own: daemon.Limits{StateBytes: 1 << 20, MemoryBytes: 1 << 20}},
		{name: "events larger than memory", own: daemon.Limits{MemoryBytes: 1 << 20, EventBytes: 2 << 20},
			says: []string{"event-bytes is 2MiB and memory is 1MiB"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			check := func(where string, err error) {
				t.Helper()
				if len(tc.says) == 0 {
					if err != nil {
						t.Errorf("%s: %v", where, err)
					}
					return
				}
				if !errors.Is(err, daemon.ErrUnfit) || !errors.Is(err, daemon.ErrBadLimit) {
					t.Fatalf("%s: %v, want ErrUnfit", where, err)
				}
				for _, say := range tc.says {
					if !strings.Contains(err.Error(), say) {
						t.Errorf("%s: %q does not say %q", where, err, say)
					}
				}
			}
			r := quietHost(t, openStore(t, t.TempDir(), nil), host.Options{Limits: tc.node})
			check("FitOn", tc.own.FitOn(tc.node))
			_, err := r.Kinds().PushWith(ctx, "counter", guest(t, "c/counter.wasm"), tc.own)
			check("push", err)
			_, err = r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Limits: tc.own})
			check("spawn", err)
			parent, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"})
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Fork(ctx, parent.Entity, host.ForkRequest{Limits: tc.own})
			check("fork", err)
			_, err = r.Daemons().SetLimits(ctx, parent.Entity, tc.own.Map())
			check("set", err)
		})
	}
}

// A node's own limits are compared before it does anything.
func TestNodesLimitsThatDoNotFit(t *testing.T) {
	_, err := host.New(ctx, host.Options{Limits: daemon.Limits{MemoryBytes: 1 << 30}})
	if !errors.Is(err, daemon.ErrUnfit) || strings.Contains(err.Error(), "arrives") {
		t.Errorf("memory over the state: %v", err)
	}
	if _, err := daemon.ParseNodeLimits([]string{"memory=1GiB"}); !errors.Is(err, daemon.ErrUnfit) {
		t.Errorf("parsed: %v", err)
	}
	l, err := daemon.ParseNodeLimits([]string{"memory=1GiB", "state-bytes=1GiB"})
	if err != nil || l.MemoryBytes != 1<<30 {
		t.Errorf("that fit: %+v, %v", l, err)
	}
}

// What fits in a daemon's memory can be saved and moved, whatever it is: the event that
// would have more fails by name, and the daemon goes on from the state before it.
func TestFullMemoriesAreSavedAndMoved(t *testing.T) {
	var net hosttest.Net
	small := func(o *host.Options) {
		o.Limits.MemoryBytes, o.Limits.StateBytes = 8<<20, 8<<20
	}
	a, b := start(t, &net, newKey(t), "", small), start(t, &net, newKey(t), "", small)
	if _, err := a.Kinds().Push(ctx, "heap", guest(t, "c/heap.wasm")); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("heap", nil)
	filled := 0
	var fault *daemon.GuestError
	for ; filled < 100; filled++ {
		_, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("r 1")})
		if errors.As(err, &fault) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if fault == nil || fault.Limit != "memory" || filled < 4 {
		t.Fatalf("after %d MiB: %v", filled, fault)
	}
	before, err := a.Snapshot(ctx, d.Entity)
	if err != nil || len(before.State) < filled<<20 {
		t.Fatalf("the full daemon is not saved: %v", err)
	}
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil {
		t.Fatalf("the full daemon does not move: %v", err)
	}
	after, err := b.Snapshot(ctx, d.Entity)
	if err != nil || after.Header.StateHash != before.Header.StateHash {
		t.Errorf("it is not what it was: %v", err)
	}
}

// A daemon that may grow beyond what a node takes in is refused at its offer, by name,
// before anything of it is sent.
func TestUnfitArrivalsAreRefusedAtTheOffer(t *testing.T) {
	var net hosttest.Net
	large := func(o *host.Options) { o.Limits.StateBytes = 1 << 30 }
	a, b := heavyNode(t, &net, large), heavyNode(t, &net, nil)
	key := newKey(t)
	d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "heavy", Identity: key, Limits: daemon.Limits{MemoryBytes: 1 << 30}})
	if err != nil {
		t.Fatal(err)
	}
	sent := 0
	net.Filter = func(_, _ identity.NodeID, m migration.Message) bool {
		if _, ok := m.(*migration.SnapshotChunk); ok {
			sent++
		}
		return true
	}
	err = a.moveWith(d.Entity, b.Self(), host.MigrationOptions{})
	if !failedWith(err, migration.StateFailed) || !strings.Contains(err.Error(), "memory is 1GiB") || !strings.Contains(err.Error(), "state-bytes=1GiB for this node") || sent > 0 {
		t.Errorf("got %v, %d chunks", err, sent)
	}
	s, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	_, err = b.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: key}, encoded)
	if !errors.Is(err, daemon.ErrUnfit) {
		t.Errorf("restored: %v", err)
	}
}

// The bounds of the formats fit the largest limits: whatever a daemon may do can be stored,
// read, sent and shown.
func TestOutputCountIsReadable(t *testing.T) {
	dir := t.TempDir()
	key := newKey(t)
	s := openStore(t, dir, nil)
	r := nativeBurst(t, s, key)
	if _, err := daemon.ParseLimits([]string{"output-count=200000"}); !errors.Is(err, daemon.ErrBadLimit) {
		t.Errorf("more outputs than a record can hold may be asked for: %v", err)
	}
	if _, err := daemon.ParseLimits([]string{"senders=200000"}); !errors.Is(err, daemon.ErrBadLimit) {
		t.Errorf("more senders than a snapshot can hold may be asked for: %v", err)
	}
	own, err := daemon.ParseLimits([]string{fmt.Sprintf("output-count=%d", 1<<17)})
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "burst", Limits: own})
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})
	if err != nil || len(res.Outputs) != 1<<17 {
		t.Fatalf("%d outputs, %v", len(res.Outputs), err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, nil)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	again := nativeBurst(t, s, key)
	i, err := again.Daemons().Inspect(d.Entity)
	if err != nil || i.EventsEmitted != 1<<17 {
		t.Errorf("after a restart: %+v, %v", i, err)
	}
	if err := again.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

// burst emits as much as a record can hold.
type burst struct{ plainNative }

func (*burst) Process(*daemon.Call, []byte) ([][]byte, error) {
	out := make([][]byte, 1<<17)
	for i := range out {
		out[i] = []byte{byte(i)}
	}
	return out, nil
}

type plainNative struct{}

func (plainNative) Name() string                          { return "native" }
func (plainNative) Requirements() daemon.Requirements     { return daemon.Requirements{} }
func (plainNative) Snapshot(*daemon.Call) ([]byte, error) { return []byte{1}, nil }
func (plainNative) Restore(*daemon.Call, []byte) error    { return nil }
func (plainNative) Init(_ *daemon.Call, _ []byte) error   { return nil }

func nativeBurst(t *testing.T, s *store.Store, key *identity.KeyPair) *host.Runtime {
	t.Helper()
	r, err := host.New(ctx, host.Options{Node: key, Store: s})
	if err == nil {
		err = r.RegisterFactory("burst", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &burst{}, nil }))
	}
	if err == nil {
		err = r.Start(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

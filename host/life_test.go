package host_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"wasmhost.example/abi"
	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// native counts its events in Go.
type native struct {
	count int
	fail  error
}

func (n *native) Name() string                      { return "native" }
func (n *native) Requirements() daemon.Requirements { return daemon.Requirements{} }
func (n *native) Process(_ *daemon.Call, p []byte) ([][]byte, error) {
	if n.fail != nil {
		return nil, n.fail
	}
	n.count++
	if string(p) == "three" {
		return [][]byte{[]byte("a"), []byte("b"), []byte("c")}, nil
	}
	if string(p) == "none" {
		return nil, nil
	}
	return [][]byte{fmt.Append(nil, n.count)}, nil
}
func (n *native) Snapshot(*daemon.Call) ([]byte, error) { return fmt.Append(nil, n.count), nil }
func (n *native) Restore(_ *daemon.Call, s []byte) error {
	_, err := fmt.Sscan(string(s), &n.count)
	return err
}

func nativeFactory(made *int) daemon.Factory {
	var mu sync.Mutex
	return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
		mu.Lock()
		defer mu.Unlock()
		*made++
		return &native{}, nil
	})
}

func bare(t *testing.T) *host.Runtime {
	t.Helper()
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

func TestR01_to_R11_R17_R20_R31_Lifecycle(t *testing.T) {
	r := bare(t)
	made := 0
	if r.IsReady() || r.DaemonCount() != 0 { // R02
		t.Error("ready before start")
	}
	if err := r.RegisterFactory("n", nativeFactory(&made)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"}); !errors.Is(err, daemon.ErrNotReady) { // R01
		t.Errorf("R01: %v", err)
	}
	for range 2 { // R03, R04
		if err := r.Start(ctx); err != nil || !r.IsReady() {
			t.Fatalf("start: %v", err)
		}
	}
	if err := r.RegisterFactory("n", nativeFactory(&made)); !errors.Is(err, daemon.ErrKindExists) || !strings.Contains(err.Error(), `"n"`) { // R09
		t.Errorf("R09: %v", err)
	}
	for _, kind := range []string{"n2", "n3"} { // R10, R11
		if err := r.RegisterFactory(kind, nativeFactory(new(int))); err != nil {
			t.Errorf("R10: %v", err)
		}
		if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: kind}); err != nil {
			t.Errorf("R10: %v", err)
		}
	}
	if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "none"}); !errors.Is(err, daemon.ErrKindNotFound) { // R20
		t.Errorf("R20: %v", err)
	}
	for range 3 { // R31
		if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"}); err != nil {
			t.Fatal(err)
		}
	}
	if made != 3 || r.DaemonCount() != 5 {
		t.Errorf("R31: the factory made %d, %d live", made, r.DaemonCount())
	}
	for range 2 { // R05, R06, R17
		if err := r.Shutdown(ctx); err != nil || r.IsReady() || r.DaemonCount() != 0 {
			t.Errorf("shutdown: %v, %d daemons", err, r.DaemonCount())
		}
	}
	if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "none"}); !errors.Is(err, daemon.ErrShuttingDown) { // R07
		t.Errorf("R07: %v", err)
	}
	if err := r.RegisterFactory("n4", nativeFactory(&made)); !errors.Is(err, daemon.ErrShuttingDown) { // R08
		t.Errorf("R08: %v", err)
	}
	if err := r.Start(ctx); !errors.Is(err, daemon.ErrShuttingDown) {
		t.Errorf("start after shutdown: %v", err)
	}
}

func TestR12_F10_OneOfManyRegistrationsWins(t *testing.T) {
	r := bare(t)
	made := 0
	var wg sync.WaitGroup
	errs := make(chan error, 32)
	for range 32 {
		wg.Go(func() { errs <- r.RegisterFactory("n", nativeFactory(&made)) })
	}
	wg.Wait()
	close(errs)
	won := 0
	for err := range errs {
		if err == nil {
			won++
		} else if !errors.Is(err, daemon.ErrKindExists) {
			t.Error(err)
		}
	}
	if won != 1 {
		t.Errorf("%d won", won)
	}
}

func TestR16_F4_SpawnRacesShutdown(t *testing.T) {
	for range 20 {
		r, err := host.New(ctx, host.Options{})
		if err != nil {
			t.Fatal(err)
		}
		made := 0
		if err := errors.Join(r.RegisterFactory("n", nativeFactory(&made)), r.Start(ctx)); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"}); err != nil {
						if !errors.Is(err, daemon.ErrShuttingDown) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		if err := r.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		wg.Wait()
		if r.DaemonCount() != 0 {
			t.Fatalf("%d daemons outlived the shutdown", r.DaemonCount())
		}
	}
}

func TestR21_R24_R28_to_R30_R32_R34_to_R38_R40_R41_F9_DaemonsOfOneIdentity(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	a.push("echo", "c/echo.wasm")
	key := newKey(t)
	d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c", Identity: key})
	if err != nil || d.Entity != key.ID() { // R21
		t.Fatalf("R21: %+v, %v", d, err)
	}
	for i := 1; i <= 5; i++ { // R24
		a.wantSend(d.Entity, "x", fmt.Sprint(i))
	}
	if _, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c2", Identity: key}); !errors.Is(err, daemon.ErrAlreadyPresent) { // R32
		t.Errorf("R32: %v", err)
	}
	if _, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: "c"}); !errors.Is(err, daemon.ErrNameTaken) {
		t.Errorf("a taken name: %v", err)
	}
	s, err := a.Snapshot(ctx, d.Entity)
	if err != nil || s.Header.Through != 5 { // R37
		t.Fatalf("R37: %+v, %v", s, err)
	}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Name: "c3", Identity: key}, b); !errors.Is(err, daemon.ErrAlreadyPresent) { // R34
		t.Errorf("R34: %v", err)
	}
	if a.DaemonCount() != 1 {
		t.Errorf("R34: %d daemons", a.DaemonCount())
	}
	a.wantSend(d.Entity, "x", "6")                                                                                                    // the incumbent is untouched
	if _, err := a.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: newKey(t)}, b); !errors.Is(err, daemon.ErrIdentityMismatch) { // R40
		t.Errorf("R40: %v", err)
	}
	alike := [2]*identity.KeyPair{} // R41: their origins differ in the upper 32 bits alone
	for i, n := range []uint64{111322, 188335} {
		seed := make([]byte, 32)
		binary.BigEndian.PutUint64(seed, n)
		if alike[i], err = identity.FromSeed(seed); err != nil {
			t.Fatal(err)
		}
	}
	if o0, o1 := alike[0].ID().Origin(), alike[1].ID().Origin(); uint32(o0) != uint32(o1) || o0 == o1 {
		t.Fatalf("origins %s and %s", o0, o1)
	}
	for i, k := range alike {
		if _, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Identity: k}); err != nil {
			t.Fatal(err)
		}
		a.wantSend(k.ID(), "x", "1")
		taken, err := a.Snapshot(ctx, k.ID())
		if err != nil {
			t.Fatal(err)
		}
		encoded, err := taken.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Stop(ctx, k.ID()); err != nil {
			t.Fatal(err)
		}
		if _, err := a.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: alike[1-i]}, encoded); !errors.Is(err, daemon.ErrIdentityMismatch) {
			t.Errorf("R41: %v", err)
		}
	}
	if err := a.Stop(ctx, d.Entity); err != nil || a.DaemonCount() != 0 { // R30
		t.Fatalf("R30: %v, %d", err, a.DaemonCount())
	}
	if _, err := a.Deliver(ctx, d.Entity, daemon.Event{}); !errors.Is(err, daemon.ErrNotFound) { // R29
		t.Errorf("R29: %v", err)
	}
	restored, err := a.SpawnFromSnapshot(ctx, daemon.SpawnRequest{}, b) // R38: the key comes from the snapshot
	if err != nil || restored.Entity != key.ID() || restored.Epoch <= d.Epoch {
		t.Fatalf("R38: %+v, %v", restored, err)
	}
	a.wantSend(d.Entity, "x", "6")
	if _, err := chain.Verify(bytes.NewReader(a.chain(d.Entity))); err != nil {
		t.Errorf("the restored chain: %v", err)
	}
	e := a.spawn("echo", "e")
	if s, err := a.Snapshot(ctx, e.Entity); s != nil || err != nil { // R35
		t.Errorf("R35: %v, %v", s, err)
	}
	if err := a.Stop(ctx, e.Entity); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{"deliver": second(a.Deliver(ctx, identity.EntityID{1}, daemon.Event{})), // R28, R36
		"snapshot": second(a.Snapshot(ctx, identity.EntityID{1})), "stop": a.Stop(ctx, identity.EntityID{1})} {
		if !errors.Is(err, daemon.ErrNotFound) {
			t.Errorf("%s of an unknown daemon: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func TestR25_R27_R61_Native(t *testing.T) {
	r := bare(t)
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	n := &native{}
	d, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "n"}, n)
	if err != nil {
		t.Fatal(err)
	}
	deliver := func(p string) (daemon.Result, error) {
		return r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(p)})
	}
	res, err := deliver("three") // R25
	if err != nil || len(res.Outputs) != 3 || string(res.Outputs[2].Payload) != "c" || res.Outputs[2].Link.Sequence != 3 {
		t.Errorf("R25: %+v, %v", res, err)
	}
	before, err := r.Daemons().Inspect(d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	if res, err := deliver("none"); err != nil || len(res.Outputs) != 0 { // R61
		t.Errorf("R61: %+v, %v", res, err)
	}
	after, err := r.Daemons().Inspect(d.Entity)
	if err != nil || after.Head != before.Head || after.EventsProcessed != before.EventsProcessed+1 || after.EventsEmitted != before.EventsEmitted {
		t.Errorf("R61: %+v, %v", after, err)
	}
	n.fail = errors.New("no")
	if _, err := deliver("x"); !errors.Is(err, n.fail) { // R27
		t.Errorf("R27: %v", err)
	}
	if i, err := r.Daemons().Inspect(d.Entity); err != nil || i.Errors != 1 || i.Head != after.Head {
		t.Errorf("after a failure: %+v, %v", i, err)
	}
}

// K: every byte of a snapshot counts. Whatever is changed is refused, by its
// form, its hashes or its signature.
func TestR42_K20_K22_F80_F82_SnapshotRefusals(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	a.wantSend(d.Entity, "x", "1")
	s, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Encode()
	if err != nil {
		t.Fatal(err)
	}
	again, err := snapshot.Decode(b)
	if err != nil || again.Verify() != nil {
		t.Fatal(err, again.Verify())
	}
	if c, err := again.Encode(); err != nil || !bytes.Equal(b, c) {
		t.Error("another form")
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		s, err := snapshot.Decode(bad)
		if err == nil {
			err = s.Verify()
		} else if !errors.Is(err, daemon.ErrBadSnapshot) {
			t.Errorf("byte %d: an untyped error %v", i, err)
		}
		if err == nil {
			t.Errorf("byte %d changed, and nobody noticed", i)
		}
		if _, err := snapshot.Decode(b[:i]); !errors.Is(err, daemon.ErrBadSnapshot) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := snapshot.Decode(append(bytes.Clone(b), 0)); !errors.Is(err, daemon.ErrBadSnapshot) {
		t.Errorf("a byte more: %v", err)
	}
	if _, err := snapshot.Read(bytes.NewReader(b), int64(len(again.State))-1); !errors.Is(err, daemon.ErrBadSnapshot) {
		t.Errorf("a state over the limit: %v", err)
	}
	broken := errors.New("the disk is bad")
	for i := 0; i < len(b); i += 7 {
		cut := func() io.Reader { return io.MultiReader(bytes.NewReader(b[:i]), iotest.ErrReader(broken)) }
		_, err := snapshot.Read(cut(), 1<<20)
		_, _, err2 := snapshot.Inspect(cut())
		for _, err := range []error{err, err2} {
			if !errors.Is(err, broken) || errors.Is(err, daemon.ErrBadSnapshot) {
				t.Fatalf("a reader that fails after %d bytes: %v", i, err)
			}
		}
	}
	if _, err := a.SpawnFromSnapshot(ctx, daemon.SpawnRequest{}, []byte("garbage")); !errors.Is(err, daemon.ErrBadSnapshot) || !strings.Contains(err.Error(), "snapshot decode failed") {
		t.Errorf("R42: %v", err)
	}
}

// Every byte of a chain file counts too.
func TestChainRefusals(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	a.wantSend(d.Entity, "x", "1")
	a.migrate(d.Entity, b)
	b.wantSend(d.Entity, "x", "2")
	file := b.chain(d.Entity)
	if _, err := chain.Verify(bytes.NewReader(file)); err != nil {
		t.Fatal(err)
	}
	for i := range file {
		bad := bytes.Clone(file)
		bad[i] ^= 1
		_, err := chain.Verify(bytes.NewReader(bad))
		var ce *chain.Error
		if !errors.As(err, &ce) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := chain.Verify(bytes.NewReader(file[:i])); !errors.As(err, &ce) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
	if _, err := chain.Verify(bytes.NewReader(append(bytes.Clone(file), 0))); !errors.Is(err, chain.ErrBadFile) {
		t.Errorf("a byte more: %v", err)
	}
}

func TestM02_M03_M11_M12_M13_M18_M41_Refusals(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", func(o *host.Options) { o.RefuseModules = true })
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	u, err := a.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "u"}, &native{})
	if err != nil {
		t.Fatal(err)
	}
	fails := func(id identity.EntityID, to identity.NodeID, want migration.Code) {
		t.Helper()
		m, err := a.StartMigrationWith(ctx, id, to, host.MigrationOptions{RetryNotReady: host.NoRetry})
		if err == nil {
			_, err = m.Wait(ctx)
		}
		var typed *migration.Error
		if !errors.As(err, &typed) || typed.Code != want || !strings.HasPrefix(err.Error(), "migration: "+want.String()+": ") { // M03
			t.Errorf("got %v, want %s", err, want)
		}
	}
	fails(identity.EntityID{1}, a.Self(), migration.DaemonNotFound) // M02
	fails(identity.EntityID{1}, b.Self(), migration.DaemonNotFound) // M41
	fails(d.Entity, a.Self(), migration.TargetUnavailable)
	fails(d.Entity, 12345, migration.TargetUnavailable) // M11
	fails(d.Entity, 12346, migration.TargetUnavailable) // M12: not AlreadyMigrating
	fails(d.Entity, 0, migration.TargetUnavailable)
	fails(u.Entity, b.Self(), migration.NotPortable)
	fails(d.Entity, b.Self(), migration.FactoryNotFound) // M13
	net.SetDown(b.Self(), true)
	for range 2 { // M11, M12
		fails(d.Entity, b.Self(), migration.TargetUnavailable)
	}
	net.SetDown(b.Self(), false)
	b.SimulateNotReady(true)
	fails(d.Entity, b.Self(), migration.NotReady) // M18
	b.SimulateNotReady(false)
	b.push("counter", "c/counter.wasm")
	b.spawn("counter", "c")
	fails(d.Entity, b.Self(), migration.AlreadyPresent)
	a.wantSend(d.Entity, "x", "1")
	if _, on := a.MigrationPhase(d.Entity); on {
		t.Error("a failed migration is still there")
	}
}

// A failing event leaves no trace, whatever the failure, and whatever came
// before it: state, head and counters go on as if it had not been.
func TestFailedEventsLeaveNoTrace(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", func(o *host.Options) { o.Limits.Fuel = 8 << 20; o.Limits.MemoryBytes = 8 << 20 })
	a.push("unruly", "c/unruly.wasm")
	u := a.spawn("unruly", "u")
	n := 0
	for _, bad := range []string{"trap", "fail", "loop", "recurse", "grow", "flood", "badptr", "panic", "trap", "trap"} {
		for range 3 {
			n++
			a.wantSend(u.Entity, "count", fmt.Sprint(n))
		}
		before, err := a.Daemons().Inspect(u.Entity)
		if err != nil {
			t.Fatal(err)
		}
		_, err = a.Deliver(ctx, u.Entity, daemon.Event{Payload: []byte(bad)})
		var fault *abi.Fault
		if !errors.As(err, &fault) {
			t.Fatalf("%s: %v", bad, err)
		}
		after, err := a.Daemons().Inspect(u.Entity)
		if err != nil {
			t.Fatal(err)
		}
		before.Errors++
		if after != before {
			t.Errorf("%s left a trace:\n%+v\n%+v", bad, before, after)
		}
	}
}

// A numbered event is applied once; a repeat of it gets what was recorded, be
// it outputs or a failure.
func TestRepeatedEvents(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	sender := newKey(t).ID()
	for range 3 {
		for n, p := range []string{"x", "fail", "x"} {
			res, err := a.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: uint64(n + 1), Payload: []byte(p)})
			var fault *abi.Fault
			if p == "fail" {
				if !errors.As(err, &fault) || fault.Text != "asked to fail" {
					t.Errorf("event %d: %v", n+1, err)
				}
			} else if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != fmt.Sprint(n/2+1) || res.Outputs[0].Link.Sequence != uint64(n/2+1) {
				t.Errorf("event %d: %+v, %v", n+1, res, err)
			}
		}
	}
	a.wantSend(d.Entity, "x", "3")
}

func TestTailAndLogs(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	c, cancel := context.WithCancel(ctx)
	outputs, err := a.Outputs().Tail(c, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	a.wantSend(d.Entity, "x", "1")
	if o := <-outputs; string(o.Payload) != "1" {
		t.Errorf("tail gave %q", o.Payload)
	}
	cancel()
	if _, open := <-outputs; open {
		t.Error("the tail goes on after its context")
	}
	if _, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("fail")}); err == nil {
		t.Fatal("no failure")
	}
	lines, err := a.Daemons().Logs(d.Entity)
	if err != nil || len(lines) != 1 || lines[0].Level != "error" || !strings.Contains(lines[0].Text, "asked to fail") {
		t.Errorf("logs %v, %v", lines, err)
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	f.Add([]byte{0x83})
	r, err := host.New(ctx, host.Options{})
	if err != nil {
		f.Fatal(err)
	}
	if err := r.Start(ctx); err != nil {
		f.Fatal(err)
	}
	d, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "n"}, &native{})
	if err != nil {
		f.Fatal(err)
	}
	s, err := r.Snapshot(ctx, d.Entity)
	if err != nil {
		f.Fatal(err)
	}
	b, err := s.Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := snapshot.Decode(b)
		streamed, err2 := snapshot.Read(bytes.NewReader(b), int64(len(b)))
		seen, size, err3 := snapshot.Inspect(bytes.NewReader(b))
		if (err == nil) != (err2 == nil) || (err == nil) != (err3 == nil) {
			t.Fatalf("at once %v, streamed %v, inspected %v", err, err2, err3)
		}
		if err != nil {
			for _, err := range []error{err, err2, err3} {
				if !errors.Is(err, daemon.ErrBadSnapshot) {
					t.Fatal(err)
				}
			}
			return
		}
		if again, err := s.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Error("another form")
		}
		if again, err := streamed.Encode(); err != nil || !bytes.Equal(again, b) {
			t.Error("another form when streamed")
		}
		if size != int64(len(s.State)) || seen.State != nil || !reflect.DeepEqual(seen.Header, s.Header) {
			t.Errorf("inspected: %+v with %d bytes", seen, size)
		}
	})
}

func FuzzVerifyChain(f *testing.F) {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		f.Fatal(err)
	}
	r, err := host.New(ctx, host.Options{Store: s})
	if err != nil {
		f.Fatal(err)
	}
	made := 0
	if err := errors.Join(r.RegisterFactory("n", nativeFactory(&made)), r.Start(ctx)); err != nil {
		f.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("three")}); err != nil {
		f.Fatal(err)
	}
	var file bytes.Buffer
	if err := r.Outputs().Export(ctx, d.Entity, &file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		rep, err := chain.Verify(bytes.NewReader(b))
		if err == nil && rep.Entity == d.Entity && rep.Head.String() == "" {
			t.Error("a chain without a head")
		}
	})
}

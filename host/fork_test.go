package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

func at(sequence uint64) *uint64 { return &sequence }

func (n *node) fork(id identity.EntityID, req host.ForkRequest) []host.Forked {
	n.t.Helper()
	forks, err := n.Fork(ctx, id, req)
	if err != nil {
		n.t.Fatal(err)
	}
	return forks
}

func holdsAgainst(t *testing.T, fork, parent []byte) (chain.Report, error) {
	t.Helper()
	f, _, err := chain.VerifyFork(bytes.NewReader(fork), bytes.NewReader(parent))
	return f, err
}

// Forks begin with the state of their parent, at any of its outputs, and go on by
// themselves: over restarts, moves, and a fork of a fork. Each proves offline
// where it began.
func TestForksBeginWhereTheirParentStood(t *testing.T) {
	for _, kind := range []string{"c/counter.wasm", "zig/counter.wasm"} {
		var net hosttest.Net
		key, dir := newKey(t), t.TempDir()
		a, b := start(t, &net, key, dir, nil), start(t, &net, newKey(t), "", nil)
		a.push("counter", kind)
		d := a.spawn("counter", "c1")
		for n := range 5 {
			a.wantSend(d.Entity, "x", fmt.Sprint(n+1))
		}
		now := a.fork(d.Entity, host.ForkRequest{Count: 3, Name: "now"})
		if len(now) != 3 || now[1].Name != "now-2" || now[0].Entity == now[1].Entity || now[0].Kind != "counter" || now[0].Epoch != 1 || now[0].EventsProcessed != 5 {
			t.Fatalf("%+v", now)
		}
		early := a.fork(d.Entity, host.ForkRequest{At: at(2), Name: "early"})[0]
		first := a.fork(d.Entity, host.ForkRequest{At: at(0), Name: "first"})[0]
		a.wantSend(d.Entity, "x", "6") // and the parent sees none of it
		a.wantSend(now[0].Entity, "x", "6")
		a.wantSend(now[0].Entity, "x", "7")
		a.wantSend(now[1].Entity, "x", "6")
		a.wantSend(early.Entity, "x", "3")
		a.wantSend(first.Entity, "x", "1")
		a.stop()
		a = start(t, &net, key, dir, nil)
		a.wantSend(now[0].Entity, "x", "8")
		a.wantSend(now[2].Entity, "x", "6")
		a.wantSend(early.Entity, "x", "4")
		a.migrate(early.Entity, b)
		b.wantSend(early.Entity, "x", "5")
		grandchild := b.fork(early.Entity, host.ForkRequest{})[0]
		b.wantSend(grandchild.Entity, "x", "6")

		parent := a.chain(d.Entity)
		for _, f := range []struct {
			file []byte
			at   uint64
		}{{a.chain(now[0].Entity), 5}, {a.chain(now[2].Entity), 5}, {b.chain(early.Entity), 2}, {a.chain(first.Entity), 0}} {
			rep, err := holdsAgainst(t, f.file, parent)
			if err != nil || rep.Fork.Parent != d.Entity || rep.Fork.Sequence != f.at || rep.Fork.Applied != f.at || rep.First != 1 {
				t.Errorf("fork at %d: %+v, %v", f.at, rep, err)
			}
		}
		if _, err := holdsAgainst(t, b.chain(grandchild.Entity), b.chain(early.Entity)); err != nil {
			t.Error(err)
		}
		if _, err := holdsAgainst(t, b.chain(grandchild.Entity), parent); !errors.Is(err, chain.ErrForkMismatch) {
			t.Errorf("a grandchild against its grandparent: %v", err)
		}
		if _, err := holdsAgainst(t, parent, parent); !errors.Is(err, chain.ErrNotFork) {
			t.Errorf("the parent as a fork: %v", err)
		}
		record, err := a.Daemons().ForkOf(now[0].Entity)
		if err != nil || record == nil || record.Child != now[0].Entity || !bytes.Equal(record.State, now[1].Record.State) {
			t.Errorf("%+v, %v", record, err)
		}
		if record, err := a.Daemons().ForkOf(d.Entity); record != nil || err != nil {
			t.Errorf("the parent is a fork: %+v, %v", record, err)
		}
	}
}

// A fork's state is, by its hash, what the parent's was: at the parent's own word
// and at a replay's.
func TestForkNamesTheState(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", func(o *host.Options) { o.Limits.SnapshotEvents = 3 })
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c1")
	states := [][]byte{}
	for n := range 8 {
		states = append(states, a.fork(d.Entity, host.ForkRequest{})[0].Record.State)
		a.wantSend(d.Entity, "x", fmt.Sprint(n+1))
	}
	if bytes.Equal(states[1], states[2]) || len(states[1]) != 32 {
		t.Fatalf("%x", states)
	}
	for n, want := range states {
		f := a.fork(d.Entity, host.ForkRequest{At: at(uint64(n))})[0]
		if !bytes.Equal(f.Record.State, want) {
			t.Errorf("at %d: %x by replay, %x then", n, f.Record.State, want)
		}
	}
}

// An event that the state contains is not applied to a fork again.
func TestForkRemembersSenders(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d, sender := a.spawn("counter", "c1"), newKey(t).ID()
	send := func(id identity.EntityID, n uint64) (string, error) {
		res, err := a.Deliver(ctx, id, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")})
		if err != nil {
			return "", err
		}
		return string(res.Outputs[0].Payload), nil
	}
	for n := range uint64(3) {
		if _, err := send(d.Entity, n+1); err != nil {
			t.Fatal(err)
		}
	}
	f := a.fork(d.Entity, host.ForkRequest{At: at(2)})[0]
	if got, err := send(f.Entity, 2); !errors.Is(err, daemon.ErrSuperseded) {
		t.Errorf("an event from before the fork: %q, %v", got, err)
	}
	if got, err := send(f.Entity, 3); got != "3" || err != nil {
		t.Errorf("one from after it: %q, %v", got, err)
	}
}

// Forking at an output crosses an upgrade, and forks before it have the code of
// then.
func TestForkAcrossAnUpgrade(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c1")
	a.wantSend(d.Entity, "x", "1")
	a.wantSend(d.Entity, "x", "2")
	a.push("counter", "rust/counter.wasm")
	latest, err := a.Kinds().ModuleNamed("counter", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Upgrade(ctx, d.Entity, latest); err != nil {
		t.Fatal(err)
	}
	a.wantSend(d.Entity, "x", "3")
	a.wantSend(d.Entity, "x", "4")
	if _, err := a.RollBack(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	a.wantSend(d.Entity, "x", "5")
	for n := range uint64(6) {
		f := a.fork(d.Entity, host.ForkRequest{At: at(n)})[0]
		if want := fmt.Sprintf("%x", latest); (f.Module == want) != (n == 3 || n == 4) {
			t.Errorf("at %d it is of module %s", n, f.Module)
		}
		a.wantSend(f.Entity, "x", fmt.Sprint(n+1))
		if _, err := holdsAgainst(t, a.chain(f.Entity), a.chain(d.Entity)); err != nil {
			t.Errorf("at %d: %v", n, err)
		}
	}
}

// Where a daemon cannot be forked, nothing is left behind.
func TestF17_ForkRefusals(t *testing.T) {
	var net hosttest.Net
	made := 0
	a := startWith(t, &net, newKey(t), t.TempDir(), "n", nativeFactory(&made), func(m *hosttest.Mesh) mesh.Mesh { return m })
	d := a.spawn("n", "d")
	for _, p := range []string{"x", "three", "none", "x"} {
		if _, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(p)}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		req  host.ForkRequest
		want error
	}{
		{host.ForkRequest{At: at(6)}, daemon.ErrNoForkPoint},
		{host.ForkRequest{At: at(2)}, daemon.ErrNoForkPoint},
		{host.ForkRequest{At: at(3)}, daemon.ErrNoForkPoint},
		{host.ForkRequest{Count: host.MaxForks + 1}, daemon.ErrTooLarge},
		{host.ForkRequest{Count: -1}, daemon.ErrTooLarge},
		{host.ForkRequest{Name: "-"}, daemon.ErrBadName},
		{host.ForkRequest{LastGood: true}, host.ErrNotFailed},
		{host.ForkRequest{Limits: daemon.Limits{Fuel: -1}}, daemon.ErrBadLimit},
	} {
		if f, err := a.Fork(ctx, d.Entity, c.req); !errors.Is(err, c.want) || f != nil {
			t.Errorf("%+v: %v, %v; want %v", c.req, f, err, c.want)
		}
	}
	if _, err := a.Fork(ctx, newKey(t).ID(), host.ForkRequest{}); !errors.Is(err, daemon.ErrNotFound) {
		t.Error(err)
	}
	f := a.fork(d.Entity, host.ForkRequest{At: at(4), Name: "f"})[0]
	if f.EventsProcessed != 2 || f.Record.Applied != 2 {
		t.Errorf("right after output 4 two events were applied: %+v", f)
	}
	// The third name is taken: the first two go again.
	a.spawn("n", "g-3")
	if _, err := a.Fork(ctx, d.Entity, host.ForkRequest{Count: 3, Name: "g"}); !errors.Is(err, daemon.ErrNameTaken) {
		t.Error(err)
	}
	for _, name := range []string{"g-1", "g-2"} {
		if id, err := a.Daemons().Resolve(name); err == nil {
			t.Errorf("%s is left: %s", name, id)
		}
	}
	if _, err := a.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "bare"}, &native{}); err != nil {
		t.Fatal(err)
	}
	bare, err := a.Daemons().Resolve("bare")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Fork(ctx, bare, host.ForkRequest{}); !errors.Is(err, daemon.ErrNotPortable) {
		t.Error(err)
	}
}

// What a daemon was before the state that it came here with, nobody knows here.
func TestForkBeforeTheHistoryBegins(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c1")
	for n := range 4 {
		a.wantSend(d.Entity, "x", fmt.Sprint(n+1))
	}
	f := a.fork(d.Entity, host.ForkRequest{})[0]
	for n := range 3 {
		a.wantSend(f.Entity, "x", fmt.Sprint(n+5))
	}
	g := a.fork(f.Entity, host.ForkRequest{At: at(2)})[0] // its stored state is still that of its beginning
	a.wantSend(g.Entity, "x", "7")
	s, err := a.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	b := start(t, &net, newKey(t), "", nil)
	b.push("counter", "c/counter.wasm")
	if err := a.Stop(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	key, err := s.OpenIdentity(a.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.SpawnFromDecoded(ctx, daemon.SpawnRequest{Identity: key}, s); err != nil {
		t.Fatal(err)
	}
	b.wantSend(d.Entity, "x", "5")
	if _, err := b.Fork(ctx, d.Entity, host.ForkRequest{At: at(3)}); !errors.Is(err, daemon.ErrHistoryTrimmed) {
		t.Errorf("before the snapshot: %v", err)
	}
	b.wantSend(b.fork(d.Entity, host.ForkRequest{At: at(4)})[0].Entity, "x", "5")
}

// A daemon that diverged goes on as a fork from its last good record, and stays
// as it is; the fork proves itself against what it has acknowledged.
func TestForkOfADivergedDaemon(t *testing.T) {
	dir, by := t.TempDir(), 0
	fs := vfs.NewCrashableMem()
	key := newKey(t)
	var s *store.Store
	begin := func() *host.Runtime {
		t.Helper()
		s = openStore(t, dir, fs)
		r, err := host.New(ctx, host.Options{Node: key, Store: s, Limits: daemon.Limits{SnapshotEvents: 4}})
		if err != nil {
			t.Fatal(err)
		}
		f := daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &drifting{from: 6, by: by}, nil })
		if err := errors.Join(r.RegisterFactory("n", f), r.Start(ctx)); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := begin()
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	for range 7 {
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	left := fs.CrashClone(vfs.CrashCloneCfg{})
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	fs, by = left, 10
	r = begin()
	defer func() {
		if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
			t.Error(err)
		}
	}()
	if i, _ := r.Daemons().Inspect(d.Entity); i.State != "diverged" {
		t.Fatalf("%+v", i)
	}
	if _, err := r.Fork(ctx, d.Entity, host.ForkRequest{}); !errors.Is(err, daemon.ErrDiverged) {
		t.Errorf("as it is now: %v", err)
	}
	if _, err := r.Fork(ctx, d.Entity, host.ForkRequest{At: at(7)}); !errors.Is(err, daemon.ErrDiverged) {
		t.Errorf("after what differs: %v", err)
	}
	forks, err := r.Fork(ctx, d.Entity, host.ForkRequest{LastGood: true, Name: "again"})
	if err != nil {
		t.Fatal(err)
	}
	f := forks[0]
	if f.Record.Sequence != 5 || f.Record.Applied != 5 {
		t.Errorf("%+v", f.Record)
	}
	res, err := r.Deliver(ctx, f.Entity, daemon.Event{Payload: []byte("x")})
	if err != nil || string(res.Outputs[0].Payload) != "16" { // as its code is now
		t.Errorf("%+v, %v", res, err)
	}
	if i, _ := r.Daemons().Inspect(d.Entity); i.State != "diverged" {
		t.Errorf("the parent is %s", i.State)
	}
	var fork, parent bytes.Buffer
	if err := errors.Join(r.Outputs().Export(ctx, f.Entity, &fork), r.Outputs().Export(ctx, d.Entity, &parent)); err != nil {
		t.Fatal(err)
	}
	rep, whole, err := chain.VerifyFork(&fork, &parent)
	if err != nil || rep.Fork.Sequence != 5 || whole.Last != 7 {
		t.Errorf("%+v, %+v, %v", rep, whole, err)
	}
}

package host_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// tablesOf returns how many bytes the files below a store's directory have, but for the
// engine's logs, some of which it keeps to write them again. What only the logs have is
// written to tables before.
func tablesOf(t *testing.T, s *store.Store, id identity.EntityID, dir string) (n int64) {
	t.Helper()
	if err := s.Reclaim(ctx, id, ^uint64(0)); err != nil {
		t.Fatal(err)
	}
	return diskOf(t, dir)
}

// diskOf returns how many bytes the files below a directory have, but for logs.
func diskOf(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // the engine removes files meanwhile
		}
		if err != nil || e.IsDir() || filepath.Ext(e.Name()) == ".log" {
			return err
		}
		i, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			n += i.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A shorter history is let go of when the limit is set, and its space on disk is given
// back; the daemon's chain is proven from there on, and the last answers are on record.
func TestSpaceOfHistoryIsGivenBack(t *testing.T) {
	const events, each = 160, 256 << 10
	dir, key := t.TempDir(), newKey(t)
	s := openStore(t, dir, nil)
	r := quietHost(t, s, host.Options{Node: key})
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	sender := newKey(t).ID()
	random := rand.NewChaCha8([32]byte{1})
	event := func(n uint64) daemon.Event {
		b := make([]byte, each)
		_, _ = random.Read(b) // it never fails
		return daemon.Event{Sender: sender, Number: n, Payload: b}
	}
	var last daemon.Event
	for n := uint64(1); n <= events; n++ {
		last = event(n)
		if _, err := r.Deliver(ctx, d.Entity, last); err != nil {
			t.Fatal(err)
		}
	}
	before := tablesOf(t, s, d.Entity, dir)
	if before < events*each {
		t.Fatalf("%d bytes on disk, of %d events of %d", before, events, each)
	}
	i, err := r.Daemons().SetLimits(ctx, d.Entity, map[string]int64{"history": 10})
	if err != nil || i.Limits.History != 10 || i.OwnLimits.History != 10 {
		t.Fatalf("%+v, %v", i.Limits, err)
	}
	waitFor(t, "room on the disk", func() bool { return diskOf(t, dir) < before*3/4 })
	t.Logf("%d MiB before, %d MiB after", before>>20, diskOf(t, dir)>>20)

	res, err := r.Deliver(ctx, d.Entity, last)
	if err != nil || !res.Duplicate || string(res.Outputs[0].Payload) != fmt.Sprint(events) {
		t.Errorf("a repeat of the last event: %+v, %v", res, err)
	}
	old := event(3)
	if _, err := r.Deliver(ctx, d.Entity, old); !errors.Is(err, daemon.ErrSuperseded) {
		t.Errorf("a repeat of what is let go of: %v", err)
	}
	var file strings.Builder
	if err := r.Outputs().Export(ctx, d.Entity, &file); err != nil {
		t.Fatal(err)
	}
	if rep, err := chain.Verify(strings.NewReader(file.String())); err != nil || rep.Last != events || rep.First < events-30 {
		t.Errorf("%+v, %v", rep, err)
	}

	// It is the daemon's after a restart, too.
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, nil)
	r = quietHost(t, s, host.Options{Node: key})
	if i, err := r.Daemons().Inspect(d.Entity); err != nil || i.Limits.History != 10 {
		t.Errorf("after a restart: %+v, %v", i.Limits, err)
	}
	if res, err := r.Deliver(ctx, d.Entity, event(events+1)); err != nil || string(res.Outputs[0].Payload) != fmt.Sprint(events+1) {
		t.Errorf("after a restart: %+v, %v", res, err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// The space of a daemon that is removed is given back.
func TestSpaceOfRemovedDaemonsIsGivenBack(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir, nil)
	r := quietHost(t, s, host.Options{})
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d"})
	if err != nil {
		t.Fatal(err)
	}
	random := rand.NewChaCha8([32]byte{2})
	for range 400 {
		b := make([]byte, 256<<10)
		_, _ = random.Read(b) // it never fails
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: b}); err != nil {
			t.Fatal(err)
		}
	}
	before := tablesOf(t, s, d.Entity, dir)
	if err := r.Stop(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "room on the disk", func() bool { return diskOf(t, dir) < before*3/4 })
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// Limits are set on a module's daemon while it runs: they hold for its next event, as
// larger ones do, and travel with it.
func TestLimitsAreSetWhileADaemonRuns(t *testing.T) {
	var net hosttest.Net
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	if _, err := a.Kinds().PushWith(ctx, "heap", guest(t, "c/heap.wasm"), daemon.Limits{MemoryBytes: 4 << 20}); err != nil {
		t.Fatal(err)
	}
	d := a.spawnAs("heap", nil)
	send := func(n *node, text string) error {
		_, err := n.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(text)})
		return err
	}
	set := func(n *node, limits map[string]int64) error {
		_, err := n.Daemons().SetLimits(ctx, d.Entity, limits)
		return err
	}
	if err := send(a, "r 2"); err != nil {
		t.Fatal(err)
	}
	var fault *daemon.GuestError
	if err := send(a, "r 8"); !errors.As(err, &fault) || fault.Limit != "memory" {
		t.Errorf("more than 4 MiB: %v", err)
	}
	if err := set(a, map[string]int64{"memory": 32 << 20, "mailbox": 5}); err != nil {
		t.Fatal(err)
	}
	if err := send(a, "r 8"); err != nil {
		t.Errorf("up to 32 MiB: %v", err)
	}
	if err := set(a, map[string]int64{"memory": 1 << 20, "event-bytes": 1 << 10}); !errors.Is(err, daemon.ErrUnfit) || !strings.Contains(err.Error(), "a memory does not shrink") {
		t.Errorf("less memory than it has: %v", err)
	}
	for _, bad := range []map[string]int64{{"speed": 1}, {"module-bytes": 1}, {"fuel": -1}, {"state-bytes": 1 << 20}} {
		if err := set(a, bad); !errors.Is(err, daemon.ErrBadLimit) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if err := set(a, map[string]int64{"event-bytes": 16}); err != nil {
		t.Fatal(err)
	}
	if err := send(a, "w 1                             "); !errors.Is(err, daemon.ErrTooLarge) {
		t.Errorf("an event over the limit: %v", err)
	}
	before, err := a.Daemons().Inspect(d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.moveWith(d.Entity, b.Self(), host.MigrationOptions{}); err != nil {
		t.Fatal(err)
	}
	after, err := b.Daemons().Inspect(d.Entity)
	if err != nil || after.OwnLimits != before.OwnLimits || after.Limits != before.Limits || after.OwnLimits.Mailbox != 5 {
		t.Errorf("it came with %+v, and had %+v; %v", after.OwnLimits.Map(), before.OwnLimits.Map(), err)
	}
	if err := set(b, map[string]int64{"event-bytes": 0, "mailbox": 0}); err != nil {
		t.Fatal(err)
	}
	if i, err := b.Daemons().Inspect(d.Entity); err != nil || i.Limits.EventBytes != 1<<20 || i.Limits.Mailbox != 1024 || i.OwnLimits.MemoryBytes != 32<<20 {
		t.Errorf("the node's again: %+v, %v", i.Limits.Map(), err)
	}
	if err := send(b, "w 1                             "); err != nil {
		t.Error(err)
	}
	if err := a.SetLimitsOfMoved(d.Entity); !errors.As(err, new(*daemon.MovedError)) {
		t.Errorf("where it was: %v", err)
	}
}

// SetLimitsOfMoved sets a limit of a daemon that is elsewhere.
func (n *node) SetLimitsOfMoved(id identity.EntityID) error {
	_, err := n.Daemons().SetLimits(ctx, id, map[string]int64{"fuel": 1000})
	return err
}

// What an event made under larger limits is not judged by smaller ones: when the next is
// undone, at a restart, or at a standby.
func TestSmallerLimitsAreNotForThePast(t *testing.T) {
	dir, key := t.TempDir(), newKey(t)
	s := openStore(t, dir, nil)
	r := quietHost(t, s, host.Options{Node: key})
	if _, err := r.Kinds().Push(ctx, "echo", guest(t, "c/echo.wasm")); err != nil {
		t.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	big := []byte(strings.Repeat("x", 100_000))
	for range 3 {
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: big}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Daemons().SetLimits(ctx, d.Entity, map[string]int64{"output-bytes": 1000}); err != nil {
		t.Fatal(err)
	}
	var fault *daemon.GuestError
	if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: big}); !errors.As(err, &fault) || fault.Limit != "output-bytes" {
		t.Fatalf("more than it may: %v", err)
	}
	if res, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("y")}); err != nil || string(res.Outputs[0].Payload) != "y" {
		t.Fatalf("after that was undone: %+v, %v", res, err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, dir, nil)
	r = quietHost(t, s, host.Options{Node: key})
	if res, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("z")}); err != nil || string(res.Outputs[0].Payload) != "z" {
		t.Errorf("after a restart: %+v, %v", res, err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// A kind's limits are set for the daemons that it has and will have; one that was given
// another value keeps that, and is named.
func TestLimitsOfAKind(t *testing.T) {
	s := openStore(t, t.TempDir(), nil)
	r := quietHost(t, s, host.Options{})
	if _, err := r.Kinds().PushWith(ctx, "counter", guest(t, "c/counter.wasm"), daemon.Limits{Fuel: 5000}); err != nil {
		t.Fatal(err)
	}
	spawn := func(name string, own daemon.Limits) {
		t.Helper()
		if _, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counter", Name: name, Limits: own}); err != nil {
			t.Fatal(err)
		}
	}
	spawn("plain", daemon.Limits{})
	spawn("own", daemon.Limits{Fuel: 7000, Mailbox: 9})
	out, err := r.Kinds().SetLimits(ctx, "counter", map[string]int64{"fuel": 6000, "history": 100})
	if err != nil || out.Changed != 2 || len(out.Kept) != 1 || out.Kept[0].Name != "own" || out.Kept[0].Why != nil {
		t.Fatalf("%+v, %v", out, err)
	}
	spawn("later", daemon.Limits{})
	for name, want := range map[string]daemon.Limits{"plain": {Fuel: 6000, History: 100}, "own": {Fuel: 7000, Mailbox: 9, History: 100}, "later": {Fuel: 6000, History: 100}} {
		d, err := r.Daemons().Resolve(name)
		if err != nil {
			t.Fatal(err)
		}
		if i, err := r.Daemons().Inspect(d); err != nil || i.OwnLimits != want {
			t.Errorf("%s has %v, want %v; %v", name, i.OwnLimits.Map(), want.Map(), err)
		}
	}
	if k, err := r.Kinds().Get("counter"); err != nil || k.Limits != (daemon.Limits{Fuel: 6000, History: 100}) {
		t.Errorf("the kind has %v, %v", k.Limits.Map(), err)
	}
	if _, err := r.Kinds().SetLimits(ctx, "counter", map[string]int64{"memory": 1 << 30}); !errors.Is(err, daemon.ErrUnfit) {
		t.Errorf("that do not fit: %v", err)
	}
	if _, err := r.Kinds().SetLimits(ctx, "nothing", map[string]int64{"fuel": 1}); !errors.Is(err, daemon.ErrKindNotFound) {
		t.Errorf("of no kind: %v", err)
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// Limits that were set go to the daemon's standbys, and hold where it goes on when its node
// is lost.
func TestLimitsThatWereSetAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := stateCluster{newLimitedCluster(t, 3, daemon.Limits{})}
		a := c.nodes[0]
		d, err := a.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "heavy", Name: "d", Standbys: 1})
		if err != nil {
			t.Fatal(err)
		}
		c.inSync(d.Entity, 1)
		c.deliver(a, d, "100")
		if _, err := a.rt.Daemons().SetLimits(t.Context(), d.Entity, map[string]int64{"mailbox": 7, "history": 1000}); err != nil {
			t.Fatal(err)
		}
		last := c.deliver(a, d, "look")
		b := c.goesOn(a, d, last)
		if i, err := b.rt.Daemons().Inspect(d.Entity); err != nil || i.OwnLimits != (daemon.Limits{Mailbox: 7, History: 1000}) {
			t.Errorf("where it goes on it has %v, %v", i.OwnLimits.Map(), err)
		}
	})
}

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
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// puppet is native with strings attached.
type puppet struct {
	native
	onProcess func(payload string) error
	onState   func() // as its state is taken
}

func (p *puppet) Process(c *daemon.Call, payload []byte) ([][]byte, error) {
	if p.onProcess != nil {
		if err := p.onProcess(string(payload)); err != nil {
			return nil, err
		}
	}
	return p.native.Process(c, payload)
}

func (p *puppet) Snapshot(c *daemon.Call) ([]byte, error) {
	if p.onState != nil {
		p.onState()
	}
	return p.native.Snapshot(c)
}

// ready makes a started runtime with native kind "n" and no store or mesh.
func ready(t *testing.T) *host.Runtime {
	t.Helper()
	r := bare(t)
	if err := errors.Join(r.RegisterFactory("n", nativeFactory(new(int))), r.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	return r
}

func deliver(t *testing.T, r *host.Runtime, id identity.EntityID, want string) {
	t.Helper()
	res, err := r.Deliver(ctx, id, daemon.Event{Payload: []byte("x")})
	if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != want {
		t.Errorf("got %+v, %v; want %s", res, err, want)
	}
}

func TestR23_R33_Echo(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("echo", "c/echo.wasm")
	key := newKey(t)
	d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "echo", Identity: key})
	if err != nil {
		t.Fatal(err)
	}
	payload := "any \x00 bytes \xff at all"
	a.wantSend(d.Entity, payload, payload)
	if i, err := a.Daemons().Inspect(d.Entity); err != nil || i.EventsProcessed != 1 || i.EventsEmitted != 1 || i.Errors != 0 {
		t.Errorf("R23: %+v, %v", i, err)
	}
	if _, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "echo", Identity: key}); !errors.Is(err, daemon.ErrAlreadyPresent) {
		t.Errorf("R33: %v", err)
	}
	if s, err := a.Snapshot(ctx, d.Entity); s != nil || err != nil { // the incumbent answers as before
		t.Errorf("R33: %v, %v", s, err)
	}
	a.wantSend(d.Entity, payload, payload)
}

func TestR26_DaemonsShareNothing(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	c1, c2 := a.spawn("counter", "c1"), a.spawn("counter", "c2")
	a.wantSend(c1.Entity, "x", "1")
	a.wantSend(c1.Entity, "x", "2")
	a.wantSend(c2.Entity, "x", "1")
	a.wantSend(c1.Entity, "x", "3")
}

func TestR39_SnapshotsAreFrozen(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	var taken [][]byte
	for i := 1; i <= 5; i++ {
		a.wantSend(d.Entity, "x", fmt.Sprint(i))
		if i == 2 || i == 5 {
			s, err := a.Snapshot(ctx, d.Entity)
			if err != nil {
				t.Fatal(err)
			}
			b, err := s.Encode()
			if err != nil {
				t.Fatal(err)
			}
			taken = append(taken, b)
		}
	}
	for i, next := range []string{"3", "6"} {
		if err := a.Stop(ctx, d.Entity); err != nil {
			t.Fatal(err)
		}
		if _, err := a.SpawnFromSnapshot(ctx, daemon.SpawnRequest{}, taken[i]); err != nil {
			t.Fatal(err)
		}
		a.wantSend(d.Entity, "x", next)
	}
}

func TestR46_NoMigrationNoPhase(t *testing.T) {
	r := ready(t)
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []identity.EntityID{d.Entity, {1}} {
		if p, ok := r.MigrationPhase(id); ok || p != 0 {
			t.Errorf("%s: %v", id, p)
		}
	}
	if all := r.Migrations().Running(); len(all) != 0 {
		t.Errorf("%d migrations", len(all))
	}
}

// The table of daemons: one of each identity, whoever else asks for it, and
// taking out what is not in it changes nothing.
func TestR47_R48_R56_Table(t *testing.T) {
	r := ready(t)
	key := newKey(t)
	first, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "first", Identity: key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "usurper", Identity: key}, &native{count: 40}); !errors.Is(err, daemon.ErrAlreadyPresent) {
		t.Errorf("R47: %v", err)
	}
	deliver(t, r, first.Entity, "1")
	err = r.Stop(ctx, identity.EntityID{1})
	var missing *daemon.NotFoundError
	if !errors.As(err, &missing) || missing.Entity != (identity.EntityID{1}) {
		t.Errorf("R48: %v", err)
	}
	second, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "second"})
	if err != nil {
		t.Fatal(err)
	}
	all := r.Daemons().List()
	if len(all) != 2 || all[0].Name != "first" || all[1].Name != "second" || all[0].Entity != first.Entity || all[1].Entity != second.Entity || all[1].Kind != "n" {
		t.Errorf("R56: %+v", all)
	}
}

// A reference to a daemon that was taken before the daemon was stopped, or
// replaced under the same identity, reaches nobody.
func TestR49_to_R52_F14_F16_StaleReferences(t *testing.T) {
	r := ready(t)
	key := newKey(t)
	var daemons [2]puppet
	spawn := func(i int) {
		if _, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "n", Identity: key}, &daemons[i]); err != nil {
			t.Fatal(err)
		}
	}
	spawn(0)
	old, err := r.Grasp(key.ID())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old(daemon.Event{}); err != nil { // R51: nothing was replaced
		t.Errorf("R51: %v", err)
	}
	if err := r.Stop(ctx, key.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := old(daemon.Event{}); !errors.Is(err, daemon.ErrStopped) { // R50
		t.Errorf("R50: %v", err)
	}
	spawn(1)
	if _, err := old(daemon.Event{}); !errors.Is(err, daemon.ErrStopped) { // R49
		t.Errorf("R49: %v", err)
	}
	if daemons[0].count != 1 || daemons[1].count != 0 {
		t.Errorf("the old daemon counts %d, the new one %d", daemons[0].count, daemons[1].count)
	}
	deliver(t, r, key.ID(), "1") // R52
	// What cannot take its place leaves the place free.
	if err := r.Stop(ctx, key.ID()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "n", Identity: key, Config: []byte("which it takes none of")}, &native{}); err == nil {
		t.Error("F16: a daemon that takes no configuration took it")
	}
	if r.DaemonCount() != 0 {
		t.Errorf("F16: %d daemons", r.DaemonCount())
	}
	spawn(1)
}

// A daemon's code may use the runtime while an event is under way: no table is
// locked then. What waits for that very event is bounded by its context.
func TestR53_R54_R55_F12_F13_F23_TheTablesAreFreeWhileADaemonWorks(t *testing.T) {
	r := ready(t)
	other, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "other"})
	if err != nil {
		t.Fatal(err)
	}
	busy := &puppet{}
	d, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "busy"}, busy)
	if err != nil {
		t.Fatal(err)
	}
	touch := func() { // all that touches the tables
		if _, err := r.Deliver(ctx, other.Entity, daemon.Event{}); err != nil {
			t.Error(err)
		}
		made, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n"})
		if err != nil {
			t.Error(err)
		}
		if _, err := r.Daemons().Resolve("busy"); err != nil {
			t.Error(err)
		}
		if err := r.Stop(ctx, made.Entity); err != nil {
			t.Error(err)
		}
		if err := errors.Join(r.ExpectMigration("n", newKey(t).ID()), r.RegisterFactory(fmt.Sprint("k", r.Expected()), nativeFactory(new(int)))); err != nil {
			t.Error(err)
		}
	}
	use := func() { // by somebody else: a daemon's own goroutine holds its lock
		done := make(chan struct{})
		go func() {
			defer close(done)
			touch()
		}()
		<-done
	}
	busy.onProcess = func(string) error {
		use()
		impatient, cancel := context.WithCancel(ctx)
		cancel()
		if err := r.Stop(impatient, d.Entity); !errors.Is(err, context.Canceled) { // itself: there is no end to wait for
			t.Errorf("R53: %v", err)
		}
		return nil
	}
	deliver(t, r, d.Entity, "1")
	busy.onState = use
	if _, err := r.Snapshot(ctx, d.Entity); err != nil {
		t.Error(err)
	}
	// Another goroutine's Stop, and Shutdown, do not wait longer than they may.
	working, goOn := make(chan struct{}), make(chan struct{})
	busy.onProcess = func(string) error {
		close(working)
		<-goOn
		return nil
	}
	done := make(chan error, 1)
	go func() { done <- second(r.Deliver(ctx, d.Entity, daemon.Event{})) }()
	<-working
	impatient, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- r.Stop(impatient, d.Entity) }()
	deliver(t, r, other.Entity, "3") // R54
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("R55: %v", err)
	}
	if err := r.Shutdown(impatient); !errors.Is(err, context.Canceled) || r.DaemonCount() != 0 {
		t.Errorf("F13: %v, %d daemons", err, r.DaemonCount())
	}
	close(goOn)
	if err := <-done; err != nil {
		t.Errorf("the event that was under way: %v", err)
	}
}

func TestR57_R58_F18_StatelessTakesNoState(t *testing.T) {
	r := ready(t)
	if _, err := r.Kinds().Push(ctx, "echo", guest(t, "c/echo.wasm")); err != nil {
		t.Fatal(err)
	}
	d, err := r.NewDaemon("echo")
	if err != nil {
		t.Fatal(err)
	}
	defer d.(interface{ Close() error }).Close()
	if err := d.Restore(&daemon.Call{}, nil); err != nil {
		t.Errorf("R57: %v", err)
	}
	err = d.Restore(&daemon.Call{}, make([]byte, 23))
	if !errors.Is(err, daemon.ErrStatelessState) || !strings.Contains(err.Error(), "23 bytes") || !strings.Contains(err.Error(), d.Name()) {
		t.Errorf("R58: %v", err)
	}
}

// full is a native daemon with every optional method.
type full struct {
	native
	config string
	closed bool
}

func (f *full) Init(_ *daemon.Call, config []byte) error { f.config = string(config); return nil }
func (f *full) Stateless() bool                          { return true }
func (f *full) MemoryBytes() int64                       { return 4711 }
func (f *full) Close() error                             { f.closed = true; return nil }

func TestR59_R60_OptionalMethods(t *testing.T) {
	r := ready(t)
	plain, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "plain"}, &native{})
	if err != nil || plain.MemoryBytes != 0 || plain.State != "running" {
		t.Errorf("R59: %+v, %v", plain, err)
	}
	if s, err := r.Snapshot(ctx, plain.Entity); err != nil || s == nil || s.Header.Form != snapshot.FormGiven {
		t.Errorf("R59: %+v, %v", s, err)
	}
	if _, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "configured", Config: []byte("x")}, &native{}); err == nil {
		t.Error("R59: configuration for a daemon that takes none")
	}
	f := &full{}
	d, err := r.SpawnWithDaemon(ctx, daemon.SpawnRequest{Name: "full", Config: []byte("blue")}, f)
	if err != nil || f.config != "blue" || d.MemoryBytes != 4711 {
		t.Errorf("R60: %+v, %v", d, err)
	}
	if s, err := r.Snapshot(ctx, d.Entity); s != nil || err != nil {
		t.Errorf("R60: %v, %v", s, err)
	}
	if err := r.Stop(ctx, d.Entity); err != nil || !f.closed {
		t.Errorf("R60: %v, closed %v", err, f.closed)
	}
}

// Whatever is printed, of a runtime and what it holds, no secret shows, and a
// daemon shows what it is.
func TestR62_M121_F64_NothingPrintsAKey(t *testing.T) {
	r := ready(t)
	key := newKey(t)
	seed, err := key.Seed()
	if err != nil {
		t.Fatal(err)
	}
	req := daemon.SpawnRequest{Kind: "n", Name: "shown", Identity: key}
	d, err := r.Spawn(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, r, d.Entity, "1")
	coming := newKey(t)
	comingSeed, err := coming.Seed()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.RegisterMigrationTargetIdentity("n", coming); err != nil {
		t.Fatal(err)
	}
	s, err := r.Snapshot(ctx, d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	now, err := r.Daemons().Inspect(d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
		for what, v := range map[string]any{"runtime": r, "request": req, "daemon": now, "snapshot": s, "key": key} {
			out := fmt.Sprintf(verb, v)
			for _, secret := range [][]byte{seed, comingSeed} {
				if strings.Contains(out, fmt.Sprintf("%x", secret)) || strings.Contains(out, strings.Trim(fmt.Sprint(secret), "[]")) || strings.Contains(out, strings.Trim(fmt.Sprintf("%#v", secret), "[]byte{}")) {
					t.Errorf("%s of a %s prints the secret", verb, what)
				}
			}
		}
	}
	if shown := fmt.Sprintf("%#v", r); shown != "runtime of node "+now.Node.String() {
		t.Errorf("a runtime is printed as %q", shown)
	}
	shown := fmt.Sprintf("%+v", now)
	for _, want := range []string{"Name:shown", "Kind:n", "Sequence:1", "EventsProcessed:1", d.Entity.String()} {
		if !strings.Contains(shown, want) {
			t.Errorf("R62: %q does not show %s", shown, want)
		}
	}
}

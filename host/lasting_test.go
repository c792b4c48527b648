package host_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/registry"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/identity"
)

// sameFacts compares all that Inspect says of a daemon before and after it went somewhere.
// differ names the fields that are to differ: a field that is added later is compared.
// StateBytes is of what the node has stored.
func sameFacts(t *testing.T, what string, before, after daemon.Info, differ ...string) {
	t.Helper()
	a, b := reflect.ValueOf(before), reflect.ValueOf(after)
	for i := range a.NumField() {
		name := a.Type().Field(i).Name
		if !a.Type().Field(i).IsExported() { // it has no type of its own to compare by
			if x, y := fmt.Sprint(a.Field(i)), fmt.Sprint(b.Field(i)); x != y && !slices.Contains(differ, name) {
				t.Errorf("%s: %s was %s, is %s", what, name, x, y)
			}
			continue
		}
		x, y := a.Field(i).Interface(), b.Field(i).Interface()
		same := reflect.DeepEqual(x, y)
		if at, ok := x.(time.Time); ok {
			same = at.Equal(y.(time.Time))
		}
		if loss, ok := x.(*daemon.Loss); ok && loss != nil {
			other := y.(*daemon.Loss)
			same = other != nil && loss.String() == other.String() && loss.Time.Equal(other.Time)
		}
		for _, d := range differ {
			same = same || d == name
		}
		if !same {
			t.Errorf("%s: %s was %v, is %v", what, name, x, y)
		}
	}
}

// upgraded makes a counter that was upgraded once, has counted to 3 and failed on an event.
func upgraded(t *testing.T, a *node) (d daemon.Info, old string) {
	t.Helper()
	a.push("counter", "c/counter.wasm")
	d = a.spawn("counter", "c1")
	old = d.Module
	a.wantSend(d.Entity, "x", "1")
	a.push("counter", "rust/counter.wasm")
	latest, err := a.Kinds().ModuleNamed("counter", "latest")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Upgrade(ctx, d.Entity, latest); err != nil {
		t.Fatal(err)
	}
	a.wantSend(d.Entity, "x", "2")
	if _, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("fail")}); err == nil {
		t.Fatal("it fails on nothing")
	}
	a.wantSend(d.Entity, "x", "3")
	return a.mustInspect(d.Entity), old
}

// A daemon that moves, there and back, across a restart of its node, and is restored from a
// snapshot stays what it was in all that Inspect says, and can be rolled back: the module
// before its last upgrade goes along.
func TestFactsTravel(t *testing.T) {
	var net hosttest.Net
	key, dir := newKey(t), t.TempDir()
	early := &shiftedClock{} // than those where the daemon arrives
	early.by.Store(-int64(time.Hour))
	a, b, c := start(t, &net, newKey(t), "", func(o *host.Options) { o.Clock = early.now }), start(t, &net, key, dir, nil), start(t, &net, newKey(t), "", nil)
	before, old := upgraded(t, a)
	if err := a.SetLoss(before.Entity, 2, "a test"); err != nil {
		t.Fatal(err)
	}
	before = a.mustInspect(before.Entity)
	moved := []string{"Node", "Epoch"}

	rep := a.migrate(before.Entity, b)
	sameFacts(t, "after a move", before, b.mustInspect(before.Entity), moved...)
	if got := rep.Receipt.Source.Rounds; got != uint64(len(rep.Rounds)) || got < 2 {
		t.Errorf("the receipt says %d rounds, the report has %d", got, len(rep.Rounds))
	}
	b.stop()
	b = start(t, &net, key, dir, nil)
	sameFacts(t, "after a restart", before, b.mustInspect(before.Entity), append(moved, "Errors", "StateBytes")...) // counted since a state was stored
	b.migrate(before.Entity, c)
	sameFacts(t, "at a third node", before, c.mustInspect(before.Entity), append(moved, "Errors", "StateBytes")...)
	if i, err := c.RollBack(ctx, before.Entity); err != nil || i.Module != old {
		t.Fatalf("rolling back at the third node: %+v, %v", i, err)
	}
	if i, err := c.RollBack(ctx, before.Entity); err != nil || i.Module != before.Module {
		t.Fatalf("and again: %+v, %v", i, err)
	}
	c.migrate(before.Entity, a)
	back := a.mustInspect(before.Entity)
	sameFacts(t, "there and back", before, back, append(moved, "Errors", "StateBytes")...)

	s, err := a.Snapshot(ctx, before.Entity)
	if err != nil || s.Header.Version != snapshot.Version || !s.Header.Spawned().Equal(before.Spawned) || fmt.Sprintf("%x", s.Header.Previous()) != old {
		t.Fatalf("the snapshot says %v, %x: %v", s.Header.Spawned(), s.Header.Previous(), err)
	}
	if err := a.Stop(ctx, before.Entity); err != nil {
		t.Fatal(err)
	}
	if _, err := a.SpawnFromDecoded(ctx, daemon.SpawnRequest{}, s); err != nil {
		t.Fatal(err)
	}
	sameFacts(t, "restored from a snapshot", back, a.mustInspect(before.Entity), "Epoch", "StateBytes")
	if i, err := a.RollBack(ctx, before.Entity); err != nil || i.Module != old {
		t.Errorf("rolling back what was restored: %+v, %v", i, err)
	}
}

// A fork can be rolled back as its parent can, and was spawned when it was forked. One of
// before the upgrade cannot.
func TestWhatAForkKeeps(t *testing.T) {
	var net hosttest.Net
	clock := &shiftedClock{}
	a := start(t, &net, newKey(t), "", func(o *host.Options) { o.Clock = clock.now })
	parent, old := upgraded(t, a)
	clock.by.Store(int64(time.Hour))
	forks, err := a.Fork(ctx, parent.Entity, host.ForkRequest{})
	if err != nil {
		t.Fatal(err)
	}
	f := a.mustInspect(forks[0].Entity)
	if !f.Spawned.After(parent.Spawned) || f.Errors != 0 {
		t.Errorf("it was spawned at %v, its parent at %v; it failed on %d events", f.Spawned, parent.Spawned, f.Errors)
	}
	if i, err := a.RollBack(ctx, f.Entity); err != nil || i.Module != old {
		t.Errorf("rolling back a fork: %+v, %v", i, err)
	}
	at := uint64(1)
	if forks, err = a.Fork(ctx, parent.Entity, host.ForkRequest{At: &at}); errors.Is(err, daemon.ErrHistoryTrimmed) {
		return // the upgrade stored the state: what was before cannot be made again
	} else if err != nil {
		t.Fatal(err)
	}
	if _, err := a.RollBack(ctx, forks[0].Entity); !errors.Is(err, daemon.ErrCannotUpgrade) {
		t.Errorf("rolling back a fork of before the upgrade: %v", err)
	}
}

// A target that takes no module of a peer takes the daemon whose module it has, and not the
// module before: the rollback fails there by name.
func TestAPreviousModuleIsNotForcedIn(t *testing.T) {
	for name, change := range map[string]func(*host.Options){
		"takes none": func(o *host.Options) { o.RefuseModules = true },
		"keys":       nil,
	} {
		t.Run(name, func(t *testing.T) {
			var net hosttest.Net
			signer := newKey(t)
			if change == nil {
				change = func(o *host.Options) { o.ModuleKeys = []identity.EntityID{signer.ID()} }
			}
			a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", change)
			d, old := upgraded(t, a)
			sig, err := registry.SignModule(signer, [32]byte(mustHex(t, d.Module)))
			if err != nil {
				t.Fatal(err)
			}
			if err := b.Kinds().AddSignature([32]byte(mustHex(t, d.Module)), sig); err != nil {
				t.Fatal(err)
			}
			b.push("counter", "rust/counter.wasm")
			a.migrate(d.Entity, b)
			if _, err := b.Kinds().Module(ctx, [32]byte(mustHex(t, old))); !errors.Is(err, daemon.ErrModuleNotFound) {
				t.Errorf("the target has the module that it refuses: %v", err)
			}
			if _, err := b.RollBack(ctx, d.Entity); !errors.Is(err, daemon.ErrModuleNotFound) || !strings.Contains(err.Error(), old[:12]) {
				t.Errorf("rolling back: %v", err)
			}
			b.wantSend(d.Entity, "x", "4")
		})
	}
}

// A module that comes as the one before, and is not the one that the daemon signed, is not
// kept; one that does not come as it was announced ends the migration.
func TestAnotherPreviousModule(t *testing.T) {
	var net hosttest.Net
	other := guest(t, "c/echo.wasm")
	net.Rewrite = func(m migration.Message) migration.Message {
		if c, ok := m.(*migration.EarlierChunk); ok {
			return &migration.EarlierChunk{Bytes: bytes.Repeat([]byte{other[0]}, len(c.Bytes))}
		}
		return m
	}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	d, old := upgraded(t, a)
	a.migrate(d.Entity, b)
	if _, err := b.Kinds().Module(ctx, [32]byte(mustHex(t, old))); !errors.Is(err, daemon.ErrModuleNotFound) {
		t.Errorf("bytes that are not the module are kept: %v", err)
	}
	if _, err := b.RollBack(ctx, d.Entity); !errors.Is(err, daemon.ErrModuleNotFound) {
		t.Errorf("rolling back: %v", err)
	}
}

// A target of the version before is offered the daemon in that version, and takes it
// without what it does not know.
func TestATargetOfTheVersionBefore(t *testing.T) {
	var net hosttest.Net
	offers := 0
	net.Rewrite = func(m migration.Message) migration.Message {
		if o, ok := m.(*migration.Offer); ok && o.Version != migration.PlainVersion {
			offers++
			older := *o
			older.Version = 200 // the target refuses by the number it sees
			return &older
		}
		if r, ok := m.(*migration.Refuse); ok {
			return &migration.Refuse{Code: r.Code, Text: strings.Replace(r.Text, "version 200", "version 3", 1)}
		}
		switch m.(type) {
		case *migration.Earlier, *migration.EarlierChunk:
			t.Errorf("a %T for a target of version 2", m)
		}
		return m
	}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	d, _ := upgraded(t, a)
	a.migrate(d.Entity, b)
	if offers != 1 {
		t.Errorf("%d offers of version 3", offers)
	}
	b.wantSend(d.Entity, "x", "4")
	if _, err := b.RollBack(ctx, d.Entity); !errors.Is(err, daemon.ErrCannotUpgrade) {
		t.Errorf("rolling back: %v", err)
	}
}

// A standby that takes over says of the daemon what its owner said, and can roll it back,
// though it began to stand by after the upgrade.
func TestFactsOutliveAFailover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTestCluster(t, 3)
		a := c.nodes[0]
		push := func(file string) {
			if _, err := a.rt.Kinds().Push(t.Context(), "counter", guest(t, file)); err != nil {
				t.Fatal(err)
			}
		}
		push("c/counter.wasm")
		first, err := a.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "counter", Name: "c1", Standbys: 1})
		if err != nil {
			t.Fatal(err)
		}
		id := first.Entity
		e := c.inSync(id, 1)
		push("rust/counter.wasm")
		latest, err := a.rt.Kinds().ModuleNamed("counter", "latest")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.rt.Upgrade(t.Context(), id, latest); err != nil {
			t.Fatal(err)
		}
		sender := someone(t)
		c.countTo(id, sender, 1)
		c.at(e.Standbys[0]).isolate(true, true) // the other begins to stand by
		for range 100 {
			time.Sleep(200 * time.Millisecond)
			dir, err := a.rt.Cluster()
			if err != nil {
				t.Fatal(err)
			}
			if now, ok := dir.Look(id); ok && len(now.Standbys) == 1 && now.Standbys[0] != e.Standbys[0] {
				break
			}
		}
		c.countTo(id, sender, 2)
		time.Sleep(time.Second) // the module goes beside the rest
		before, err := a.rt.Daemons().Inspect(id)
		if err != nil {
			t.Fatal(err)
		}
		a.isolate(true, true)
		time.Sleep(10 * time.Second)
		m, after := c.serving(id)
		if m == a {
			t.Fatal("the owner serves on")
		}
		sameFacts(t, "after a failover", before, after, "Node", "Epoch", "StateBytes")
		i, err := m.rt.RollBack(t.Context(), id)
		if err != nil || i.Module != first.Module {
			t.Errorf("rolling back after a failover: %+v, %v", i, err)
		}
	})
}

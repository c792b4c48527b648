package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// A migration whose other side is gone is settled by its operator: under a
// higher epoch, as a fact of the chain, over a restart. Should the other side
// come back it gives way.
func TestResolvingWithoutTheOtherSide(t *testing.T) {
	for _, how := range []chain.Mend{chain.MendTakeBack, chain.MendClaim, chain.MendDrop} {
		t.Run(how.String(), func(t *testing.T) {
			var lost atomic.Bool // what settles the migration does not arrive
			net := &hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
				switch m.(type) {
				case *migration.Release, *migration.Ask:
					return !lost.Load()
				}
				return true
			}}
			keys := []*identity.KeyPair{newKey(t), newKey(t)}
			dirs, disks := []string{t.TempDir(), t.TempDir()}, []*vfs.MemFS{vfs.NewMem(), vfs.NewMem()}
			rts, stores, meshes := make([]*host.Runtime, 2), make([]*store.Store, 2), make([]*hosttest.Mesh, 2)
			begin := func(i int) {
				t.Helper()
				var err error
				if meshes[i], err = net.Join(keys[i]); err != nil {
					t.Fatal(err)
				}
				stores[i] = openStore(t, dirs[i], disks[i])
				rts[i] = quietHost(t, stores[i], host.Options{Node: keys[i], Mesh: meshes[i]})
			}
			end := func(i int) {
				t.Helper()
				meshes[i].Crash()
				if err := errors.Join(rts[i].Shutdown(ctx), stores[i].Close()); err != nil {
					t.Fatal(err)
				}
			}
			begin(0)
			begin(1)
			key := newKey(t)
			d, err := rts[0].Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d", Identity: key})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rts[0].Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			for i, r := range rts {
				if _, err := r.Migrations().Resolve(ctx, d.Entity, how, nil); !errors.Is(err, host.ErrSettled) {
					t.Errorf("node %d, where nothing moves: %v", i, err)
				}
			}
			lost.Store(true)
			if _, err := rts[0].StartMigration(ctx, d.Entity, keys[1].ID().Node()); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "unsettled migration", func() bool {
				return len(rts[0].Migrations().Unsettled()) == 1 && len(rts[1].Migrations().Unsettled()) == 1
			})
			here, gone := 0, 1
			if how != chain.MendTakeBack {
				here, gone = 1, 0
			}
			end(gone)
			var u []host.Unsettled // the side that stays may still be busy with the stream that broke
			waitFor(t, "the migration at the side that stays", func() bool {
				u = rts[here].Migrations().Unsettled()
				return len(u) == 1
			})
			if u[0].Name != "d" || u[0].Outgoing != (here == 0) || u[0].Epoch != 2 || u[0].Sequence != 1 || u[0].Peer != keys[gone].ID().Node() {
				t.Errorf("%+v", u)
			}
			if how == chain.MendClaim {
				if _, err := rts[here].Migrations().Resolve(ctx, d.Entity, how, newKey(t)); !errors.Is(err, daemon.ErrIdentityMismatch) {
					t.Errorf("another's key: %v", err)
				}
			}
			fact, err := rts[here].Migrations().Resolve(ctx, d.Entity, how, map[bool]*identity.KeyPair{true: key}[how == chain.MendClaim])
			if err != nil {
				t.Fatal(err)
			}
			if _, err := rts[here].Migrations().Resolve(ctx, d.Entity, how, nil); !errors.Is(err, host.ErrSettled) {
				t.Errorf("a second time: %v", err)
			}
			serves := func(want string) {
				t.Helper()
				res, err := rts[here].Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})
				if err != nil || string(res.Outputs[0].Payload) != want || res.Outputs[0].Link.Epoch != 3 {
					t.Fatalf("%+v, %v; want %s", res, err, want)
				}
				var file bytes.Buffer
				if err := rts[here].Outputs().Export(ctx, d.Entity, &file); err != nil {
					t.Fatal(err)
				}
				if rep, err := chain.Verify(&file); err != nil || len(rep.Mended) != 1 || rep.Mended[0] != fact {
					t.Errorf("%+v, %v; want %+v", rep, err, fact)
				}
			}
			if how != chain.MendDrop {
				if fact.Epoch != 3 || fact.After != 1 || fact.How != how {
					t.Errorf("%+v", fact)
				}
				serves("2")
				end(here)
				begin(here)
				serves("3")
			} else if rts[here].DaemonCount() != 0 || len(rts[here].Migrations().Arriving()) != 0 {
				t.Error("it was not dropped")
			}
			lost.Store(false)
			begin(gone) // it comes back after all
			if how == chain.MendDrop {
				waitFor(t, "release that nobody takes", func() bool { return len(rts[gone].Migrations().Unsettled()) == 1 })
				if _, err := rts[gone].Migrations().Resolve(ctx, d.Entity, chain.MendTakeBack, nil); err != nil {
					t.Fatal(err)
				}
				here = gone
				if res, err := rts[here].Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil || string(res.Outputs[0].Payload) != "2" {
					t.Errorf("%+v, %v", res, err)
				}
			} else {
				waitFor(t, "other side that gives way", func() bool { return rts[gone].DaemonCount() == 0 && len(rts[gone].Migrations().Arriving()) == 0 })
				serves("4")
			}
			for i, r := range rts {
				if u := r.Migrations().Unsettled(); len(u) != 0 {
					t.Errorf("node %d: %s", i, fmt.Sprint(u))
				}
				end(i)
			}
		})
	}
}

// An operator need not wait until the connection to a target that says nothing
// breaks.
func TestTakingBackFromASilentTarget(t *testing.T) {
	silent, end := make(chan struct{}), make(chan struct{})
	var once sync.Once
	net := hosttest.Net{Filter: func(_, _ identity.NodeID, m migration.Message) bool {
		if _, ok := m.(*migration.Done); ok {
			once.Do(func() { close(silent) })
			<-end
		}
		return true
	}}
	a, b := start(t, &net, newKey(t), "", nil), start(t, &net, newKey(t), "", nil)
	t.Cleanup(func() { close(end) })
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	if _, err := a.StartMigration(ctx, d.Entity, b.Self()); err != nil {
		t.Fatal(err)
	}
	<-silent
	list, listed := make(chan struct{}), make(chan struct{})
	go func() { // who lists migrations waits for none, and is not misled by one that ends
		defer close(listed)
		for {
			select {
			case <-list:
				return
			default:
			}
			all, err := a.Migrations().List(true)
			if err != nil || len(all) > 0 && all[0].Epoch != 2 {
				t.Errorf("while the daemon is taken back: %+v, %v", all, err)
				return
			}
		}
	}()
	within, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err := a.Migrations().Resolve(within, d.Entity, chain.MendTakeBack, nil)
	close(list)
	<-listed
	if err != nil {
		t.Fatal(err)
	}
}

package host_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// restoredNode is a node with the daemon c1, which has applied ten events, and the
// channel news, that was restored from a backup. twin is what it finds where the backup
// was made.
func restoredNode(t *testing.T, twin func() *host.Twin) (*host.Runtime, identity.EntityID, func()) {
	t.Helper()
	disk, key := vfs.NewMem(), someKeyPair(t)
	open := func() *store.Store {
		s, err := store.Open(store.Options{Dir: filepath.Join(compiled, "data"), FS: disk, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	start := func(s *store.Store) *host.Runtime {
		rt, err := host.New(t.Context(), host.Options{Store: s, Node: key, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		rt.Unconfirmed().LookForTwin(func(context.Context) *host.Twin { return twin() })
		if err := errors.Join(rt.RegisterFactory("n", nativeFactory(new(int))), rt.Start(t.Context())); err != nil {
			t.Fatal(err)
		}
		return rt
	}
	s := open()
	rt := start(s)
	d, err := rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "n", Name: "c1"})
	if err == nil {
		_, err = rt.Channels().Create(t.Context(), "news", broker.Policy{})
	}
	if err != nil {
		t.Fatal(err)
	}
	sender := someone(t)
	for n := uint64(1); n <= 10; n++ {
		if _, err := rt.Deliver(t.Context(), d.Entity, daemon.Event{Sender: sender, Number: n, Payload: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(rt.Shutdown(t.Context()), s.Close()); err != nil {
		t.Fatal(err)
	}
	restored(t, disk)
	s = open()
	rt = start(s)
	return rt, d.Entity, func() {
		if err := errors.Join(rt.Shutdown(context.WithoutCancel(t.Context())), s.Close()); err != nil {
			t.Error(err)
		}
	}
}

func someKeyPair(t *testing.T) *identity.KeyPair {
	t.Helper()
	k, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func publish(t *testing.T, rt *host.Runtime) error {
	t.Helper()
	_, err := rt.Channels().Publish(t.Context(), "news", identity.EntityID{}, []byte("x"))
	return err
}

// A restored node serves neither its daemons nor its channels, for however long nobody
// speaks, until an operator has confirmed both.
func TestRestoredNodeWaitsForItsOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rt, id, end := restoredNode(t, func() *host.Twin { return nil })
		defer end()
		time.Sleep(24 * time.Hour)
		deliver := func() error {
			_, err := rt.Deliver(t.Context(), id, daemon.Event{Sender: someone(t), Number: 1, Payload: []byte("x")})
			return err
		}
		if err := deliver(); !errors.Is(err, daemon.ErrHeld) {
			t.Errorf("an event: got %v, want ErrHeld", err)
		}
		if err := publish(t, rt); !errors.Is(err, daemon.ErrUnconfirmed) || !errors.Is(err, channel.ErrNotReady) {
			t.Errorf("publishing: got %v, want ErrUnconfirmed", err)
		}
		if _, err := rt.Unconfirmed().Yield(t.Context(), id); !errors.Is(err, daemon.ErrNoneFurther) {
			t.Errorf("giving way to nobody: got %v, want ErrNoneFurther", err)
		}
		if err := rt.Unconfirmed().ConfirmNode(t.Context()); !errors.Is(err, daemon.ErrHeld) {
			t.Errorf("confirming the node before its daemon: got %v, want ErrHeld", err)
		}
		if _, err := rt.Unconfirmed().Confirm(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if err := publish(t, rt); !errors.Is(err, daemon.ErrUnconfirmed) {
			t.Errorf("publishing when the daemon alone is confirmed: got %v, want ErrUnconfirmed", err)
		}
		if err := errors.Join(rt.Unconfirmed().ConfirmNode(t.Context()), deliver(), publish(t, rt)); err != nil {
			t.Errorf("after both are confirmed: %v", err)
		}
		if in := rt.Unconfirmed().Incarnation(); in.Number != 1 || !in.Confirmed {
			t.Errorf("the incarnation is %+v", in)
		}
	})
}

// Beside its twin a restored node confirms nothing, says how far that is, and gives way
// to it where that has as much at least.
func TestRestoredNodeBesideItsTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var twin atomic.Pointer[host.Twin]
		rt, id, end := restoredNode(t, twin.Load)
		defer end()
		twin.Store(&host.Twin{Addr: "10.0.0.1:7433", Standings: []host.TwinStanding{{Entity: id, Epoch: 1, Applied: 9}}})
		time.Sleep(time.Minute)
		held := rt.Unconfirmed().List()
		if len(held) != 1 || !strings.Contains(held[0].Why, "10.0.0.1:7433 and serves it: it has applied 9 events") {
			t.Errorf("it is held as %+v", held)
		}
		if _, err := rt.Unconfirmed().Confirm(t.Context(), id); !errors.Is(err, host.ErrTwin) {
			t.Errorf("confirming: got %v, want ErrTwin", err)
		}
		if _, err := rt.Unconfirmed().Yield(t.Context(), id); !errors.Is(err, daemon.ErrNoneFurther) {
			t.Errorf("giving way to one that has less: got %v, want ErrNoneFurther", err)
		}
		twin.Store(&host.Twin{Addr: "10.0.0.1:7433", Standings: []host.TwinStanding{{Entity: id, Epoch: 1, Applied: 20}}})
		time.Sleep(time.Minute)
		if held = rt.Unconfirmed().List(); len(held) != 1 || !strings.Contains(held[0].Why, "has gone further: it has applied 20 events") {
			t.Errorf("it is held as %+v", held)
		}
		there := twin.Swap(nil)
		if _, err := rt.Unconfirmed().Yield(t.Context(), id); !errors.Is(err, daemon.ErrNoneFurther) {
			t.Errorf("giving way to one that is gone: got %v, want ErrNoneFurther", err)
		}
		twin.Store(there)
		if _, err := rt.Unconfirmed().Yield(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if _, err := rt.Daemons().Inspect(id); !errors.Is(err, daemon.ErrNotFound) || len(movedDaemons(t, rt)) != 0 {
			t.Errorf("after it gave way: %v, moved %v", err, movedDaemons(t, rt))
		}
		if kept, err := rt.Evidence().Of(id); err != nil || len(kept) != 1 {
			t.Errorf("the evidence of what it had: %+v, %v", kept, err)
		}
		if err := rt.Unconfirmed().ConfirmNode(t.Context()); !errors.Is(err, host.ErrTwin) {
			t.Errorf("confirming the node: got %v, want ErrTwin", err)
		}
	})
}

// A restored copy of a daemon that moved on after the backup is held for the proof of the
// node that has it, whenever that comes, and gives way to it.
func TestRestoredDaemonThatMovedNamesItsNode(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint(late), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPair(t)
				a, b := p.nodes[0], p.nodes[1]
				d, err := a.rt.Spawn(t.Context(), daemon.SpawnRequest{Kind: "heavy", Name: "c1"})
				if err != nil {
					t.Fatal(err)
				}
				old := a.disk.CrashClone(vfs.CrashCloneCfg{})
				m, err := a.rt.StartMigration(t.Context(), d.Entity, b.rt.Self())
				if err == nil {
					_, err = m.Wait(t.Context())
				}
				if err != nil {
					t.Fatal(err)
				}
				a.kill()
				a.disk = restored(t, old)
				p.net.SetDown(b.rt.Self(), late)
				a.start()
				if late {
					time.Sleep(time.Minute)
					if held := a.rt.Unconfirmed().List(); len(held) != 1 || held[0].Reason != daemon.HoldUnconfirmed {
						t.Errorf("while the other node is away: %+v", held)
					}
					p.net.SetDown(b.rt.Self(), false)
					a.rt.Unconfirmed().PeerCame(b.rt.Self())
					time.Sleep(time.Second)
				}
				if held := a.rt.Unconfirmed().List(); len(held) != 1 || held[0].Reason != daemon.HoldSurpassed || held[0].Node != b.rt.Self() {
					t.Errorf("it is held as %+v", held)
				}
				if _, err := a.rt.Unconfirmed().Confirm(t.Context(), d.Entity); !errors.Is(err, daemon.ErrFurther) {
					t.Errorf("confirming: got %v, want ErrFurther", err)
				}
				if _, err := a.rt.Unconfirmed().Yield(t.Context(), d.Entity); err != nil {
					t.Fatal(err)
				}
				var moved *daemon.MovedError
				if _, err := a.rt.Daemons().Inspect(d.Entity); !errors.As(err, &moved) || moved.Node != b.rt.Self() {
					t.Errorf("after it gave way: %v", err)
				}
			})
		})
	}
}

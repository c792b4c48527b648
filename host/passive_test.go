package host_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
)

// quietHost is a runtime of native daemons on a disk in memory.
func quietHost(t *testing.T, s *store.Store, o host.Options) *host.Runtime {
	t.Helper()
	o.Store = s
	if o.Node == nil {
		o.Node = newKey(t)
	}
	r, err := host.New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	if err := errors.Join(r.RegisterFactory("n", nativeFactory(&made)), r.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	return r
}

func openStore(t *testing.T, dir string, fs vfs.FS) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{Dir: dir, FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func stateOf(t *testing.T, r *host.Runtime, d daemon.Info) daemon.Info {
	t.Helper()
	i, err := r.Daemons().Inspect(d.Entity)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// An idle daemon leaves memory, is listed as it stands, and comes back with
// its next event; over a restart, a snapshot, a stop, a crash too.
func TestIdleDaemonsLeaveMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs, dir, key := vfs.NewCrashableMem(), t.TempDir(), newKey(t)
		s := openStore(t, dir, fs)
		o := host.Options{Node: key, PassivateAfter: time.Minute}
		r := quietHost(t, s, o)
		d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: "d"})
		if err != nil {
			t.Fatal(err)
		}
		sender := newKey(t).ID()
		number := uint64(0)
		send := func(want string) {
			t.Helper()
			number++
			ev := daemon.Event{Sender: sender, Number: number, Payload: []byte("x")}
			for range 2 {
				res, err := r.Deliver(ctx, d.Entity, ev)
				if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != want {
					t.Fatalf("%+v, %v; want %s", res, err, want)
				}
			}
		}
		send("1")
		send("2")
		before := stateOf(t, r, d)
		if before.State != "running" {
			t.Errorf("it is %s", before.State)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		after := stateOf(t, r, d)
		if after.State != "passive" || after.Head != before.Head || after.Sequence != 2 || after.EventsProcessed != 2 {
			t.Errorf("passive, it is %+v", after)
		}
		restart := func(crash bool) {
			t.Helper()
			old, oldStore := r, s
			if crash {
				fs = fs.CrashClone(vfs.CrashCloneCfg{})
			}
			if err := errors.Join(old.Shutdown(ctx), oldStore.Close()); err != nil {
				t.Fatal(err)
			}
			s = openStore(t, dir, fs)
			r = quietHost(t, s, o)
		}
		restart(true)
		if again := stateOf(t, r, d); again.State != "passive" || again.Head != before.Head || again.Epoch != before.Epoch {
			t.Errorf("after a restart: %+v", again)
		}
		if done, total := r.Node().Recovery(); done != 0 || total != 0 {
			t.Errorf("%d of %d were recovered", done, total)
		}
		send("3")
		if now := stateOf(t, r, d); now.State != "running" || now.Sequence != 3 {
			t.Errorf("after an event: %+v", now)
		}
		restart(true) // the mark went with the event
		if now := stateOf(t, r, d); now.State != "running" || now.Sequence != 3 {
			t.Errorf("after a crash: %+v", now)
		}
		send("4")
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if snap, err := r.Snapshot(ctx, d.Entity); err != nil || snap.Header.Through != 4 || snap.Verify() != nil {
			t.Errorf("a snapshot of a passive daemon: %+v, %v", snap, err)
		}
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if err := r.Stop(ctx, d.Entity); err != nil {
			t.Error(err)
		}
		restart(false)
		if n := r.DaemonCount(); n != 0 {
			t.Errorf("%d daemons after a stop", n)
		}
		if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
			t.Error(err)
		}
	})
}

// heavy is a native daemon that says it is large.
type heavy struct{ native }

func (h *heavy) MemoryBytes() int64 { return 1 << 20 }

// Many more daemons than fit are served at once, each exactly once.
func TestMoreDaemonsThanMemory(t *testing.T) {
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := host.New(ctx, host.Options{Store: s, ActiveBytes: 4 << 20})
	if err != nil {
		t.Fatal(err)
	}
	factory := daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &heavy{}, nil })
	if err := errors.Join(r.RegisterFactory("h", factory), r.Start(ctx)); err != nil {
		t.Fatal(err)
	}
	const many, events = 32, 20
	var daemons []daemon.Info
	for i := range many {
		d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "h", Name: fmt.Sprint("h", i)})
		if err != nil {
			t.Fatal(err)
		}
		daemons = append(daemons, d)
	}
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for e := 1; e <= events; e++ {
				for i := w; i < many; i += 4 {
					res, err := r.Deliver(ctx, daemons[i].Entity, daemon.Event{Payload: []byte("x")})
					if err != nil || string(res.Outputs[0].Payload) != fmt.Sprint(e) {
						t.Errorf("daemon %d, event %d: %v, %v", i, e, res, err)
						return
					}
				}
			}
		})
	}
	wg.Wait()
	waitFor(t, "passive daemons", func() bool {
		passive := 0
		for _, i := range r.Daemons().List() {
			if i.State == "passive" {
				passive++
			}
		}
		return passive >= many-5
	})
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// shiftedClock is this machine's clock, shifted by so many nanoseconds. It may be shifted
// while others read it.
type shiftedClock struct{ by atomic.Int64 }

func (c *shiftedClock) now() time.Time { return time.Now().Add(time.Duration(c.by.Load())) }

// waitFor waits until ok holds.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("no %s after a minute", what)
		}
	}
}

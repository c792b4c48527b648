package host_test

import (
	"context"
	"errors"
	"fmt"
	goruntime "runtime"
	"sync"
	"sync/atomic"
	"testing"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// spawnBeside spawns daemons of the kind n, side by side, and sends two of three an event.
func spawnBeside(t *testing.T, r *host.Runtime, many int) []identity.EntityID {
	t.Helper()
	ids, errs := make([]identity.EntityID, many), make([]error, many)
	var work sync.WaitGroup
	next := make(chan int)
	for range 32 {
		work.Go(func() {
			for i := range next {
				d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "n", Name: fmt.Sprint("d", i)})
				if err == nil && i%3 > 0 {
					_, err = r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")})
				}
				ids[i], errs[i] = d.Entity, err
			}
		})
	}
	for i := range many {
		next <- i
	}
	close(next)
	work.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return ids
}

// A node with more daemons than it reads before it is ready shows them all as they are,
// serves each that is asked for before those that nobody waits for, and reads the rest.
func TestUnreadDaemons(t *testing.T) {
	const many = host.EagerMost + 300
	dir, key := t.TempDir(), newKey(t)
	gate := make(chan struct{})
	var made atomic.Int64
	node := func(gated bool) (*host.Runtime, *store.Store) {
		s := openStore(t, dir, nil)
		r, err := host.New(ctx, host.Options{Node: key, Store: s})
		if err == nil {
			err = r.RegisterFactory("n", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
				if made.Add(1) > host.EagerMost && gated {
					<-gate
				}
				return &native{}, nil
			}))
		}
		if err == nil {
			err = r.Start(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		return r, s
	}
	r, s := node(false)
	ids := spawnBeside(t, r, many)
	if err := s.Close(); err != nil { // as a crash: no state is stored
		t.Fatal(err)
	}
	if err := r.Shutdown(ctx); !errors.Is(err, store.ErrClosed) {
		t.Fatal(err)
	}

	made.Store(0)
	r, s = node(true)
	done, total := r.Node().Recovery()
	if total != many || done >= many {
		t.Fatalf("%d of %d daemons are recovered when the node is ready; want all but some", done, total)
	}
	for i, id := range ids {
		got, err := r.Daemons().Inspect(id)
		if want := uint64(min(i%3, 1)); err != nil || got.Sequence != want || got.EventsProcessed != want || got.Epoch != 1 {
			t.Fatalf("daemon %d is shown as %+v, %v; want sequence %d", i, got, err, want)
		}
	}
	for made.Load() < int64(host.EagerMost+host.Readers()) { // each reader has one, and waits at the gate
		goruntime.Gosched()
	}
	var last identity.EntityID // an unread one that is not the next: those are held up
	for i, id := range ids {
		if i%3 > 0 && host.Unread(r, id) {
			last = id
		}
	}
	if last == (identity.EntityID{}) {
		t.Fatal("no daemon is unread")
	}
	sent := make(chan error, 1)
	go func() {
		res, err := r.Deliver(ctx, last, daemon.Event{Payload: []byte("x")})
		if err == nil && string(res.Outputs[0].Payload) != "2" {
			err = fmt.Errorf("it is answered %q, want 2", res.Outputs[0].Payload)
		}
		sent <- err
	}()
	host.AwaitWanted(r, last)
	if next := host.NextUnread(r); next != last {
		t.Errorf("daemon %s is read next, want %s, which somebody waits for", next.Origin(), last.Origin())
	}
	close(gate)
	if err := <-sent; err != nil {
		t.Errorf("an event for a daemon that was unread: %v", err)
	}
	for done < total {
		done, total = r.Node().Recovery()
	}
	for i, id := range ids {
		if got, err := r.Daemons().Inspect(id); err != nil || got.State != "running" {
			t.Fatalf("daemon %d: %+v, %v; want it running", i, got, err)
		}
	}
	if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
		t.Error(err)
	}
}

// A node that ends before it has read its daemons ends at once, and loses none.
func TestUnreadDaemonsAtTheEnd(t *testing.T) {
	const many = host.EagerMost + 50
	dir, key := t.TempDir(), newKey(t)
	for round := range 3 {
		s := openStore(t, dir, nil)
		r, err := host.New(ctx, host.Options{Node: key, Store: s})
		if err == nil {
			err = errors.Join(r.RegisterFactory("n", nativeFactory(new(int))), r.Start(ctx))
		}
		if err != nil {
			t.Fatal(err)
		}
		if round > 0 && r.DaemonCount() != many {
			t.Fatalf("round %d: %d daemons, want %d", round, r.DaemonCount(), many)
		}
		if round == 0 {
			spawnBeside(t, r, many)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Shutdown(ctx); err != nil && !errors.Is(err, store.ErrClosed) {
			t.Errorf("round %d: %v", round, err)
		}
		if round > 0 {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
)

// query asks, and fails the test where that is not answered with want after so many events.
func (n *node) query(d daemon.Info, question, want string, applied uint64) {
	n.t.Helper()
	a, err := n.Daemons().Query(n.t.Context(), d.Entity, []byte(question))
	if err != nil || string(a.Payload) != want || a.Applied != applied {
		n.t.Fatalf("%s: %q after %d events, %v; want %q after %d", question, a.Payload, a.Applied, err, want, applied)
	}
}

// A query sees what events left, changes nothing whatever it does, and leaves no record: not
// when the daemon is passive, not over a restart, not after a move. Faults are typed.
func TestQueries(t *testing.T) {
	net, key, dir := new(hosttest.Net), newKey(t), t.TempDir()
	passive := func(o *host.Options) { o.PassivateAfter = time.Hour }
	a := start(t, net, key, dir, passive)
	a.push("asked", "c/asked.wasm")
	d := a.spawn("asked", "d")
	a.wantSend(d.Entity, "x", "1")
	a.wantSend(d.Entity, "x", "2")
	before := a.chain(d.Entity)

	ask := func(n *node) {
		t.Helper()
		n.query(d, "count", "2", 2)
		n.query(d, "write", "1002", 2)
		n.query(d, "grow", "2", 2)
		n.query(d, "slow", "2", 2) // longer than events wait: a copy answers
		n.query(d, "size", "1", 2)
		for question, want := range map[string]struct {
			kind abi.FaultKind
			text string
		}{"loop": {abi.FaultLimit, "fuel"}, "trap": {abi.FaultTrap, "asked to trap"}, "fail": {abi.FaultError, "asked to fail"},
			"emit": {abi.FaultAnswer, "emit in wasmhost_query"}, "send": {abi.FaultAnswer, "send in wasmhost_query"},
			"timer": {abi.FaultAnswer, "timer in wasmhost_query"}, "huge": {abi.FaultLimit, "more than 4194304"}} {
			_, err := n.Daemons().Query(ctx, d.Entity, []byte(question))
			var fault *daemon.GuestError
			if !errors.As(err, &fault) || fault.Kind != want.kind || !strings.Contains(err.Error(), want.text) {
				t.Errorf("%s: %v, want a fault of kind %s: %s", question, err, want.kind, want.text)
			}
		}
		n.query(d, "count", "2", 2)
	}
	ask(a)
	if _, err := a.Daemons().Query(ctx, d.Entity, bytes.Repeat([]byte("x"), 2<<20)); !errors.Is(err, daemon.ErrTooLarge) {
		t.Errorf("a question of 2 MiB: %v, want ErrTooLarge", err)
	}
	if !a.Passivate(d.Entity) {
		t.Fatal("the daemon does not become passive")
	}
	a.query(d, "count", "2", 2)
	if after := a.chain(d.Entity); !bytes.Equal(before, after) {
		t.Error("the chain is another after queries")
	}
	a.stop()

	a = start(t, net, key, dir, passive)
	a.query(d, "count", "2", 2)
	b := start(t, net, newKey(t), t.TempDir(), nil)
	a.migrate(d.Entity, b)
	ask(b)
	var moved *daemon.MovedError
	if _, err := a.Daemons().Query(ctx, d.Entity, []byte("count")); !errors.As(err, &moved) || moved.Node != b.Self() {
		t.Errorf("a query where the daemon was: %v, want MovedError", err)
	}
	b.wantSend(d.Entity, "x", "3")
	b.query(d, "count", "3", 3)
}

// Code that answers no queries says so, native or not.
func TestDaemonsWithoutQueries(t *testing.T) {
	n := start(t, new(hosttest.Net), newKey(t), t.TempDir(), nil)
	n.push("counter", "c/counter.wasm")
	made := 0
	if err := n.RegisterFactory("n", nativeFactory(&made)); err != nil {
		t.Fatal(err)
	}
	for _, d := range []daemon.Info{n.spawn("counter", "c"), n.spawn("n", "n")} {
		if _, err := n.Daemons().Query(ctx, d.Entity, nil); !errors.Is(err, daemon.ErrNoQueries) {
			t.Errorf("%s: %v, want ErrNoQueries", d.Name, err)
		}
	}
}

// Many queries at a time beside an event that takes long are all answered before it ends, by
// what the daemon was before; after it they see it. Events wait for no query that takes long.
func TestQueriesBesideALongEvent(t *testing.T) {
	n := start(t, new(hosttest.Net), newKey(t), t.TempDir(), nil)
	n.push("asked", "c/asked.wasm")
	d := n.spawn("asked", "d")
	n.wantSend(d.Entity, "x", "1")

	long := make(chan error, 1)
	go func() {
		_, err := n.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("long")})
		long <- err
	}()
	n.AwaitBusy(d.Entity)
	var all sync.WaitGroup
	answers := make(chan error, 200)
	for k := range cap(answers) {
		all.Go(func() {
			question := []string{"count", "write", "trap"}[k%3]
			a, err := n.Daemons().Query(ctx, d.Entity, []byte(question))
			var fault *daemon.GuestError
			switch want := map[string]string{"count": "1", "write": "1001"}[question]; {
			case question == "trap" && !errors.As(err, &fault):
				answers <- fmt.Errorf("trap: %w", err)
			case question != "trap" && (err != nil || string(a.Payload) != want || a.Applied != 1):
				answers <- fmt.Errorf("%s: %q after %d events, %w; want %s after 1", question, a.Payload, a.Applied, err, want)
			}
		})
	}
	all.Wait()
	select {
	case err := <-long:
		t.Fatalf("the queries waited for the event, which ended with %v", err)
	default:
	}
	close(answers)
	for err := range answers {
		t.Error(err)
	}
	if err := <-long; err != nil {
		t.Fatal(err)
	}
	n.query(d, "count", "2", 2)

	loops := make(chan error, 1)
	go func() {
		_, err := n.Daemons().Query(ctx, d.Entity, []byte("loop"))
		loops <- err
	}()
	for k := range 5 {
		n.wantSend(d.Entity, "x", fmt.Sprint(3+k))
	}
	var fault *daemon.GuestError
	if err := <-loops; !errors.As(err, &fault) || fault.Limit != abi.LimitFuel {
		t.Errorf("a query that loops: %v, want the limit fuel", err)
	}
}

// Queries of one daemon that wait are bounded, and one that its caller gives up leaves its
// place.
func TestQueriesAreBounded(t *testing.T) {
	r, c := newCounted(t)
	d := spawnWith(t, r, nil)
	first := deliverAll(t.Context(), r, d.Entity, "wait")
	<-c.entered
	gone, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for range daemon.MaxQueries {
		go func() {
			_, err := r.Daemons().Query(gone, d.Entity, nil)
			ended <- err
		}()
	}
	r.AwaitQueries(d.Entity, daemon.MaxQueries)
	if _, err := r.Daemons().Query(t.Context(), d.Entity, nil); !errors.Is(err, daemon.ErrManyQueries) {
		t.Errorf("one more query: %v, want ErrManyQueries", err)
	}
	cancel()
	for range daemon.MaxQueries {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("a query that was given up: %v", err)
		}
	}
	late := make(chan error)
	go func() {
		_, err := r.Daemons().Query(t.Context(), d.Entity, nil)
		late <- err
	}()
	r.AwaitQueries(d.Entity, 1)
	c.leave <- struct{}{}
	if err := errors.Join(<-first); err != nil {
		t.Error(err)
	}
	if err := <-late; !errors.Is(err, daemon.ErrNoQueries) {
		t.Errorf("a query of native code: %v, want ErrNoQueries", err)
	}
}

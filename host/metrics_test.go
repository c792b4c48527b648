package host_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/tally"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// counted is a native daemon that does as its events say.
type counted struct {
	native
	entered, leave chan struct{}
}

func (c *counted) Process(_ *daemon.Call, payload []byte) ([][]byte, error) {
	switch string(payload) {
	case "twice":
		return [][]byte{{1}, {2}}, nil
	case "wait":
		c.entered <- struct{}{}
		<-c.leave
		return nil, nil
	case "fuel":
		return nil, &daemon.GuestError{Kind: abi.FaultLimit, Limit: abi.LimitFuel}
	case "trap":
		return nil, &daemon.GuestError{Kind: abi.FaultTrap}
	}
	return nil, errors.New("its own")
}

func newCounted(t *testing.T) (*host.Runtime, *counted) {
	t.Helper()
	ctx := context.Background()
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := host.New(ctx, host.Options{Store: s})
	c := &counted{entered: make(chan struct{}), leave: make(chan struct{})}
	if err == nil {
		err = errors.Join(r.RegisterFactory("counted", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return c, nil })), r.Start(ctx))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(r.Shutdown(ctx), s.Close()); err != nil {
			t.Error(err)
		}
	})
	return r, c
}

// What is counted of a kind is what its daemons did, however they did it, and
// stays when they are gone.
func TestMetricsCountWhatDaemonsDid(t *testing.T) {
	ctx := context.Background()
	r, _ := newCounted(t)
	early := r.Metrics()
	if k := early.Kinds["counted"]; len(k.Failures) < 10 || len(k.PassedOver) != len(host.InternalSources) || len(k.Returned) < 20 || k.Returned[host.Return{Why: "start", Outcome: "failed"}] != 0 {
		t.Errorf("before there is a daemon, of its kind is counted %+v", k)
	}
	for _, role := range []string{"source", "target"} {
		for _, outcome := range []string{"moved", "other", migration.Denied.String(), migration.Equivocated.String()} {
			if n, ok := early.Moves[host.MoveOutcome{Kind: "counted", Role: role, Outcome: outcome}]; !ok || n != 0 {
				t.Errorf("before there is a daemon, %s at the %s is counted %d, %v", outcome, role, n, ok)
			}
		}
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counted"})
	if err != nil {
		t.Fatal(err)
	}
	happened := r.Notifications(ctx, time.Time{})
	const good = 2*tally.SampledEvents + 1
	for i := range good {
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("twice")}); err != nil {
			t.Fatal(i, err)
		}
	}
	for _, text := range []string{"fuel", "fuel", "trap", "own"} {
		if _, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(text)}); err == nil {
			t.Fatal("no error")
		}
	}
	sender, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	named := daemon.Event{Sender: sender.ID(), Number: 1, Payload: []byte("twice")}
	for range 2 {
		if _, err := r.Deliver(ctx, d.Entity, named); err != nil {
			t.Fatal(err)
		}
	}
	k := r.Metrics().Kinds["counted"]
	if k.Events != good+1 || k.Outputs != 2*(good+1) || k.Repeats != 1 || k.Refused != 0 {
		t.Errorf("%d events, %d outputs, %d repeats, %d refused", k.Events, k.Outputs, k.Repeats, k.Refused)
	}
	if k.Failures[abi.LimitFuel] != 2 || k.Failures["trap"] != 1 || k.Failures["error"] != 1 {
		t.Errorf("failures %v", k.Failures)
	}
	if k.Process.Count != 3 || k.Delivery.Count != 3 || k.Delivery.Sum < k.Process.Sum {
		t.Errorf("%d were timed, %d until durable; %g s, %g s", k.Process.Count, k.Delivery.Count, k.Process.Sum, k.Delivery.Sum)
	}
	if k.Daemons["running"] != 1 || len(k.Daemons) != 1 {
		t.Errorf("daemons %v", k.Daemons)
	}
	if err := r.Stop(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	if k := r.Metrics().Kinds["counted"]; k.Events != good+1 || len(k.Daemons) != 0 {
		t.Errorf("after its end: %d events, daemons %v", k.Events, k.Daemons)
	}
	if h := <-happened; h.Topic != daemon.Removed || h.Entity != d.Entity || h.Kind != "counted" {
		t.Errorf("happened: %+v", h)
	}
}

// A mailbox that is full is counted with its kind.
func TestMetricsCountFullMailboxes(t *testing.T) {
	ctx := context.Background()
	r, c := newCounted(t)
	own, err := daemon.LimitsOf(map[string]int64{"mailbox": 1})
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Spawn(ctx, daemon.SpawnRequest{Kind: "counted", Limits: own})
	if err != nil {
		t.Fatal(err)
	}
	send := func(done chan<- error) {
		_, err := r.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("wait")})
		done <- err
	}
	first, others := make(chan error, 1), make(chan error, 2)
	go send(first)
	<-c.entered
	go send(others) // one of the two finds room to wait in, the other none
	go send(others)
	err = <-others
	close(c.leave)
	<-c.entered
	if err := errors.Join(<-first, <-others); err != nil {
		t.Error(err)
	}
	if !errors.Is(err, daemon.ErrMailboxFull) || r.Metrics().Kinds["counted"].Refused != 1 {
		t.Errorf("%v; %d were refused", err, r.Metrics().Kinds["counted"].Refused)
	}
}

package wire

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"wasmhost.example/host/broker"
	"wasmhost.example/host/channel"
	"wasmhost.example/identity"
	"wasmhost.example/wire/trust"
)

// A daemon hears every event once, in order, whatever node it is on meanwhile.
func TestEventsReachAMovingSubscriber(t *testing.T) {
	a, b, c := newNode(t, "a"), newNode(t, "b"), newNode(t, "c")
	join(t, a.mesh, b.mesh)
	join(t, a.mesh, c.mesh)
	join(t, b.mesh, c.mesh)
	root := newKey(t)
	if _, err := a.rt.Channels().Create(ctx, "sensors/ticks", broker.Policy{Roots: []identity.EntityID{root.ID()}}); err != nil {
		t.Fatal(err)
	}
	id := counter(t, b)
	if err := b.rt.Subscriptions().Subscribe(ctx, id, a.mesh.Self(), "sensors/ticks", nil); !errors.Is(err, channel.ErrNoToken) {
		t.Fatalf("without a token: %v", err)
	}
	token, err := identity.IssueToken(root, identity.TokenRequest{Subject: id, Scope: identity.ScopeSubscribe, Channel: "sensors/ticks", TTL: time.Hour}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	enc, err := token.Bytes()
	if err == nil {
		err = b.rt.Subscriptions().Subscribe(ctx, id, a.mesh.Self(), "sensors/ticks", enc)
	}
	if err != nil {
		t.Fatal(err)
	}
	const events, batch = 6000, 50
	done := make(chan error, 1)
	go func() {
		payloads := make([][]byte, batch)
		for i := 0; i < events; i += batch {
			for k := range payloads {
				payloads[k] = fmt.Appendf(nil, "%064d", i+k)
			}
			if _, err := a.rt.Channels().Publish(ctx, "sensors/ticks", identity.EntityID{}, payloads...); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	at := b
	for _, to := range []*testNode{c, b, c} {
		m, err := at.rt.StartMigration(ctx, id, to.mesh.Self())
		if err == nil {
			_, err = m.Wait(ctx)
		}
		if err != nil {
			t.Fatal(err)
		}
		at = to
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	outputs, err := at.rt.Outputs().TailAfter(ctx, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= events; i++ {
		if o := <-outputs; string(o.Payload) != fmt.Sprint(i) {
			t.Fatalf("output %d is %q", i, o.Payload)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		list, err := at.rt.Subscriptions().Of(id)
		if err != nil || len(list) != 1 || list[0].Cursor != events {
			t.Fatalf("the ledger has %d subscriptions, %v", len(list), err)
		}
		if list[0].State == "live" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is %s: %s", list[0].State, list[0].Reason)
		}
	}
}

func TestChannelRights(t *testing.T) {
	a, b := newNode(t, "a"), newNode(t, "b")
	join(t, a.mesh, b.mesh)
	if _, err := a.rt.Channels().Create(ctx, "open", broker.Policy{}); err != nil {
		t.Fatal(err)
	}
	id, echo := counter(t, b), counter(t, a)
	outputs := channel.OutputsOf(echo.Origin())
	subscribe := func(name string) error { return b.rt.Subscriptions().Subscribe(ctx, id, a.mesh.Self(), name, nil) }
	for _, c := range []struct {
		rights        trust.Rights
		open, outputs error
	}{
		{trust.RightsAll, nil, nil}, {trust.RightChannels, nil, channel.ErrNoToken}, {trust.RightRead, channel.ErrDenied, nil}, {0, channel.ErrDenied, channel.ErrNoToken},
	} {
		if err := a.mesh.Grant(b.mesh.config.Identity.ID(), c.rights); err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]error{"open": c.open, outputs: c.outputs} {
			err := subscribe(name)
			if want == nil && err != nil || !errors.Is(err, want) {
				t.Errorf("%s with %s: %v", name, c.rights, err)
			}
			if err == nil {
				err = b.rt.Subscriptions().Unsubscribe(ctx, id, a.mesh.Self(), name)
				if err != nil {
					t.Error(err)
				}
			}
		}
	}
}

package host_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/identity"
)

// What a repeat is told is what was recorded, however the senders' events lie
// among each other and in whatever order they are repeated; what was never
// applied, or is another event, is no repeat.
func TestRepeatsAreFound(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("echo", "c/echo.wasm")
	d := a.spawn("echo", "e")
	senders := []identity.EntityID{identity.NamedSender("x"), identity.NamedSender("y"), identity.NamedSender("z")}
	send := func(sender int, number uint64, text string) (daemon.Result, error) {
		return a.Deliver(ctx, d.Entity, daemon.Event{Sender: senders[sender], Number: number, Payload: []byte(text)})
	}
	text := func(sender int, number uint64) string { return fmt.Sprintf("%d/%d", sender, number) }
	for n := uint64(2); n <= 40; n += 2 { // only even numbers are used
		for s := range senders {
			if s == 2 && n%3 != 0 {
				continue
			}
			if res, err := send(s, n, text(s, n)); err != nil || res.Duplicate {
				t.Fatalf("sender %d, event %d: %+v, %v", s, n, res, err)
			}
		}
	}
	orders := map[string]func(i uint64) uint64{
		"forward":  func(i uint64) uint64 { return i },
		"backward": func(i uint64) uint64 { return 41 - i },
		"jumping":  func(i uint64) uint64 { return i * 17 % 41 },
	}
	for name, order := range orders {
		for i := uint64(1); i <= 40; i++ {
			for s := range senders {
				n := order(i)
				if s == 2 && n > 36 { // above its last
					continue
				}
				res, err := send(s, n, text(s, n))
				if used := n%2 == 0 && (s != 2 || n%3 == 0); !used {
					if !errors.Is(err, daemon.ErrSuperseded) {
						t.Errorf("%s: sender %d, event %d, which was never sent: %+v, %v", name, s, n, res, err)
					}
					continue
				}
				if err != nil || !res.Duplicate || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != text(s, n) {
					t.Errorf("%s: sender %d, event %d: %+v, %v", name, s, n, res, err)
				}
				if _, err := send(s, n, "another"); !errors.Is(err, daemon.ErrReused) {
					t.Errorf("%s: sender %d, event %d with another payload: %v", name, s, n, err)
				}
			}
		}
	}
}

// A tail after a sequence has what the history holds and goes on with what
// comes, each output once and in order.
func TestTailAfterHasNoGap(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	const events = 300
	for i := range events / 3 {
		a.wantSend(d.Entity, "x", fmt.Sprint(i+1))
	}
	c, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, after := range []uint64{0, 1, 50, 99, 100, 1000} {
		outputs, err := a.Outputs().TailAfter(c, d.Entity, after)
		if err != nil {
			t.Fatal(err)
		}
		if after == 1000 { // not there yet: nothing comes, and nobody waits
			continue
		}
		sent := make(chan error, 1)
		if after == 0 {
			go func() {
				for range events - events/3 {
					if _, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte("x")}); err != nil {
						sent <- err
						return
					}
				}
				sent <- nil
			}()
		} else {
			sent <- nil
		}
		for want := after + 1; want <= events; want++ {
			o, ok := <-outputs
			if !ok || o.Link.Sequence != want || string(o.Payload) != fmt.Sprint(want) {
				t.Fatalf("after %d: output %d is %+v, %v", after, want, o, ok)
			}
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	if _, err := a.Outputs().TailAfter(c, identity.EntityID{1}, 0); !errors.Is(err, daemon.ErrNotFound) {
		t.Errorf("an unknown daemon: %v", err)
	}
}

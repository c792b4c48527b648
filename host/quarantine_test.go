package host_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/broker"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// picky answers each event with all that it can know of it, and remembers that. It fails
// while it is broken, but for "arm", which sets a timer of a minute.
type picky struct {
	broken *atomic.Bool
	heard  []string
}

func pickyFactory(broken *atomic.Bool) daemon.Factory {
	return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &picky{broken: broken}, nil })
}

func (*picky) Name() string                      { return "picky" }
func (*picky) Requirements() daemon.Requirements { return daemon.Requirements{} }
func (p *picky) Snapshot(*daemon.Call) ([]byte, error) {
	return []byte(strings.Join(p.heard, "\n")), nil
}

func (p *picky) Restore(_ *daemon.Call, b []byte) error {
	if p.heard = nil; len(b) > 0 {
		p.heard = strings.Split(string(b), "\n")
	}
	return nil
}

func (p *picky) Process(c *daemon.Call, b []byte) ([][]byte, error) {
	switch {
	case string(b) == "what":
		return [][]byte{[]byte(strings.Join(p.heard, "\n"))}, nil
	case string(b) == "arm":
		_, err := c.SetTimer(time.Unix(0, c.Time).Add(time.Minute), []byte("tick"))
		return [][]byte{nil}, err
	case p.broken.Load():
		return nil, errors.New("it is broken")
	}
	heard := fmt.Sprintf("kind %d from %.4s channel %q at %d: %s", c.Kind, c.Sender, c.Channel, c.Time, b)
	p.heard = append(p.heard, heard)
	return [][]byte{[]byte(heard)}, nil
}

// TestARetriedEventIsTheEvent has a daemon fail on an event of each kind. Tried again, each
// is what it was, also when the history is replayed and when the daemon has moved.
func TestARetriedEventIsTheEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		s := newStage(t, 2)
		a, publisher := s.nodes[0], newKey(t).ID()
		i, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "picky"})
		if err != nil {
			t.Fatal(err)
		}
		d, other := i.Entity, a.actor(anybody()).Entity
		a.create("ticks", broker.Policy{})
		a.subscribe(d, a, "ticks", nil)
		synctest.Wait()

		s.broken.Store(true)
		a.send(d, "arm")
		began := time.Now()
		sender := identity.NamedSender("someone")
		if _, err := a.Deliver(ctx, d, daemon.Event{Sender: sender, Number: 7, Payload: []byte("direct")}); err == nil {
			t.Fatal("it does not fail")
		}
		time.Sleep(time.Second)
		if _, err := a.Channels().Publish(ctx, "ticks", publisher, []byte("published")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		a.send(other, "send "+d.String()+" sent")
		synctest.Wait()
		time.Sleep(time.Hour)
		s.broken.Store(false)
		if _, err := a.Deliver(ctx, d, daemon.Event{Sender: sender, Number: 9, Payload: []byte("later")}); err != nil {
			t.Fatal(err)
		}
		later := time.Now()

		list, err := a.Quarantine().List(ctx, d)
		if err != nil || len(list) != 4 {
			t.Fatalf("%d failed events: %+v, %v", len(list), list, err)
		}
		at := func(kind daemon.EventKind, from identity.EntityID, channel string, at time.Time, payload string) string {
			return fmt.Sprintf("kind %d from %.4s channel %q at %d: %s", kind, from, channel, at.UnixNano(), payload)
		}
		want := []string{
			at(daemon.EventTimer, d, "", began.Add(time.Minute), "tick"),
			at(daemon.EventDaemon, other, "", began.Add(2*time.Second), "sent"),
			at(daemon.EventChannel, publisher, "ticks", began.Add(time.Second), "published"),
			at(daemon.EventDirect, identity.EntityID{}, "", began, "direct"),
		}
		a.send(d, "arm")
		for n, q := range list {
			if n == 2 { // the others elsewhere
				s.kill(0, rng)
				s.nodes[0].migrate(d, s.nodes[1])
			}
			res, err := s.where(d).Quarantine().Retry(ctx, d, q.Index)
			if err != nil || len(res.Outputs) != 1 || string(res.Outputs[0].Payload) != want[n] {
				t.Errorf("%+v tried again: %+v, %v; want %s", q, res, err, want[n])
			}
		}
		b := s.nodes[1]
		if list, err := b.Quarantine().List(ctx, d); err != nil || len(list) != 0 {
			t.Errorf("tried again, there is still %+v, %v", list, err)
		}
		s.kill(1, rng)
		b = s.nodes[1]
		if list, err := b.Quarantine().List(ctx, d); err != nil || len(list) != 0 {
			t.Errorf("after a crash there is again %+v, %v", list, err)
		}
		want = append([]string{at(daemon.EventDirect, identity.EntityID{}, "", later, "later")}, want...)
		if got := b.heard(d); got != strings.Join(want, "\n") {
			t.Errorf("it has heard\n%s\nwant\n%s", got, strings.Join(want, "\n"))
		}

		for number, taken := range map[uint64]bool{7: false, 9: false, 10: true} { // numbers are where they were
			before := b.mustInspect(d).EventsProcessed
			res, err := b.Deliver(ctx, d, daemon.Event{Sender: sender, Number: number, Payload: []byte(map[bool]string{true: "later", false: "direct"}[number == 9])})
			if number == 9 && (err != nil || !res.Duplicate) {
				t.Errorf("9 again: %+v, %v", res, err)
			}
			if applied := b.mustInspect(d).EventsProcessed > before; applied != taken {
				t.Errorf("event %d was applied: %v, %v", number, applied, err)
			}
		}
		if e, err := b.Daemons().Effects(d); err != nil || len(e.Timers) != 1 {
			t.Errorf("its timers are %+v, %v", e.Timers, err)
		}
		if err := b.proves(d); err != nil {
			t.Error(err)
		}
	})
}

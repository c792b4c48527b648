package host_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// busy is a native daemon that goes on by itself. A direct event says how, in words:
// "timers N" sets N timers that are past, each of which sets itself again; "to ENTITY
// N" has every event answered by N events to that daemon.
type busy struct {
	native
	to     identity.EntityID
	times  int
	events int
}

func (b *busy) Process(c *daemon.Call, p []byte) ([][]byte, error) {
	b.events++
	verb, rest, _ := strings.Cut(string(p), " ")
	var err error
	switch {
	case c.Kind == daemon.EventTimer && verb == "late":
	case c.Kind == daemon.EventTimer:
		_, err = c.SetTimer(time.Unix(0, 1), p)
	case verb == "timers":
		var n int
		_, err = fmt.Sscan(rest, &n)
		for i := 0; i < n && err == nil; i++ {
			_, err = c.SetTimer(time.Unix(0, 1), nil)
		}
	case verb == "late":
		_, err = c.SetTimer(time.Unix(0, c.Time).Add(time.Hour), p)
	case verb == "to":
		var id string
		_, err = fmt.Sscan(rest, &id, &b.times)
		if err == nil {
			b.to, err = identity.ParseEntityID(id)
		}
		if c.Sender != c.Self {
			break
		}
		fallthrough
	case verb == "go" || c.Kind == daemon.EventDaemon:
		for i := 0; i < b.times && err == nil; i++ {
			err = c.Send(b.to, p)
		}
	}
	return nil, err
}

func (b *busy) Snapshot(*daemon.Call) ([]byte, error) {
	return fmt.Appendf(nil, "%s %d %d", b.to, b.times, b.events), nil
}

func (b *busy) Restore(_ *daemon.Call, s []byte) error {
	var to string
	if _, err := fmt.Sscan(string(s), &to, &b.times, &b.events); err != nil {
		return err
	}
	return b.to.UnmarshalText([]byte(to))
}

func busyStage(t *testing.T, nodes int) *stage {
	s := newStage(t, nodes)
	for _, n := range s.nodes {
		err := n.RegisterFactory("busy", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &busy{}, nil }))
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (n *node) busy(g effect.Grants, limits ...string) identity.EntityID {
	n.t.Helper()
	own, err := daemon.ParseLimits(limits)
	if err != nil {
		n.t.Fatal(err)
	}
	i, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "busy", Grants: g, Limits: own})
	if err != nil {
		n.t.Fatal(err)
	}
	return i.Entity
}

func (n *node) tell(id identity.EntityID, text string) {
	n.t.Helper()
	if _, err := n.Deliver(ctx, id, daemon.Event{Payload: []byte(text)}); err != nil {
		n.t.Fatalf("%s: %v", text, err)
	}
}

func (n *node) processed(id identity.EntityID) uint64 {
	n.t.Helper()
	i, err := n.Daemons().Inspect(id)
	if err != nil {
		n.t.Fatal(err)
	}
	return i.EventsProcessed
}

// did returns how many events the daemon processes meanwhile.
func (n *node) did(id identity.EntityID, while time.Duration) uint64 {
	n.t.Helper()
	before := n.processed(id)
	time.Sleep(while)
	return n.processed(id) - before
}

func within(t *testing.T, what string, got, least, most uint64) {
	t.Helper()
	if got < least || got > most {
		t.Errorf("%s: %d, want %d to %d", what, got, least, most)
	}
}

// A timer that sets itself again at a time that has passed fires once an interval.
func TestTimersThatSetThemselvesAreSpaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := busyStage(t, 1).nodes[0]
		one, slow := n.busy(effect.Grants{}), n.busy(effect.Grants{}, "timer-interval=1s")
		n.tell(one, "timers 1")
		n.tell(slow, "timers 3")
		time.Sleep(time.Minute)
		within(t, "events of one timer in 10 s, an interval of 10 ms", n.did(one, 10*time.Second), 990, 1010)
		within(t, "events of three timers in 10 s, an interval of 1 s", n.did(slow, 10*time.Second), 27, 33)
	})
}

// A daemon whose timers are as many as it may have sets them again: the one that
// fires counts no more. What they do in a second is the limit.
func TestAFullTableOfTimersGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := busyStage(t, 1).nodes[0]
		d := n.busy(effect.Grants{})
		n.tell(d, fmt.Sprintf("timers %d", effect.MaxTimers))
		time.Sleep(time.Minute)
		within(t, "events of all timers in 10 s, a rate of 1000", n.did(d, 10*time.Second), 9000, 11500)
		e, err := n.Daemons().Effects(d)
		if err != nil || len(e.Timers) != effect.MaxTimers || e.PassedOver != 0 {
			t.Errorf("after a minute there are %d timers, %d events are passed over, %v", len(e.Timers), e.PassedOver, err)
		}
		if i, err := n.Daemons().Inspect(d); err != nil || i.Errors != 0 {
			t.Errorf("it failed: %+v, %v", i, err)
		}
	})
}

// The timers that are due together fire in one round, of which each is fired once.
func TestTimersOfOneRoundFireInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1)
		n := s.nodes[0]
		d := n.actor(effect.Grants{}).Entity
		n.send(d, "timer 2s b\ntimer 1s a\ntimer 2s c")
		time.Sleep(3 * time.Second)
		n.wantSend(d, "what", "timer:a timer:b timer:c")
	})
}

func TestASelfSenderHasARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := busyStage(t, 1).nodes[0]
		d := n.busy(anybody(), "internal-rate=100")
		n.tell(d, fmt.Sprintf("to %s 1", d))
		for range 50 {
			n.tell(d, "go")
		}
		time.Sleep(time.Minute)
		within(t, "events that it sends itself in 10 s, a rate of 100", n.did(d, 10*time.Second), 900, 1100)
	})
}

// What a daemon makes is bounded in bytes as well.
func TestBytesHaveARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := busyStage(t, 1).nodes[0]
		d, other := n.busy(anybody(), "internal-bytes=1MiB"), n.busy(effect.Grants{})
		n.tell(d, fmt.Sprintf("to %s 1", other))
		n.tell(other, fmt.Sprintf("to %s 0", other))
		time.Sleep(time.Minute)
		big := append([]byte("go "), bytes.Repeat([]byte("x"), 500_000)...)
		for range 30 {
			if _, err := n.Deliver(ctx, d, daemon.Event{Payload: big}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * time.Second)
		within(t, "of 30 events of 500 kB in 2 s, at 1 MiB a second and four saved up", n.processed(other), 10, 16)
		time.Sleep(time.Minute)
		within(t, "of 30 events in a minute", n.processed(other), 31, 31)
	})
}

// A receiver without room takes nothing for now; what was sent to it waits, and
// arrives once in order.
func TestEventsWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := busyStage(t, 2)
		a, b := s.nodes[0], s.nodes[1]
		away, middle, first := b.busy(effect.Grants{}), a.busy(anybody()), a.busy(anybody())
		b.tell(away, fmt.Sprintf("to %s 0", away))
		a.tell(middle, fmt.Sprintf("to %s 500", away))
		a.tell(first, fmt.Sprintf("to %s 1", middle))
		s.net.SetDown(b.Self(), true)
		for range 20 {
			a.tell(first, "go")
		}
		time.Sleep(10 * time.Minute) // far longer than an event waits where all can be reached
		within(t, "events that the middle one took while the far one is away", a.processed(middle), 9, 9)
		e, err := a.Daemons().Effects(first)
		if err != nil || len(e.Pending) != 1 || e.Pending[0].Events != 12 || e.Lost != 0 {
			t.Errorf("what the first one sent is on its way: %+v, %v; want 12 events, none lost", e, err)
		}
		i, err := a.Daemons().Inspect(middle)
		if err != nil || i.Errors != 0 {
			t.Errorf("the middle one failed: %+v, %v", i, err)
		}
		if q, err := a.Quarantine().List(ctx, middle); err != nil || len(q) != 0 {
			t.Errorf("%d failures are recorded, %v", len(q), err)
		}
		s.net.SetDown(b.Self(), false)
		time.Sleep(10 * time.Minute)
		within(t, "events that the far one took", b.processed(away), 20*500+1, 20*500+1)
		within(t, "events that the middle one took", a.processed(middle), 21, 21)
		if err := a.proves(middle); err != nil {
			t.Error(err)
		}
	})
}

// Two daemons of which each waits for room at the other go on: what is passed over
// is recorded, counted, and told to who sent it.
func TestDaemonsThatWaitForOneAnotherGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := busyStage(t, 1).nodes[0]
		a, b := n.busy(anybody()), n.busy(anybody())
		n.tell(a, fmt.Sprintf("to %s 40", b))
		n.tell(b, fmt.Sprintf("to %s 40", a))
		n.tell(a, "go")
		time.Sleep(10 * time.Minute)
		before := n.processed(a) + n.processed(b)
		time.Sleep(time.Hour)
		if after := n.processed(a) + n.processed(b); after == before {
			t.Errorf("they stand still at %d events", after)
		}
		taken, sent := uint64(0), uint64(0)
		for _, id := range []identity.EntityID{a, b} {
			e, err := n.Daemons().Effects(id)
			if err != nil {
				t.Fatal(err)
			}
			taken, sent = taken+e.PassedOver, sent+e.Lost
			logs, err := n.Daemons().Logs(id)
			if err != nil {
				t.Fatal(err)
			}
			told := false
			for _, l := range logs {
				told = told || strings.Contains(l.Text, "passed over")
			}
			if !told {
				t.Errorf("the log of %s does not say that something it sent was passed over: %v", id.Origin(), logs)
			}
		}
		if taken == 0 || taken != sent {
			t.Errorf("%d events were passed over, %d senders were told of", taken, sent)
		}
		if m := n.Metrics().Kinds["busy"].PassedOver; m["daemon"] != taken {
			t.Errorf("counted are %v, want %d", m, taken)
		}
		within(t, "passed over in an hour, at most one for each daemon in 30 s", taken, 1, 2*140)
	})
}

// What fails for good is passed over at once, and told.
func TestAFailedEventIsToldToItsSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, far := range []bool{false, true} {
			s := newStage(t, 2)
			from, at := s.nodes[0], s.nodes[0]
			if far {
				at = s.nodes[1]
			}
			d, to := from.actor(anybody()).Entity, at.busyOn(t)
			from.send(d, fmt.Sprintf("send %s to nobody\nsend %s go", to, to))
			time.Sleep(time.Minute)
			e, err := from.Daemons().Effects(d)
			if err != nil || e.Lost != 1 || len(e.Pending) != 0 {
				t.Errorf("far %v: %+v, %v; want one lost", far, e, err)
			}
			if i, err := at.Daemons().Inspect(to); err != nil || i.Errors != 1 || i.EventsProcessed != 1 {
				t.Errorf("far %v: the receiver is %+v, %v", far, i, err)
			}
		}
	})
}

// busyOn is busy on a node that does not know the kind yet.
func (n *node) busyOn(t *testing.T) identity.EntityID {
	t.Helper()
	err := n.RegisterFactory("busy", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &busy{}, nil }))
	if err != nil {
		t.Fatal(err)
	}
	return n.busy(effect.Grants{})
}

// A direct event that finds no room fails, and may come again under its number.
func TestADirectEventThatFindsNoRoomMayComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		a, b := s.nodes[0], s.nodes[1]
		d, to := a.actor(anybody()).Entity, b.actor(effect.Grants{}).Entity
		s.net.SetDown(b.Self(), true)
		lines := strings.Repeat("send "+to.String()+" x\n", 1000)
		for range 4 {
			a.send(d, lines)
		}
		ev := daemon.Event{Sender: newKey(t).ID(), Number: 1, Payload: []byte(lines)}
		var over *daemon.GuestError
		if _, err := a.Deliver(ctx, d, ev); !errors.As(err, &over) || over.Limit != "pending-effects" {
			t.Fatalf("got %v, want pending-effects", err)
		}
		s.net.SetDown(b.Self(), false)
		time.Sleep(time.Minute)
		if r, err := a.Deliver(ctx, d, ev); err != nil || r.Duplicate {
			t.Errorf("again: %+v, %v", r, err)
		}
		time.Sleep(time.Minute)
		if got := len(strings.Fields(b.send(to, "what"))); got != 5000 {
			t.Errorf("%d arrived, want 5000", got)
		}
	})
}

// A stopped daemon takes nothing, wherever it is and whatever happens; when it is
// started all that waited goes on.
func TestAStoppedDaemonWaitsUntilItIsStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		s := newStage(t, 2)
		a, b := s.nodes[0], s.nodes[1]
		d, from, to := a.actor(anybody()).Entity, b.actor(anybody()).Entity, b.actor(effect.Grants{}).Entity
		s.net.SetDown(b.Self(), true)
		a.send(d, "timer 1m own\nsend "+to.String()+" out")
		for range 2 { // the second changes nothing
			if err := a.Halt(ctx, d); err != nil {
				t.Fatal(err)
			}
		}
		s.net.SetDown(b.Self(), false)
		b.send(from, "send "+d.String()+" in")
		check := func(when string) {
			t.Helper()
			time.Sleep(10 * time.Minute)
			at := s.where(d)
			if _, err := at.Deliver(ctx, d, daemon.Event{Payload: []byte("what")}); !errors.Is(err, daemon.ErrHalted) {
				t.Errorf("%s an event was taken: %v", when, err)
			}
			i, err := at.Daemons().Inspect(d)
			if err != nil || i.State != daemon.HaltedState || i.EventsProcessed != 1 || i.Errors != 0 {
				t.Errorf("%s it is %+v, %v", when, i, err)
			}
			e, err := at.Daemons().Effects(d)
			if err != nil || len(e.Timers) != 1 || len(e.Pending) != 1 {
				t.Errorf("%s there is %+v, %v", when, e, err)
			}
		}
		check("stopped")
		s.kill(0, rng)
		check("after a crash")
		s.nodes[0].migrate(d, s.nodes[1])
		check("elsewhere")
		s.kill(1, rng)
		check("after a crash elsewhere")
		forks, err := s.nodes[1].Fork(ctx, d, host.ForkRequest{})
		if err != nil || forks[0].State != "running" {
			t.Errorf("a fork of it is %+v, %v", forks, err)
		}
		if err := s.nodes[1].Resume(ctx, d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := s.heard(d); got != fmt.Sprintf("timer:own %.4s:in", from) && got != fmt.Sprintf("%.4s:in timer:own", from) {
			t.Errorf("it heard %q", got)
		}
		if got := s.heard(to); got != fmt.Sprintf("%.4s:out", d) {
			t.Errorf("what it sent before is %q", got)
		}
		if err := s.nodes[1].proves(d); err != nil {
			t.Error(err)
		}
	})
}

// A stopped daemon that rests on disk is stopped there.
func TestAStoppedDaemonRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1)
		n := s.nodes[0]
		d := n.actor(effect.Grants{}).Entity
		n.send(d, "timer 1m own")
		if err := n.Halt(ctx, d); err != nil {
			t.Fatal(err)
		}
		for !n.Passivate(d) {
			time.Sleep(time.Second)
		}
		if err := n.store.Commit(&store.Batch{}); err != nil { // what was submitted before is there
			t.Fatal(err)
		}
		s.kill(0, rand.New(rand.NewPCG(5, 6)))
		n = s.nodes[0]
		time.Sleep(time.Hour)
		if i, err := n.Daemons().Inspect(d); err != nil || i.State != daemon.HaltedState {
			t.Errorf("it is %+v, %v", i, err)
		}
		if err := n.Resume(ctx, d); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		n.wantSend(d, "what", "timer:own")
	})
}

// echoer is a native daemon that publishes what it hears on a channel to the same one.
type echoer struct{ native }

func (*echoer) Process(c *daemon.Call, p []byte) ([][]byte, error) {
	if c.Kind != daemon.EventChannel && string(p) != "begin" {
		return nil, nil
	}
	return nil, c.Publish("loop", []byte("x"))
}

// A daemon that hears what it publishes goes no faster than its rate.
func TestAPublishLoopHasARate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newStage(t, 1).nodes[0]
		err := n.RegisterFactory("echoer", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &echoer{}, nil }))
		if err != nil {
			t.Fatal(err)
		}
		n.create("loop", broker.Policy{})
		own, err := daemon.ParseLimits([]string{"internal-rate=100"})
		if err != nil {
			t.Fatal(err)
		}
		i, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "echoer", Limits: own, Grants: effect.Grants{Publish: []effect.PublishGrant{{Node: n.Self(), Pattern: "loop"}}}})
		if err == nil {
			err = n.Subscriptions().Subscribe(ctx, i.Entity, n.Self(), "loop", nil)
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			n.tell(i.Entity, "begin")
		}
		time.Sleep(time.Minute)
		within(t, "events of a loop in 10 s, a rate of 100", n.did(i.Entity, 10*time.Second), 900, 1100)
		if _, err := n.Deliver(ctx, i.Entity, daemon.Event{Payload: []byte("other")}); err != nil {
			t.Error(err)
		}
	})
}

// Daemons that wait for one receiver take no place of its mailbox, and wait for
// nobody who is outside.
func TestManySendersTakeNoPlaceOfTheMailbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := busyStage(t, 1).nodes[0]
		to := n.busy(anybody(), "mailbox=1")
		n.tell(to, fmt.Sprintf("to %s 0", to))
		const senders = 200
		for range senders {
			d := n.busy(anybody())
			n.tell(d, fmt.Sprintf("to %s 5", to))
			n.tell(d, "go")
			if _, err := n.Deliver(ctx, to, daemon.Event{Payload: []byte("other")}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		within(t, "events that the receiver took", n.processed(to), 1+6*senders, 1+6*senders)
	})
}

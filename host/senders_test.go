package host_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// seen is what the probe says of an event: sequence, time, origin, sender, channel.
func (n *node) seen(id identity.EntityID, ev daemon.Event) []string {
	n.t.Helper()
	ev.Payload = []byte("event")
	res, err := n.Deliver(ctx, id, ev)
	if err != nil {
		n.t.Fatalf("delivering %+v: %v", ev, err)
	}
	var out []string
	for _, o := range res.Outputs {
		out = append(out, string(o.Payload))
	}
	if len(out) != 5 {
		n.t.Fatalf("the probe emitted %q", out)
	}
	return out
}

var nobody = strings.Repeat("0", 64)

// No field of a direct event lets its sender pass for another: what is claimed is
// refused by name and changes nothing, and the guest sees no sender.
func TestDirectEventsProveNoSender(t *testing.T) {
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", nil)
	a.push("probe", "c/probe.wasm")
	d := a.spawn("probe", "p")
	victim := a.spawn("probe", "victim").Entity

	for _, c := range []struct {
		what string
		ev   daemon.Event
		want error
	}{
		{"a channel", daemon.Event{Channel: "ticks"}, daemon.ErrReserved},
		{"a channel of 16 MiB", daemon.Event{Channel: strings.Repeat("x", 16<<20)}, daemon.ErrReserved},
		{"an origin", daemon.Event{From: victim}, daemon.ErrReserved},
		{"a channel's event", daemon.Event{Kind: daemon.EventChannel}, daemon.ErrReserved},
		{"a gap", daemon.Event{Kind: daemon.EventGap}, daemon.ErrReserved},
		{"a timer", daemon.Event{Kind: daemon.EventTimer, Sender: d.Entity, From: d.Entity, Number: 1}, daemon.ErrReserved},
		{"a daemon's event", daemon.Event{Kind: daemon.EventDaemon, Sender: victim, From: victim, Number: 1}, daemon.ErrReserved},
		{"number 0", daemon.Event{Sender: victim}, daemon.ErrEventNumber},
		{"number 2^63", daemon.Event{Sender: victim, Number: 1 << 63}, daemon.ErrEventNumber},
	} {
		c.ev.Payload = []byte("event")
		if res, err := a.Deliver(ctx, d.Entity, c.ev); !errors.Is(err, c.want) {
			t.Errorf("an event with %s: %+v, %v; want %v", c.what, res, err, c.want)
		}
	}

	for i, ev := range []daemon.Event{{}, {Sender: victim, Number: 1}, {Sender: identity.NamedSender("order"), Number: 7}} {
		got := a.seen(d.Entity, ev)
		if got[0] != fmt.Sprint(i+1) || got[2] != "0" || got[3] != nobody || got[4] != "" {
			t.Errorf("event %d of sender %s: the guest sees %q", i+1, ev.Sender, got)
		}
	}
	if i, err := a.Daemons().Inspect(d.Entity); err != nil || i.Senders != 2 {
		t.Errorf("two senders were named: the daemon remembers %d, error %v", i.Senders, err)
	}
}

// A history of a version whose guests saw the senders of direct events replays as it
// was; what comes after it shows none, also when both are replayed.
func TestHistoriesWithVisibleSendersReplay(t *testing.T) {
	var net hosttest.Net
	dir := t.TempDir()
	key := newKey(t)
	a := start(t, &net, key, dir, nil)
	a.push("probe", "c/probe.wasm")
	d := a.spawn("probe", "p")

	sender := identity.NamedSender("order")
	at := time.Now().UnixNano()
	outputs := [][]byte{[]byte("1"), fmt.Append(nil, at), fmt.Append(nil, uint64(sender.Origin())), []byte(sender.String()), nil}
	index, rec, err := a.RecordLegacyEvent(d.Entity, daemon.Event{Sender: sender, Number: 1, Payload: []byte("event")}, at, outputs)
	if err != nil {
		t.Fatal(err)
	}
	a.stop()
	s, err := store.Open(store.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	b.Append(d.Entity, index, rec)
	if err := errors.Join(s.Commit(&b), s.Close()); err != nil {
		t.Fatal(err)
	}

	for round := range 3 {
		a = start(t, &net, key, dir, nil)
		if i, err := a.Daemons().Inspect(d.Entity); err != nil || i.State != "running" {
			t.Fatalf("round %d: %+v, %v", round, i, err)
		}
		if res, err := a.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: 1, Payload: []byte("event")}); err != nil || !res.Duplicate {
			t.Errorf("round %d: the repeat of an earlier version's event: %+v, %v", round, res, err)
		}
		if got := a.seen(d.Entity, daemon.Event{Sender: sender, Number: uint64(round + 2)}); got[3] != nobody {
			t.Errorf("round %d: the guest sees %q", round, got)
		}
		if round == 1 { // what is stored covers the history so far
			if _, err := a.Snapshot(ctx, d.Entity); err != nil {
				t.Fatal(err)
			}
		}
		a.stop()
	}
}

// The places of one scope are bounded, and full they are full for it alone.
func TestSendersHaveShares(t *testing.T) {
	const limit = 64
	var now atomic.Int64 // Unix nanoseconds
	now.Store(time.Unix(1_800_000_000, 0).UnixNano())
	var net hosttest.Net
	a := start(t, &net, newKey(t), "", func(o *host.Options) {
		o.Limits.Senders = limit
		o.Clock = func() time.Time { return time.Unix(0, now.Load()) }
	})
	a.push("counter", "c/counter.wasm")
	d := a.spawn("counter", "c")
	send := func(sender identity.EntityID, number uint64, via identity.NodeID) error {
		now.Add(1)
		_, err := a.Deliver(ctx, d.Entity, daemon.Event{Sender: sender, Number: number, Via: via})
		return err
	}
	fill := func(what string, most int, want error, sender func(i int) identity.EntityID, via identity.NodeID) {
		t.Helper()
		for i := range most {
			if err := send(sender(i), 1, via); err != nil {
				t.Fatalf("%s: sender %d of %d: %v", what, i+1, most, err)
			}
		}
		for i := most; i < most+3; i++ {
			if err := send(sender(i), 1, via); !errors.Is(err, want) {
				t.Fatalf("%s: sender %d: %v, want %v", what, i+1, err, want)
			}
		}
		if err := send(sender(0), 2, via); err != nil {
			t.Fatalf("%s: a sender that has a place: %v", what, err)
		}
	}
	of := func(scope string) func(int) identity.EntityID {
		return func(i int) identity.EntityID {
			return identity.ScopedSender(scope, identity.NamedSender(fmt.Sprint(i)))
		}
	}
	named := func(prefix string) func(int) identity.EntityID {
		return func(i int) identity.EntityID { return identity.NamedSender(prefix + fmt.Sprint(i)) }
	}

	fill("a token", limit/8, daemon.ErrSenderQuota, of("token:1"), 0)
	fill("another token", limit/8, daemon.ErrSenderQuota, of("token:2"), 0)
	fill("a peer that names senders", limit/8, daemon.ErrSenderQuota, named("p"), 7)
	fill("a peer that names scopes", limit/8, daemon.ErrSenderQuota, func(i int) identity.EntityID { return of(fmt.Sprint("s", i))(0) }, 8)
	fill("all scopes", limit/8, daemon.ErrSenderQuota, of("token:3"), 0)
	if err := send(of("token:4")(0), 1, 0); !errors.Is(err, daemon.ErrSenderQuota) {
		t.Errorf("a token when all have half: %v", err)
	}
	fill("the owner", limit-5*limit/8, daemon.ErrHorizonFull, named("o"), 0)
	for i := range limit { // without an id
		if err := send(identity.LaneSender(fmt.Sprint(i)), 1, 0); err != nil {
			t.Fatalf("lane %d: %v", i, err)
		}
	}

	now.Add(int64(25 * time.Hour))
	for what, sender := range map[string]identity.EntityID{"a token": of("token:1")(999), "the owner": named("o")(999)} {
		if err := send(sender, 1, 0); err != nil {
			t.Errorf("%s a day later: %v", what, err)
		}
	}
	if err := send(named("p")(999), 1, 7); err != nil {
		t.Errorf("a peer a day later: %v", err)
	}
}

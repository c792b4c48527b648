package host_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/subscriber"
	"wasmhost.example/identity"
)

// ear is a native daemon that keeps what it hears, and says it when asked. The
// event "fail" fails.
type ear struct {
	native
	heard []string
}

func (e *ear) Process(c *daemon.Call, p []byte) ([][]byte, error) {
	switch {
	case c.Kind == daemon.EventDirect && string(p) == "what":
		return [][]byte{[]byte(strings.Join(e.heard, " "))}, nil
	case string(p) == "fail":
		return nil, errors.New("asked to fail")
	case c.Kind == daemon.EventGap:
		e.heard = append(e.heard, fmt.Sprintf("%s!%d-%d", c.Channel, binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])))
	case c.Kind == daemon.EventChannel:
		e.heard = append(e.heard, c.Channel+":"+string(p))
	default:
		return [][]byte{p}, nil
	}
	return nil, nil
}

func (e *ear) Snapshot(*daemon.Call) ([]byte, error) {
	return []byte("+" + strings.Join(e.heard, " ")), nil
}

func (e *ear) Restore(_ *daemon.Call, s []byte) error {
	e.heard = strings.Fields(string(s[1:]))
	return nil
}

func earFactory() daemon.Factory {
	return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &ear{}, nil })
}

// channelNode is a node with the kind ear, in a bubble: on disk where dir says.
func channelNode(t *testing.T, net *hosttest.Net, key *identity.KeyPair, dir string) *node {
	t.Helper()
	if key == nil {
		key = newKey(t)
	}
	n := start(t, net, key, dir, nil)
	if err := n.RegisterFactory("ear", earFactory()); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) create(name string, p broker.Policy) {
	n.t.Helper()
	if _, err := n.Channels().Create(ctx, name, p); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) publish(name string, texts ...string) {
	n.t.Helper()
	for _, text := range texts {
		if _, err := n.Channels().Publish(ctx, name, identity.EntityID{}, []byte(text)); err != nil {
			n.t.Fatal(err)
		}
	}
}

func (n *node) subscribe(id identity.EntityID, to *node, name string, token []byte) {
	n.t.Helper()
	if err := n.Subscriptions().Subscribe(ctx, id, to.Self(), name, token); err != nil {
		n.t.Fatal(err)
	}
}

// heard waits until nothing moves, and asks the daemon.
func (n *node) heard(id identity.EntityID) string {
	n.t.Helper()
	synctest.Wait()
	return n.send(id, "what")
}

func (n *node) wantHeard(id identity.EntityID, want string) {
	n.t.Helper()
	if got := n.heard(id); got != want {
		n.t.Errorf("it heard %q, want %q", got, want)
	}
}

// sub is the daemon's only subscription.
func (n *node) sub(id identity.EntityID) subscriber.Info {
	n.t.Helper()
	list, err := n.Subscriptions().Of(id)
	if err != nil || len(list) != 1 {
		n.t.Fatal(list, err)
	}
	return list[0]
}

func (n *node) roster(name string) map[identity.NodeID]int {
	n.t.Helper()
	i, err := n.Channels().Info(name)
	if err != nil {
		n.t.Fatal(err)
	}
	out := make(map[identity.NodeID]int)
	for _, s := range i.Subscribers {
		out[s.Node]++
	}
	return out
}

// permit makes a token for the channel, as its root.
func permit(t *testing.T, root *identity.KeyPair, subject identity.EntityID, name string, scope identity.Scope, ttl time.Duration) []byte {
	t.Helper()
	c, err := identity.IssueToken(root, identity.TokenRequest{Subject: subject, Scope: scope, Channel: name, TTL: ttl}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b, err := c.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestC01_C02_C03_C23_C28_Subscribe(t *testing.T) {
	for _, elsewhere := range []bool{false, true} {
		t.Run(fmt.Sprint("elsewhere ", elsewhere), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var net hosttest.Net
				a := channelNode(t, &net, nil, "")
				b := a
				if elsewhere {
					b = channelNode(t, &net, nil, "")
				}
				a.create("ticks", broker.Policy{})
				a.publish("ticks", "before") // nobody hears it
				d := b.spawnAs("ear", nil)
				if list, err := b.Subscriptions().Of(d.Entity); err != nil || len(list) != 0 {
					t.Error(list, err)
				}
				b.subscribe(d.Entity, a, "ticks", nil)
				a.publish("ticks", "one", "two")
				b.wantHeard(d.Entity, "ticks:one ticks:two")
				s := b.sub(d.Entity)
				if s.Publisher != a.Self() || s.Channel != "ticks" || len(s.Token) != 0 || s.Cursor != 3 || s.State != "live" || s.Lag() != 0 {
					t.Errorf("the ledger has %+v", s)
				}
				b.subscribe(d.Entity, a, "ticks", nil) // again changes nothing
				a.publish("ticks", "three")
				b.wantHeard(d.Entity, "ticks:one ticks:two ticks:three")
				time.Sleep(2 * time.Second)
				i, err := a.Channels().Info("ticks")
				if err != nil || len(i.Subscribers) != 1 || i.Subscribers[0].Entity != d.Entity || i.Subscribers[0].Node != b.Self() || i.Subscribers[0].Cursor != 4 {
					t.Errorf("the roster is %+v, %v", i.Subscribers, err)
				}
				for range 2 {
					if err := b.Subscriptions().Unsubscribe(ctx, d.Entity, a.Self(), "ticks"); err != nil {
						t.Error(err)
					}
				}
				synctest.Wait()
				if n := a.roster("ticks"); len(n) != 0 {
					t.Errorf("the roster has %v", n)
				}
				if list, err := b.Subscriptions().Of(d.Entity); err != nil || len(list) != 0 {
					t.Error(list, err)
				}
				a.publish("ticks", "four")
				b.wantHeard(d.Entity, "ticks:one ticks:two ticks:three")
			})
		})
	}
}

func TestC17_to_C21_F106_F107_AFailedSubscriptionChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		var messages atomic.Int64
		net.ChannelFilter = func(_, _ identity.NodeID, m channel.Message) bool {
			if _, ok := m.(*channel.Revocations); !ok {
				messages.Add(1)
			}
			return true
		}
		a, b := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		root := newKey(t)
		a.create("gated", broker.Policy{Roots: []identity.EntityID{root.ID()}})
		d := b.spawnAs("ear", nil)
		for name, c := range map[string]struct {
			id    identity.EntityID
			node  identity.NodeID
			name  string
			token []byte
			want  error
			wire  bool
		}{
			"an unknown daemon":    {newKey(t).ID(), a.Self(), "gated", nil, daemon.ErrNotFound, false},
			"a bad name":           {d.Entity, a.Self(), "../etc", nil, identity.ErrBadChannel, false},
			"a malformed token":    {d.Entity, a.Self(), "gated", []byte("sixteen bytes..."), identity.ErrTokenFormat, false},
			"an unknown node":      {d.Entity, 77, "gated", nil, mesh.ErrUnknownNode, false},
			"the same, by a token": {d.Entity, 77, "gated", permit(t, root, d.Entity, "gated", identity.ScopeSubscribe, time.Hour), mesh.ErrUnknownNode, false},
			"no token":             {d.Entity, a.Self(), "gated", nil, channel.ErrNoToken, true},
			"no channel":           {d.Entity, a.Self(), "none", nil, channel.ErrNoChannel, true},
		} {
			messages.Store(0)
			if err := b.Subscriptions().Subscribe(ctx, c.id, c.node, c.name, c.token); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
			synctest.Wait()
			if n := messages.Load(); (n > 0) != c.wire {
				t.Errorf("%s: %d messages were sent", name, n)
			}
			if list, err := b.Subscriptions().Of(d.Entity); err != nil || len(list) != 0 {
				t.Errorf("%s: the ledger has %v, %v", name, list, err)
			}
		}
		net.SetDown(a.Self(), true)
		if err := b.Subscriptions().Subscribe(ctx, d.Entity, a.Self(), "gated", permit(t, root, d.Entity, "gated", identity.ScopeSubscribe, time.Hour)); !errors.Is(err, mesh.ErrUnreachable) {
			t.Errorf("a node that is away: %v", err)
		}
		net.SetDown(a.Self(), false)
		if n := a.roster("gated"); len(n) != 0 {
			t.Errorf("the roster has %v", n)
		}
		b.subscribe(d.Entity, a, "gated", permit(t, root, d.Entity, "gated", identity.ScopeSubscribe, time.Hour))
		net.SetDown(a.Self(), true)
		net.CutChannels()
		synctest.Wait()
		if err := b.Subscriptions().Unsubscribe(ctx, d.Entity, a.Self(), "gated"); !errors.Is(err, mesh.ErrUnreachable) {
			t.Errorf("unsubscribing from a node that is away: %v", err)
		}
		if s := b.sub(d.Entity); s.Channel != "gated" || s.State == "live" || s.Reason == "" {
			t.Errorf("the ledger has %+v", s)
		}
		net.SetDown(a.Self(), false)
		time.Sleep(10 * time.Second)
		a.publish("gated", "x")
		b.wantHeard(d.Entity, "gated:x")
	})
}

func TestC26_C27_C29_C32_F84_F90_GatedChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		root, key := newKey(t), newKey(t)
		a.create("gated", broker.Policy{Roots: []identity.EntityID{root.ID()}})
		a.create("family", broker.Policy{Roots: []identity.EntityID{root.ID()}, Family: true})
		a.create("closed", broker.Policy{Gated: true})
		d := b.spawnAs("ear", key)
		token := func(name string, scope identity.Scope, ttl time.Duration) []byte {
			return permit(t, root, d.Entity, name, scope, ttl)
		}
		expired := token("gated", identity.ScopeSubscribe, time.Second)
		early := token("gated", identity.ScopeSubscribe, time.Hour)
		time.Sleep(time.Second)
		for name, c := range map[string]struct {
			channel string
			token   []byte
			want    error
		}{
			"expired":          {"gated", expired, identity.ErrTokenExpired},
			"other subject":    {"gated", permit(t, root, root.ID(), "gated", identity.ScopeSubscribe, time.Hour), identity.ErrTokenSubject},
			"other channel":    {"gated", token("gate", identity.ScopeSubscribe, time.Hour), identity.ErrTokenChannel},
			"other scope":      {"gated", token("gated", identity.ScopePublish, time.Hour), identity.ErrTokenScope},
			"self-issued":      {"gated", permit(t, key, d.Entity, "gated", identity.ScopeSubscribe, time.Hour), identity.ErrTokenRoot},
			"nobody's channel": {"closed", token("closed", identity.ScopeSubscribe, time.Hour), identity.ErrTokenRoot},
			"beside a family":  {"families", token("family", identity.ScopeSubscribe|identity.ScopeWildcard, time.Hour), channel.ErrNoChannel},
		} {
			if err := b.Subscriptions().Subscribe(ctx, d.Entity, a.Self(), c.channel, c.token); !errors.Is(err, c.want) {
				t.Errorf("%s: %v, want %v", name, err, c.want)
			}
		}
		if n := a.roster("gated"); len(n) != 0 {
			t.Errorf("a refused one is in the roster: %v", n)
		}
		b.subscribe(d.Entity, a, "gated", early)
		b.subscribe(d.Entity, a, "family/one", token("family", identity.ScopeSubscribe|identity.ScopeWildcard, time.Minute))
		a.publish("gated", "x")
		a.publish("family/one", "y")
		synctest.Wait()
		if got := b.heard(d.Entity); got != "gated:x family/one:y" && got != "family/one:y gated:x" {
			t.Errorf("it heard %q", got)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := a.roster("family/one"); len(n) != 0 {
			t.Errorf("an expired one is in the roster: %v", n)
		}
		a.publish("family/one", "z")
		a.publish("gated", "w")
		if got := b.heard(d.Entity); !strings.HasSuffix(got, "gated:w") || strings.Contains(got, "z") {
			t.Errorf("it heard %q", got)
		}
		list, err := b.Subscriptions().Of(d.Entity)
		if err != nil || len(list) != 2 || list[0].State != "refused" || list[0].Code != channel.CodeOf(identity.ErrTokenExpired) || list[1].State != "live" || list[1].Expires.IsZero() {
			t.Errorf("the ledger has %+v, %v", list, err)
		}
		// with another token it goes on where it was
		b.subscribe(d.Entity, a, "family/one", token("family", identity.ScopeSubscribe|identity.ScopeWildcard, time.Hour))
		if got := b.heard(d.Entity); !strings.HasSuffix(got, "family/one:z") {
			t.Errorf("it heard %q", got)
		}
		// a worse token changes nothing
		if err := b.Subscriptions().Subscribe(ctx, d.Entity, a.Self(), "family/one", expired); !errors.Is(err, identity.ErrTokenChannel) && !errors.Is(err, identity.ErrTokenExpired) {
			t.Error(err)
		}
		a.publish("family/one", "v")
		if got := b.heard(d.Entity); !strings.HasSuffix(got, "family/one:v") {
			t.Errorf("it heard %q", got)
		}
	})
}

func TestC33_F85_ARevokedSubscriberIsSkipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b, c := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		root, other := newKey(t), newKey(t)
		a.create("gated", broker.Policy{Roots: []identity.EntityID{root.ID(), other.ID()}})
		d, e := b.spawnAs("ear", nil), b.spawnAs("ear", nil)
		b.subscribe(d.Entity, a, "gated", permit(t, root, d.Entity, "gated", identity.ScopeSubscribe, time.Hour))
		b.subscribe(e.Entity, a, "gated", permit(t, other, e.Entity, "gated", identity.ScopeSubscribe, time.Hour))
		a.publish("gated", "one")
		b.wantHeard(d.Entity, "gated:one")
		rev, err := identity.Revoke(root, 1)
		if err != nil {
			t.Fatal(err)
		}
		net.SetDown(a.Self(), true) // it hears of it later
		if err := c.Channels().Revoke(ctx, rev); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(b.Channels().Revocations()) != 1 || len(a.Channels().Revocations()) != 0 {
			t.Errorf("b knows %d, a %d", len(b.Channels().Revocations()), len(a.Channels().Revocations()))
		}
		net.SetDown(a.Self(), false)
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if len(a.Channels().Revocations()) != 1 {
			t.Fatal("a has not heard of it")
		}
		a.publish("gated", "two")
		b.wantHeard(d.Entity, "gated:one")
		b.wantHeard(e.Entity, "gated:one gated:two")
		if s := b.sub(d.Entity); s.State != "refused" || s.Code != channel.CodeOf(identity.ErrTokenRevoked) {
			t.Errorf("the ledger has %+v", s)
		}
		forged := *rev
		forged.Floor = 9
		if err := c.Channels().Revoke(ctx, &forged); !errors.Is(err, identity.ErrTokenSignature) {
			t.Errorf("a forged one: %v", err)
		}
	})
}

func TestAGapIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		a.create("ticks", broker.Policy{Limits: channel.Limits{Events: 3}})
		d := b.spawnAs("ear", nil)
		b.subscribe(d.Entity, a, "ticks", nil)
		a.publish("ticks", "1", "2")
		b.wantHeard(d.Entity, "ticks:1 ticks:2")
		net.SetDown(a.Self(), true)
		net.CutChannels()
		a.publish("ticks", "3", "4", "5", "6", "7", "8")
		net.SetDown(a.Self(), false)
		time.Sleep(10 * time.Second)
		b.wantHeard(d.Entity, "ticks:1 ticks:2 ticks!3-5 ticks:6 ticks:7 ticks:8")
		// a channel that was made anew is another one
		if err := a.Channels().Remove(ctx, "ticks"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := b.sub(d.Entity); s.State != "refused" || s.Code != channel.CodeOf(channel.ErrNoChannel) {
			t.Errorf("the ledger has %+v", s)
		}
		a.create("ticks", broker.Policy{})
		a.publish("ticks", "a", "b")
		time.Sleep(10 * time.Second)
		b.wantHeard(d.Entity, "ticks:1 ticks:2 ticks!3-5 ticks:6 ticks:7 ticks:8 ticks!0-0 ticks:a ticks:b")
	})
}

func TestAFailedEventIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a := channelNode(t, &net, nil, "")
		a.create("ticks", broker.Policy{})
		d := a.spawnAs("ear", nil)
		a.subscribe(d.Entity, a, "ticks", nil)
		a.publish("ticks", "1", "fail", "2")
		a.publish("ticks", strings.Repeat("x", 1<<20), "3")
		if got := a.heard(d.Entity); !strings.HasPrefix(got, "ticks:1 ticks:2 ticks:xxx") || !strings.HasSuffix(got, " ticks:3") {
			t.Errorf("it heard %.100q", got)
		}
		q, err := a.Quarantine().List(ctx, d.Entity)
		if err != nil || len(q) != 1 || q[0].Channel != "ticks" || q[0].Number != 2 {
			t.Errorf("in quarantine is %+v, %v", q, err)
		}
		if _, err := a.Channels().Publish(ctx, "ticks", identity.EntityID{}, make([]byte, 1<<20+1)); !errors.Is(err, channel.ErrPayload) {
			t.Errorf("a large event: %v", err)
		}
		if _, err := a.Channels().Publish(ctx, "none", identity.EntityID{}, nil); !errors.Is(err, channel.ErrNoChannel) {
			t.Errorf("no channel: %v", err)
		}
	})
}

// Nobody but the channel delivers its events.
func TestAChannelCannotBeImpersonated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a := channelNode(t, &net, nil, "")
		a.create("ticks", broker.Policy{})
		d := a.spawnAs("ear", nil)
		a.subscribe(d.Entity, a, "ticks", nil)
		a.publish("ticks", "fail")
		synctest.Wait()
		q, err := a.Quarantine().List(ctx, d.Entity)
		if err != nil || len(q) != 1 {
			t.Fatal(q, err)
		}
		for _, ev := range []daemon.Event{{Sender: q[0].Sender, Number: 9, Payload: []byte("x")}, {Sender: newKey(t).ID(), Number: 1, Kind: daemon.EventChannel}} {
			if _, err := a.Deliver(ctx, d.Entity, ev); !errors.Is(err, daemon.ErrReserved) {
				t.Errorf("%+v: %v", ev, err)
			}
		}
	})
}

func TestC04_C05_C06_F108_SubscriptionsMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b, c := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		root := newKey(t)
		a.create("gated", broker.Policy{Roots: []identity.EntityID{root.ID()}})
		a.create("open", broker.Policy{})
		d := b.spawnAs("ear", nil)
		token := permit(t, root, d.Entity, "gated", identity.ScopeSubscribe, time.Hour)
		b.subscribe(d.Entity, a, "gated", token)
		b.subscribe(d.Entity, a, "open", nil)
		a.publish("gated", "1")
		b.wantHeard(d.Entity, "gated:1")
		at, to := b, c
		want := "gated:1"
		for i := range 6 {
			at.migrate(d.Entity, to)
			at, to = to, at
			began := time.Now()
			for _, name := range []string{"gated", "open"} {
				for synctest.Wait(); ; synctest.Wait() {
					r := a.roster(name)
					if r[at.Self()] == 1 && r[to.Self()] == 0 {
						break
					}
					if time.Since(began) > 2*time.Second {
						t.Fatalf("move %d: the roster of %s is %v after 2 s", i, name, r)
					}
					time.Sleep(100 * time.Millisecond)
				}
			}
			a.publish("gated", fmt.Sprint(i))
			want += fmt.Sprint(" gated:", i)
			at.wantHeard(d.Entity, want)
			list, err := at.Subscriptions().Of(d.Entity)
			if err != nil || len(list) != 2 || list[0].Channel != "gated" || string(list[0].Token) != string(token) || list[0].Cursor != uint64(i+2) {
				t.Errorf("move %d: the ledger has %+v, %v", i, list, err)
			}
			if list, err := to.Subscriptions().Of(d.Entity); err == nil {
				t.Errorf("move %d: the source has %v", i, list)
			}
		}
	})
}

// A hundred daemons of a node cost the publisher one feed.
func TestEachEventIsSentToANodeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		var sent atomic.Int64
		net.ChannelFilter = func(_, _ identity.NodeID, m channel.Message) bool {
			if _, ok := m.(*channel.Events); ok {
				sent.Add(1)
			}
			return true
		}
		a, b := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		a.create("ticks", broker.Policy{})
		var ears []identity.EntityID
		for range 100 {
			d := b.spawnAs("ear", nil)
			ears = append(ears, d.Entity)
			b.subscribe(d.Entity, a, "ticks", nil)
		}
		a.publish("ticks", "1", "2", "3")
		for _, id := range ears {
			b.wantHeard(id, "ticks:1 ticks:2 ticks:3")
		}
		if sent.Load() != 3 {
			t.Errorf("3 events took %d messages", sent.Load())
		}
	})
}

func TestOutputsAreAChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		echo, d := a.spawnAs("ear", nil), b.spawnAs("ear", nil)
		name := channel.OutputsOf(echo.Entity.Origin())
		a.wantSend(echo.Entity, "before", "before")
		b.subscribe(d.Entity, a, name, nil)
		a.wantSend(echo.Entity, "one", "one")
		b.wantHeard(d.Entity, name+":one")
		// who hears them follows the daemon
		a.migrate(echo.Entity, b)
		b.wantSend(echo.Entity, "two", "two")
		time.Sleep(10 * time.Second)
		b.wantHeard(d.Entity, name+":one "+name+":two")
		b.migrate(d.Entity, a)
		b.wantSend(echo.Entity, "three", "three")
		time.Sleep(10 * time.Second)
		a.wantHeard(d.Entity, name+":one "+name+":two "+name+":three")
		if _, err := a.Channels().Create(ctx, name, broker.Policy{}); !errors.Is(err, channel.ErrReserved) {
			t.Error(err)
		}
		if _, err := a.Channels().Publish(ctx, name, identity.EntityID{}, nil); !errors.Is(err, channel.ErrReserved) {
			t.Error(err)
		}
	})
}

func TestC25_F109_ANodeWithoutTheRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		net.Access = func(_, _ identity.NodeID) mesh.ChannelAccess { return 0 }
		a, b := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		root := newKey(t)
		a.create("open", broker.Policy{})
		a.create("gated", broker.Policy{Roots: []identity.EntityID{root.ID()}})
		d, echo := b.spawnAs("ear", nil), a.spawnAs("ear", nil)
		outputs := channel.OutputsOf(echo.Entity.Origin())
		if err := b.Subscriptions().Subscribe(ctx, d.Entity, a.Self(), "open", nil); !errors.Is(err, channel.ErrDenied) {
			t.Errorf("an open channel: %v", err)
		}
		if err := b.Subscriptions().Subscribe(ctx, d.Entity, a.Self(), outputs, nil); !errors.Is(err, channel.ErrNoToken) {
			t.Errorf("outputs: %v", err)
		}
		b.subscribe(d.Entity, a, "gated", permit(t, root, d.Entity, "gated", identity.ScopeSubscribe, time.Hour))
	})
}

// What is on disk is there after a restart: channels with their events, cursors,
// revocations.
func TestChannelsOutliveARestart(t *testing.T) {
	var net hosttest.Net
	ka, kb, root := newKey(t), newKey(t), newKey(t)
	dirA, dirB := t.TempDir(), t.TempDir()
	a, b := channelNode(t, &net, ka, dirA), startWith(t, &net, kb, dirB, "ear", earFactory(), asItIs)
	a.create("ticks", broker.Policy{Limits: channel.Limits{Events: 100}})
	d := b.spawnAs("ear", nil)
	b.subscribe(d.Entity, a, "ticks", nil)
	rev, err := identity.Revoke(root, 3)
	if err == nil {
		err = a.Channels().Revoke(ctx, rev)
	}
	if err != nil {
		t.Fatal(err)
	}
	want := ""
	for round := range 4 {
		for i := range 30 {
			text := fmt.Sprintf("%d.%d", round, i)
			a.publish("ticks", text)
			want += " ticks:" + text
		}
		hears(t, b, d.Entity, strings.TrimSpace(want))
		if round%2 == 0 {
			b.stop()
			b = startWith(t, &net, kb, dirB, "ear", earFactory(), asItIs)
		} else {
			a.stop()
			a = channelNode(t, &net, ka, dirA)
		}
	}
	if i, err := a.Channels().Info("ticks"); err != nil || i.Next != 121 || i.Events > 100 || i.Events < 80 {
		t.Errorf("the channel is %+v, %v", i, err)
	}
	if list := a.Channels().Revocations(); len(list) != 1 || list[0].Floor != 3 {
		t.Errorf("%d revocations", len(list))
	}
}

// TestAFullChannelLetsGoCheaply publishes twenty times what a channel keeps. What
// the engine then writes grows with the number of removals, not with its square.
func TestAFullChannelLetsGoCheaply(t *testing.T) {
	var net hosttest.Net
	key, dir := newKey(t), t.TempDir()
	a := channelNode(t, &net, key, dir)
	const kept, events = 1000, 20_000
	a.create("ticks", broker.Policy{Limits: channel.Limits{Events: kept}})
	for range events / 8 {
		var waits []*broker.Pending
		for range 8 {
			p, err := a.Channels().Submit("ticks", identity.EntityID{}, []byte("tick"))
			if err != nil {
				t.Fatal(err)
			}
			waits = append(waits, p)
		}
		for _, p := range waits {
			if _, err := p.Wait(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a.stop()
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 256<<20 {
		t.Errorf("closing took %d MiB of memory", used>>20)
	}
	a = channelNode(t, &net, key, dir)
	if i, err := a.Channels().Info("ticks"); err != nil || i.Next != events+1 || i.First != events+1-kept || i.Events != kept {
		t.Errorf("the channel is %+v, %v", i, err)
	}
}

func asItIs(m *hosttest.Mesh) mesh.Mesh { return m }

// hears waits until the daemon has heard all.
func hears(t *testing.T, n *node, id identity.EntityID, want string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		got := n.send(id, "what")
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it heard %.300q, want %.300q", got, want)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestC09_DamagedBindingsFailARestore(t *testing.T) {
	var net hosttest.Net
	a := channelNode(t, &net, nil, "")
	a.create("ticks", broker.Policy{})
	key := newKey(t)
	d := a.spawnAs("ear", key)
	a.subscribe(d.Entity, a, "ticks", nil)
	s, err := a.Snapshot(ctx, d.Entity)
	if err != nil || s.Header.Version != snapshot.Version {
		t.Fatal(s, err)
	}
	s.Header.Version, s.Header.Lasting = 2, nil // of which subscriptions are the last
	if err := a.Stop(ctx, d.Entity); err != nil {
		t.Fatal(err)
	}
	good := s.Header.Bindings
	for name, bindings := range map[string][]byte{"garbage": []byte("garbage"), "a byte more": append(append([]byte{}, good...), 0), "none": nil} {
		s.Header.Bindings = bindings
		if err := host.SealSnapshot(s, key); err != nil {
			t.Fatal(err)
		}
		b, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: key}, b); !errors.Is(err, daemon.ErrBadSnapshot) || len(bindings) > 0 && !errors.Is(err, channel.ErrBadLedger) {
			t.Errorf("%s: %v", name, err)
		}
		if a.DaemonCount() != 0 {
			t.Fatalf("%s: a daemon was made", name)
		}
	}
	s.Header.Bindings = good
	if err := host.SealSnapshot(s, key); err != nil {
		t.Fatal(err)
	}
	b, err := s.Encode()
	if err == nil {
		_, err = a.SpawnFromSnapshot(ctx, daemon.SpawnRequest{Identity: key}, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	a.publish("ticks", "x")
	hears(t, a, d.Entity, "ticks:x")
}

func TestC40_C42_RosterAndLedgerAgree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, b := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		a.create("ticks", broker.Policy{})
		var ears []identity.EntityID
		for range 8 {
			ears = append(ears, b.spawnAs("ear", nil).Entity)
		}
		var wg sync.WaitGroup
		for i, id := range ears {
			wg.Go(func() {
				for round := range 20 + i%2 { // the odd ones end subscribed
					var err error
					if round%2 == 0 {
						err = b.Subscriptions().Subscribe(ctx, id, a.Self(), "ticks", nil)
					} else {
						err = b.Subscriptions().Unsubscribe(ctx, id, a.Self(), "ticks")
					}
					if err != nil {
						t.Errorf("daemon %d, round %d: %v", i, round, err)
					}
				}
			})
		}
		wg.Wait()
		a.publish("ticks", "x")
		synctest.Wait()
		info, err := a.Channels().Info("ticks")
		if err != nil || len(info.Subscribers) != 4 {
			t.Errorf("the roster has %+v, %v", info.Subscribers, err)
		}
		for i, id := range ears {
			list, err := b.Subscriptions().Of(id)
			if err != nil || len(list) != i%2 {
				t.Errorf("daemon %d has %+v, %v", i, list, err)
			}
			if got := b.heard(id); (got == "ticks:x") != (i%2 == 1) {
				t.Errorf("daemon %d heard %q", i, got)
			}
		}
		b.mesh.Crash()
		synctest.Wait()
		if n := a.roster("ticks"); len(n) != 0 {
			t.Errorf("of a node that is gone the roster has %v", n)
		}
	})
}

// A daemon that is on disk alone is woken by its channel, also after a restart.
func TestAPassiveSubscriberIsWoken(t *testing.T) {
	var net hosttest.Net
	key, dir := newKey(t), t.TempDir()
	a := channelNode(t, &net, nil, "")
	b := startWith(t, &net, key, dir, "ear", earFactory(), asItIs)
	a.create("ticks", broker.Policy{})
	d := b.spawnAs("ear", nil)
	b.subscribe(d.Entity, a, "ticks", nil)
	want := ""
	for round := range 3 {
		text := fmt.Sprint(round)
		a.publish("ticks", text)
		want += " ticks:" + text
		hears(t, b, d.Entity, strings.TrimSpace(want))
		for !b.Passivate(d.Entity) { // its last record may not be durable yet
			time.Sleep(time.Millisecond)
		}
		if s := b.sub(d.Entity); s.Cursor != uint64(round+1) {
			t.Errorf("round %d: %+v", round, s)
		}
		b.stop()
		b = startWith(t, &net, key, dir, "ear", earFactory(), asItIs)
		if i, err := b.Daemons().Inspect(d.Entity); err != nil || i.State != "passive" {
			t.Fatalf("round %d: it is %s, %v", round, i.State, err)
		}
	}
	a.publish("ticks", "last")
	deadline := time.Now().Add(20 * time.Second)
	for b.sub(d.Entity).Cursor != 4 { // asking it would wake it
		if time.Now().After(deadline) {
			t.Fatalf("it stands at %+v", b.sub(d.Entity))
		}
		time.Sleep(5 * time.Millisecond)
	}
	hears(t, b, d.Entity, strings.TrimSpace(want)+" ticks:last")
}

// Who asks for a busy daemon's subscriptions does not wait for it.
func TestSubscriptionsOfABusyDaemon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a := channelNode(t, &net, nil, "")
		a.create("ticks", broker.Policy{})
		gate, entered := make(chan struct{}), make(chan struct{})
		err := a.RegisterFactory("slow", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
			return &slow{gate: gate, entered: entered}, nil
		}))
		if err != nil {
			t.Fatal(err)
		}
		d := a.spawnAs("slow", nil)
		a.subscribe(d.Entity, a, "ticks", nil)
		a.publish("ticks", "1", "2")
		<-entered
		synctest.Wait()
		if s := a.sub(d.Entity); s.State != "live" || s.Head != 2 || s.Cursor != 0 {
			t.Errorf("meanwhile it is %+v", s)
		}
		close(gate)
		<-entered
		synctest.Wait()
		if s := a.sub(d.Entity); s.Cursor != 2 {
			t.Errorf("afterwards it is %+v", s)
		}
	})
}

// slow is a native daemon whose events take until the gate opens.
type slow struct {
	native
	gate    <-chan struct{}
	entered chan<- struct{}
}

func (s *slow) Process(*daemon.Call, []byte) ([][]byte, error) {
	s.entered <- struct{}{}
	<-s.gate
	return nil, nil
}

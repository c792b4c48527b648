package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"wasmhost.example/host/broker"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/fair"
	"wasmhost.example/host/internal/env"
	"wasmhost.example/host/mesh"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// node is what a broker gets of a node: a store, a clock that stands, no peers and no
// daemons.
type node struct {
	env    *env.Env
	closed error // why the node's channels are closed; nil: they are open
}

func newNode(t *testing.T, s *store.Store) *node {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := &node{env: &env.Env{Node: key, Self: key.ID().Node(), Store: s, Logger: slog.New(slog.DiscardHandler),
		Clock: func() time.Time { return time.Unix(1, 0) }, Context: ctx, Work: &env.Work{}}}
	t.Cleanup(func() {
		n.env.Work.Close()
		cancel()
		n.env.Work.Wait()
	})
	return n
}

func (n *node) broker() *broker.Broker {
	flow := fair.New(1).Flow()
	return broker.New(broker.Config{Env: n.env, SenderMemory: time.Hour, Ready: func() error { return nil }, Open: func() error { return n.closed },
		Flow: func(identity.EntityID) *fair.Flow { return flow }, LastWord: func(err error) channel.Message { return channel.Refuse(identity.EntityID{}, err) },
		Peers: nobody{}, Outputs: nobody{}})
}

// nobody has no peers and no daemons.
type nobody struct{}

func (nobody) PeerIDs() []identity.NodeID { return nil }

func (nobody) OpenChannel(context.Context, identity.NodeID) (channel.Conn, error) {
	return nil, mesh.ErrUnknownNode
}

func (nobody) ByOrigin(identity.OriginHash) (identity.EntityID, error) {
	return identity.EntityID{}, channel.ErrNoChannel
}

func (nobody) Head(identity.EntityID) (uint64, error) { return 0, channel.ErrNoChannel }

func (nobody) TailAfter(context.Context, identity.EntityID, uint64) (<-chan chain.Output, error) {
	return nil, channel.ErrNoChannel
}

func (nobody) Reaches(context.Context, identity.EntityID, uint64) error { return channel.ErrNoChannel }

func newStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(store.Options{Ephemeral: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// errEnough ends a Follow that has what it is for.
var errEnough = errors.New("enough")

// follow returns the payloads of the channel's first n events.
func follow(t *testing.T, b *broker.Broker, name string, n int) []string {
	t.Helper()
	var out []string
	err := b.Follow(t.Context(), name, &broker.Cursor{}, nil, func(ev broker.Event, _ bool) error {
		if out = append(out, string(ev.Payload)); len(out) == n {
			return errEnough
		}
		return nil
	})
	if !errors.Is(err, errEnough) {
		t.Fatalf("following %q: %v", name, err)
	}
	return out
}

// What is published is there after a restart of the broker, with and without the store's
// help: a broker without one keeps it in memory.
func TestPublishedEventsAreKept(t *testing.T) {
	for name, s := range map[string]*store.Store{"in memory": nil, "in a store": newStore(t)} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t, s)
			b := n.broker()
			if _, err := b.Create(t.Context(), "ticks", broker.Policy{}); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				first, err := b.Publish(t.Context(), "ticks", identity.EntityID{}, fmt.Append(nil, i))
				if err != nil || first != uint64(i+1) {
					t.Fatalf("publishing event %d: sequence %d, %v", i+1, first, err)
				}
			}

			if s != nil {
				b = n.broker()
				if err := b.Recover(); err != nil {
					t.Fatal(err)
				}
			}
			if got := fmt.Sprint(follow(t, b, "ticks", 3)); got != "[0 1 2]" {
				t.Errorf("the channel has %s, want [0 1 2]", got)
			}
		})
	}
}

// While the node's channels are closed nothing is published on them.
func TestClosedChannelsTakeNothing(t *testing.T) {
	n := newNode(t, nil)
	b := n.broker()
	if _, err := b.Create(t.Context(), "ticks", broker.Policy{}); err != nil {
		t.Fatal(err)
	}
	n.closed = channel.ErrNotReady
	if _, err := b.Publish(t.Context(), "ticks", identity.EntityID{}, nil); !errors.Is(err, channel.ErrNotReady) {
		t.Errorf("publishing on a closed channel: %v, want %v", err, channel.ErrNotReady)
	}
}

// A daemon's effects are on a channel once, however often they are brought, and while its
// owner publishes as well.
func TestEffectsArePublishedOnce(t *testing.T) {
	n := newNode(t, newStore(t))
	b := n.broker()
	if _, err := b.Create(t.Context(), "ticks", broker.Policy{}); err != nil {
		t.Fatal(err)
	}
	daemon, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	residence, err := channel.NewResidence(daemon, n.env.Self, 1)
	if err != nil {
		t.Fatal(err)
	}
	m := &channel.Carry{Version: channel.Version, From: daemon.ID(), Channel: "ticks", Residence: residence,
		Effects: []channel.Carriage{{Epoch: 1, Number: effect.Number(1, 0), Payload: []byte("effect")}}}

	const rounds = 50
	var work sync.WaitGroup
	work.Go(func() {
		for range rounds {
			if err := b.PublishEffects(t.Context(), n.env.Self, mesh.AccessChannels, m); err != nil {
				t.Error(err)
			}
		}
	})
	work.Go(func() {
		for range rounds {
			if _, err := b.Publish(t.Context(), "ticks", identity.EntityID{}, []byte("owner")); err != nil {
				t.Error(err)
			}
		}
	})
	work.Wait()

	effects := 0
	for _, p := range follow(t, b, "ticks", rounds+1) {
		if p == "effect" {
			effects++
		}
	}
	if i, err := b.Info("ticks"); effects != 1 || err != nil || i.Next != rounds+2 {
		t.Errorf("the effect is on the channel %d times, which has %d events, %v; want once, and %d", effects, i.Next-1, err, rounds+1)
	}
}

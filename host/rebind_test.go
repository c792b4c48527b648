package host_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host/broker"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/identity"
)

// A subscription that cannot be bound on the target is named in the report, holds
// up no other, and is bound later.
func TestUnboundSubscriptionsAreReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var net hosttest.Net
		a, away, b, c := channelNode(t, &net, nil, ""), channelNode(t, &net, nil, ""), channelNode(t, &net, nil, ""), channelNode(t, &net, nil, "")
		root := newKey(t)
		a.create("open", broker.Policy{})
		a.create("gated", broker.Policy{Roots: []identity.EntityID{root.ID()}})
		away.create("away", broker.Policy{})
		d := b.spawnAs("ear", nil)
		b.subscribe(d.Entity, a, "open", nil)
		b.subscribe(d.Entity, a, "gated", permit(t, root, d.Entity, "gated", identity.ScopeSubscribe, time.Minute))
		b.subscribe(d.Entity, away, "away", nil)
		net.SetDown(away.Self(), true)
		net.CutChannels()
		time.Sleep(time.Minute)
		began := time.Now()
		rep := b.migrate(d.Entity, c)
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %v", took)
		}
		if rep.Downtime > time.Second {
			t.Errorf("the daemon was down for %v", rep.Downtime)
		}
		got := make(map[string]error)
		for _, u := range rep.Unbound {
			got[u.Channel] = u.Err
		}
		var refused *channel.Refusal
		if len(got) != 2 || !errors.Is(got["gated"], identity.ErrTokenExpired) || !errors.As(got["away"], &refused) || !strings.Contains(refused.Text, "reached") {
			t.Fatalf("unbound are %v", got)
		}
		a.publish("open", "1")
		a.publish("gated", "2")
		c.wantHeard(d.Entity, "open:1")
		net.SetDown(away.Self(), false)
		away.publish("away", "3")
		time.Sleep(10 * time.Second)
		c.wantHeard(d.Entity, "open:1 away:3")
		c.subscribe(d.Entity, a, "gated", permit(t, root, d.Entity, "gated", identity.ScopeSubscribe, time.Hour))
		c.wantHeard(d.Entity, "open:1 away:3 gated:2")
		if rep := c.migrate(d.Entity, b); len(rep.Unbound) != 0 {
			t.Errorf("unbound are %v", rep.Unbound)
		}
		a.publish("gated", "4")
		b.wantHeard(d.Entity, "open:1 away:3 gated:2 gated:4")
	})
}

// TestSubscriberMovesAndHostsFail publishes while the subscriber moves twenty
// times, connections break and each host of it is restarted: what it has heard is
// what was published, in order, once.
func TestSubscriberMovesAndHostsFail(t *testing.T) {
	seeds := uint64(6)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 7))
			var net hosttest.Net
			root := newKey(t)
			keys := []*identity.KeyPair{newKey(t), newKey(t), newKey(t)}
			dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
			nodes := make([]*node, 3) // the first publishes
			for i := range nodes {
				nodes[i] = startWith(t, &net, keys[i], dirs[i], "ear", earFactory(), asItIs)
			}
			nodes[0].create("ticks", broker.Policy{Roots: []identity.EntityID{root.ID()}})
			d := nodes[1].spawnAs("ear", nil)
			nodes[1].subscribe(d.Entity, nodes[0], "ticks", permit(t, root, d.Entity, "ticks", identity.ScopeSubscribe, time.Hour))
			stop, published := make(chan struct{}), make(chan int)
			publisher := nodes[0]
			go func() {
				n := 0
				defer func() { published <- n }()
				for {
					select {
					case <-stop:
						return
					default:
					}
					payloads := make([][]byte, 1+n%7)
					for i := range payloads {
						payloads[i] = fmt.Append(nil, n+i)
					}
					if _, err := publisher.Channels().Publish(ctx, "ticks", identity.EntityID{}, payloads...); err != nil {
						t.Error(err)
						return
					}
					n += len(payloads)
				}
			}()
			at := 1
			for range 20 {
				switch r.IntN(4) {
				case 0:
					net.CutChannels()
				case 1:
					i := 1 + r.IntN(2)
					nodes[i].mesh.Crash()
					nodes[i].stop()
					nodes[i] = startWith(t, &net, keys[i], dirs[i], "ear", earFactory(), asItIs)
				}
				to := 3 - at
				m, err := nodes[at].StartMigration(ctx, d.Entity, nodes[to].Self())
				if err == nil {
					_, err = m.Wait(ctx)
				}
				if err != nil {
					t.Fatal(err)
				}
				at = to
			}
			close(stop)
			total := <-published
			want := make([]string, total)
			for i := range want {
				want[i] = fmt.Sprint("ticks:", i)
			}
			hears(t, nodes[at], d.Entity, strings.Join(want, " "))
		})
	}
}

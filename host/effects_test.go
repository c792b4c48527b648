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

	"github.com/cockroachdb/pebble/v2/vfs"

	"wasmhost.example/host"
	"wasmhost.example/host/broker"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/hosttest"
	"wasmhost.example/host/outbox"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
)

// actor is a native daemon that does what an event says, a line a deed: "publish
// CHANNEL TEXT", "send ENTITY TEXT", "timer DELAY TEXT", "cancel NUMBER", "fail".
// The event "what" is answered by what came otherwise.
type actor struct {
	native
	heard []string
}

func (a *actor) Process(c *daemon.Call, p []byte) ([][]byte, error) {
	switch {
	case c.Kind == daemon.EventTimer && c.Sender == c.Self:
		a.heard = append(a.heard, "timer:"+string(p))
		return nil, nil
	case c.Kind == daemon.EventDaemon:
		a.heard = append(a.heard, fmt.Sprintf("%.4s:%s", c.Sender, p))
		return nil, nil
	case string(p) == "what":
		return [][]byte{[]byte(strings.Join(a.heard, " "))}, nil
	}
	var out []string
	for line := range strings.Lines(string(p)) {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		to, text, _ := strings.Cut(rest, " ")
		var err error
		switch verb {
		case "publish":
			err = c.Publish(to, []byte(text))
		case "send":
			var id identity.EntityID
			if id, err = identity.ParseEntityID(to); err == nil {
				err = c.Send(id, []byte(text))
			}
		case "timer":
			var after time.Duration
			if after, err = time.ParseDuration(to); err == nil {
				var number uint64
				number, err = c.SetTimer(time.Unix(0, c.Time).Add(after), []byte(text))
				out = append(out, fmt.Sprint(number))
			}
		case "cancel":
			var number uint64
			if _, err = fmt.Sscan(to, &number); err == nil {
				err = c.CancelTimer(number)
			}
		case "fail":
			err = errors.New("asked to fail")
		}
		if err != nil {
			return nil, err
		}
	}
	return [][]byte{[]byte(strings.Join(append(out, "ok"), " "))}, nil
}

func (a *actor) Snapshot(*daemon.Call) ([]byte, error) {
	return []byte("+" + strings.Join(a.heard, "\n")), nil
}

func (a *actor) Restore(_ *daemon.Call, s []byte) error {
	a.heard = nil
	if len(s) > 1 {
		a.heard = strings.Split(string(s[1:]), "\n")
	}
	return nil
}

func actorFactory() daemon.Factory {
	return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &actor{}, nil })
}

// stage is some nodes on disks that can be killed.
type stage struct {
	t     *testing.T
	net   hosttest.Net
	keys  []*identity.KeyPair
	disks []*vfs.MemFS
	dirs  []string
	nodes []*node

	broken atomic.Bool // daemons of kind "picky" fail
}

func newStage(t *testing.T, nodes int) *stage {
	s := &stage{t: t}
	for i := range nodes {
		s.keys, s.disks, s.dirs, s.nodes = append(s.keys, newKey(t)), append(s.disks, vfs.NewCrashableMem()), append(s.dirs, t.TempDir()), append(s.nodes, nil)
		s.begin(i)
	}
	t.Cleanup(func() {
		for _, n := range s.nodes {
			n.stop()
		}
	})
	return s
}

func (s *stage) begin(i int) {
	s.t.Helper()
	mesh, err := s.net.Join(s.keys[i])
	if err != nil {
		s.t.Fatal(err)
	}
	st := openStore(s.t, s.dirs[i], s.disks[i])
	r, err := host.New(ctx, host.Options{Node: s.keys[i], Store: st, Mesh: mesh})
	if err == nil {
		err = errors.Join(r.RegisterFactory("actor", actorFactory()), r.RegisterFactory("caller", callerFactory()), r.RegisterFactory("ear", earFactory()), r.RegisterFactory("picky", pickyFactory(&s.broken)), r.Start(ctx))
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.nodes[i] = &node{Runtime: r, t: s.t, key: s.keys[i], mesh: mesh, store: st, dir: s.dirs[i]}
}

// kill ends a node as a crash does, and starts it again.
func (s *stage) kill(i int, rng *rand.Rand) {
	s.t.Helper()
	n := s.nodes[i]
	n.mesh.Crash()
	left := s.disks[i].CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(3) * 50, RNG: rng})
	if err := errors.Join(n.Shutdown(ctx), n.store.Close()); err != nil {
		s.t.Fatal(err)
	}
	s.disks[i] = left
	s.begin(i)
}

// where returns the node that has the daemon.
func (s *stage) where(id identity.EntityID) *node {
	s.t.Helper()
	for range 100 {
		for _, n := range s.nodes {
			if i, err := n.Daemons().Inspect(id); err == nil && i.State != "migrating" {
				return n
			}
		}
		time.Sleep(time.Second) // it is on its way
	}
	s.t.Fatalf("nobody has daemon %s", id.Origin())
	return nil
}

func (s *stage) heard(id identity.EntityID) string {
	s.t.Helper()
	return s.where(id).send(id, "what")
}

func (n *node) actor(g effect.Grants) daemon.Info {
	n.t.Helper()
	i, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "actor", Grants: g})
	if err != nil {
		n.t.Fatal(err)
	}
	return i
}

func anybody() effect.Grants { return effect.Grants{SendAny: true} }

func TestEffectsAreDeniedUnlessGranted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1)
		n := s.nodes[0]
		n.create("news", broker.Policy{})
		n.create("news/local", broker.Policy{})
		to, other := n.actor(effect.Grants{}), n.actor(effect.Grants{})
		d := n.actor(effect.Grants{Send: []identity.EntityID{to.Entity}, Publish: []effect.PublishGrant{{Node: n.Self(), Pattern: "news/*"}}})
		for what, want := range map[string]error{
			"publish news/local x":                         nil,
			"publish news x":                               daemon.ErrNotGranted,
			"publish out/0123456789abcdef x":               daemon.ErrBadEffect,
			"publish No x":                                 daemon.ErrBadEffect,
			"send " + to.Entity.String() + " x":            nil,
			"send " + other.Entity.String() + " x":         daemon.ErrNotGranted,
			"send " + d.Entity.String() + " x":             daemon.ErrNotGranted,
			"send " + (identity.EntityID{}).String() + " ": daemon.ErrBadEffect,
		} {
			if _, err := n.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(what)}); !errors.Is(err, want) || want == nil && err != nil {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		}
		synctest.Wait()
		if got := n.send(to.Entity, "what"); got != fmt.Sprintf("%.4s:x", d.Entity) {
			t.Errorf("it heard %q", got)
		}
		e, err := n.Daemons().Effects(d.Entity)
		if err != nil || len(e.Pending) != 0 || len(e.Grants.Publish) != 1 || len(e.Grants.Send) != 1 {
			t.Errorf("%+v, %v", e, err)
		}
		if i, err := n.Channels().Info("news/local"); err != nil || i.Next != 2 {
			t.Errorf("%+v, %v", i, err)
		}
		for name, g := range map[string]effect.Grants{
			"pattern": {Publish: []effect.PublishGrant{{Node: 1, Pattern: "a*"}}}, "outputs": {Publish: []effect.PublishGrant{{Node: 1, Pattern: "out/x"}}},
			"twice": {Publish: []effect.PublishGrant{{Node: 1, Pattern: "a"}, {Node: 2, Pattern: "a"}}}, "nobody": {Send: make([]identity.EntityID, 1)},
		} {
			if _, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "actor", Grants: g}); !errors.Is(err, effect.ErrBadGrant) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// What an event asked for is not done when the event fails, nor what was too much.
func TestAFailedEventHasNoEffects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1)
		n := s.nodes[0]
		to, d := n.actor(effect.Grants{}), n.actor(anybody())
		send := "send " + to.Entity.String()
		if _, err := n.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(send + " no\ntimer 1s no\nfail")}); err == nil {
			t.Error("it did not fail")
		}
		var over *daemon.GuestError
		if _, err := n.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(strings.Repeat("timer 1s t\n", effect.MaxTimers+1))}); !errors.As(err, &over) || over.Limit != "timers" {
			t.Errorf("too many timers: %v", err)
		}
		n.wantSend(d.Entity, send+" yes", "ok")
		time.Sleep(time.Minute)
		n.wantSend(to.Entity, "what", fmt.Sprintf("%.4s:yes", d.Entity))
		n.wantSend(d.Entity, "what", "")
	})
}

// Where the store refuses what a daemon took, it took nothing: what it failed on comes
// again, and is not passed over yet.
func TestARefusedBatchPassesNothingOver(t *testing.T) {
	var net hosttest.Net
	n := start(t, &net, newKey(t), t.TempDir(), nil)
	if err := n.RegisterFactory("n", daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) {
		return &puppet{onProcess: func(string) error { return errors.New("no") }}, nil
	})); err != nil {
		t.Fatal(err)
	}
	d := n.spawnAs("n", nil)
	m := &channel.Carry{To: d.Entity, From: identity.NamedSender("other"), Effects: []channel.Carriage{{Epoch: 1, Number: 1}, {Epoch: 1, Number: 2}}}
	if err := n.store.Close(); err != nil {
		t.Fatal(err)
	}

	got, err := n.TakeEffects(ctx, m)
	if err == nil || got != (outbox.Taken{}) {
		t.Errorf("got %+v, error %v; want nothing taken, and the store's error", got, err)
	}
	if err := n.Shutdown(ctx); !errors.Is(err, store.ErrClosed) {
		t.Errorf("shutdown: got %v, want the store's error", err)
	}
	n.store = nil // what the node leaves behind has been ended here
}

// A receiver that cannot be reached fills the sender's room, whose events then fail
// by a limit; when it can be reached again all arrives.
func TestPendingEffectsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		a, b := s.nodes[0], s.nodes[1]
		d, to := a.actor(anybody()), b.actor(effect.Grants{})
		s.net.SetDown(b.Self(), true)
		line := "send " + to.Entity.String() + " x\n"
		n := 0
		var over *daemon.GuestError
		for {
			_, err := a.Deliver(ctx, d.Entity, daemon.Event{Payload: []byte(strings.Repeat(line, 1000))})
			if errors.As(err, &over) {
				break
			}
			if n++; err != nil || n > 4 {
				t.Fatal(n, err)
			}
		}
		if n != 4 || over.Limit != "pending-effects" {
			t.Errorf("after %d events: %v", n, over)
		}
		time.Sleep(time.Second)
		if e, err := a.Daemons().Effects(d.Entity); err != nil || len(e.Pending) != 1 || e.Pending[0].Events != 4000 || e.Pending[0].Reason == "" {
			t.Errorf("%+v, %v", e, err)
		}
		s.net.SetDown(b.Self(), false)
		time.Sleep(time.Minute)
		if got := len(strings.Fields(b.send(to.Entity, "what"))); got != 4000 {
			t.Errorf("%d arrived", got)
		}
		if e, err := a.Daemons().Effects(d.Entity); err != nil || len(e.Pending) != 0 {
			t.Errorf("%+v, %v", e, err)
		}
	})
}

func TestTimersFireOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		s := newStage(t, 2)
		d := s.nodes[0].actor(effect.Grants{})
		s.nodes[0].wantSend(d.Entity, "timer 3h late\ntimer 1h soon\ntimer 2h never", fmt.Sprint(effect.Number(1, 0), effect.Number(1, 1), effect.Number(1, 2))+" ok")
		s.nodes[0].wantSend(d.Entity, fmt.Sprintf("cancel %d", effect.Number(1, 2)), "ok")
		s.nodes[0].wantSend(d.Entity, "cancel 77", "ok")
		time.Sleep(59 * time.Minute)
		s.nodes[0].wantSend(d.Entity, "what", "")
		time.Sleep(time.Minute + time.Second)
		s.nodes[0].wantSend(d.Entity, "what", "timer:soon")
		s.nodes[0].migrate(d.Entity, s.nodes[1])
		s.kill(1, rng)
		if e, err := s.nodes[1].Daemons().Effects(d.Entity); err != nil || len(e.Timers) != 1 || string(e.Timers[0].Payload) != "late" {
			t.Errorf("%+v, %v", e, err)
		}
		for !s.nodes[1].Passivate(d.Entity) {
			time.Sleep(time.Second)
		}
		if err := s.nodes[1].store.Commit(&store.Batch{}); err != nil { // what was submitted before is there
			t.Fatal(err)
		}
		s.kill(1, rng)
		if i, err := s.nodes[1].Daemons().Inspect(d.Entity); err != nil || i.State != "passive" {
			t.Errorf("%+v, %v", i, err)
		}
		time.Sleep(110 * time.Minute)
		if i, err := s.nodes[1].Daemons().Inspect(d.Entity); err != nil || i.State != "passive" {
			t.Errorf("%+v, %v", i, err)
		}
		time.Sleep(10 * time.Minute)
		s.kill(1, rng)
		time.Sleep(5 * time.Hour)
		if got := s.heard(d.Entity); got != "timer:soon timer:late" {
			t.Errorf("it heard %q", got)
		}
		// A node that was down at the time fires late rather than never.
		s.nodes[1].send(d.Entity, "timer 1m down")
		n := s.nodes[1]
		if err := errors.Join(n.Shutdown(ctx), n.store.Close()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s.begin(1)
		time.Sleep(time.Second)
		if got := s.heard(d.Entity); got != "timer:soon timer:late timer:down" {
			t.Errorf("it heard %q", got)
		}
		if err := s.nodes[1].proves(d.Entity); err != nil {
			t.Error(err)
		}
	})
}

// Whatever moves and is killed: what a daemon sends is applied by the other, and
// what it publishes is on the channel, once and in order.
func TestEffectsArriveOnceWhateverHappens(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 9))
				s := newStage(t, 3)
				s.nodes[2].create("news", broker.Policy{})
				from := s.nodes[0].actor(effect.Grants{SendAny: true, Publish: []effect.PublishGrant{{Node: s.nodes[2].Self(), Pattern: "news"}}}).Entity
				to := s.nodes[1].actor(effect.Grants{}).Entity
				client, want := newKey(t).ID(), ""
				for n := uint64(1); n <= 60; n++ {
					text := fmt.Sprintf("send %s %d\npublish news %d\ntimer %ds %d", to, n, n, rng.IntN(20), n)
					want += fmt.Sprintf(" %.4s:%d", from, n)
					for {
						_, err := s.where(from).Deliver(ctx, from, daemon.Event{Sender: client, Number: n, Payload: []byte(text)})
						if err == nil {
							break
						}
						time.Sleep(time.Second)
					}
					switch i := rng.IntN(3); rng.IntN(6) {
					case 0:
						s.kill(i, rng)
					case 1, 2:
						for _, id := range []identity.EntityID{from, to} {
							at, target := s.where(id), s.nodes[rng.IntN(3)]
							if at != target && rng.IntN(2) == 0 {
								if _, err := at.StartMigration(ctx, id, target.Self()); err != nil {
									t.Log(err)
								}
							}
						}
						if rng.IntN(3) == 0 {
							time.Sleep(time.Duration(rng.IntN(int(10 * time.Millisecond))))
							s.kill(i, rng)
						}
					case 3:
						time.Sleep(time.Duration(rng.IntN(int(time.Second))))
					}
				}
				time.Sleep(5 * time.Minute)
				if got := s.heard(to); got != strings.TrimSpace(want) {
					t.Errorf("it heard %q", got)
				}
				seen, timers := "", strings.Fields(s.heard(from))
				if len(timers) != 60 {
					t.Errorf("%d timers fired: %q", len(timers), timers)
				}
				stop := errors.New("all")
				err := s.nodes[2].Channels().Follow(ctx, "news", &broker.Cursor{}, nil, func(ev broker.Event, _ bool) error {
					if ev.From != from {
						t.Errorf("event %d is from %s", ev.Sequence, ev.From)
					}
					if seen += " " + string(ev.Payload); string(ev.Payload) == "60" {
						return stop
					}
					return nil
				})
				if !errors.Is(err, stop) || len(strings.Fields(seen)) != 60 || seen != strings.ReplaceAll(want, fmt.Sprintf("%.4s:", from), "") {
					t.Errorf("published is %q, %v", seen, err)
				}
				if e, err := s.where(from).Daemons().Effects(from); err != nil || len(e.Pending)+len(e.Timers) != 0 {
					t.Errorf("%+v, %v", e, err)
				}
			})
		})
	}
}

// A node cannot say that a daemon sent something which it does not have, nor under
// an epoch in which it had it no more.
func TestASenderIsProven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 3)
		a, b, c := s.nodes[0], s.nodes[1], s.nodes[2]
		key := newKey(t)
		d, err := a.Spawn(ctx, daemon.SpawnRequest{Kind: "actor", Identity: key, Grants: anybody()})
		if err != nil {
			t.Fatal(err)
		}
		to := b.actor(effect.Grants{}).Entity
		ours, err := channel.NewResidence(key, a.Self(), 1)
		if err != nil {
			t.Fatal(err)
		}
		carry := func(from *node, word []byte, epoch uint64) error {
			peer, err := from.mesh.Peer(b.Self())
			if err != nil {
				return err
			}
			conn, err := peer.OpenChannel(ctx)
			if err != nil {
				return err
			}
			defer conn.Abort()
			m := &channel.Carry{Version: channel.Version, From: d.Entity, To: to, Residence: word, Effects: []channel.Carriage{{Epoch: epoch, Number: 1 << 50, Payload: []byte("forged")}}}
			if err := errors.Join(conn.Send(m), conn.Flush()); err != nil {
				return err
			}
			msg, err := conn.Recv()
			if refused, ok := msg.(*channel.Refused); ok {
				return &channel.Refusal{Code: refused.Code, Text: refused.Text}
			}
			return err
		}
		for name, err := range map[string]error{"without": carry(c, nil, 1), "of another node": carry(c, ours, 1), "of an epoch to come": carry(a, ours, 2)} {
			if !errors.Is(err, channel.ErrResidence) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := b.Deliver(ctx, to, daemon.Event{Sender: d.Entity, Number: 1 << 60, Payload: []byte("what")}); err != nil {
			t.Error(err) // a client's word under that name is another sender's
		}
		a.migrate(d.Entity, c)
		c.wantSend(d.Entity, "send "+to.String()+" true", "ok")
		synctest.Wait()
		b.wantSend(to, "what", fmt.Sprintf("%.4s:true", d.Entity))
	})
}

// What is sent to a daemon that no node has is given up after a minute, and does not
// hold up the rest.
func TestWhatHasNoReceiverIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		d, to := s.nodes[0].actor(anybody()).Entity, s.nodes[1].actor(effect.Grants{}).Entity
		s.nodes[0].wantSend(d, fmt.Sprintf("send %s a\nsend %s b", newKey(t).ID(), to), "ok")
		time.Sleep(30 * time.Second)
		s.nodes[1].wantSend(to, "what", fmt.Sprintf("%.4s:b", d))
		if e, err := s.nodes[0].Daemons().Effects(d); err != nil || len(e.Pending) != 1 {
			t.Errorf("%+v, %v", e, err)
		}
		time.Sleep(time.Minute)
		lines, err := s.nodes[0].Daemons().Logs(d)
		if e, err2 := s.nodes[0].Daemons().Effects(d); err != nil || err2 != nil || len(e.Pending) != 0 || len(lines) != 1 || !strings.Contains(lines[0].Text, "given up") {
			t.Errorf("%+v, %+v, %v, %v", e, lines, err, err2)
		}
	})
}

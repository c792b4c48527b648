package host_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/host"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// caller is a native daemon that asks and answers. A direct event is "ask ENTITY DELAY
// TEXT" (DELAY 0: no deadline), "answer CALL TEXT", "refuse CALL TEXT", or "what", which is
// answered by how its calls ended. Asked "now TEXT" it answers at once, "later TEXT" when it
// is told, "fail" it fails on.
type caller struct {
	native
	heard []string
}

func (c *caller) Answers() bool { return true }

func (c *caller) Process(call *daemon.Call, p []byte) ([][]byte, error) {
	text := string(p)
	switch call.Kind {
	case daemon.EventReply:
		c.heard = append(c.heard, fmt.Sprintf("%s:%s", call.Status, text))
		return nil, nil
	case daemon.EventAsk:
		verb, rest, _ := strings.Cut(text, " ")
		switch verb {
		case "now":
			return nil, call.Answer(call.Call, []byte(rest))
		case "no":
			return nil, call.Refuse(call.Call, rest)
		case "fail":
			return nil, errors.New("asked to fail")
		}
		c.heard = append(c.heard, fmt.Sprintf("asked:%d", call.Call))
		return nil, nil
	}

	verb, rest, _ := strings.Cut(text, " ")
	arg, rest, _ := strings.Cut(rest, " ")
	switch verb {
	case "what":
		return [][]byte{[]byte(strings.Join(c.heard, " "))}, nil
	case "ask":
		id, err := identity.ParseEntityID(arg)
		if err != nil {
			return nil, err
		}
		after, rest, _ := strings.Cut(rest, " ")
		delay, err := time.ParseDuration(after)
		if err != nil {
			return nil, err
		}
		var deadline time.Time
		if delay > 0 {
			deadline = time.Unix(0, call.Time).Add(delay)
		}
		n, err := call.Ask(id, []byte(rest), deadline)
		return [][]byte{strconv.AppendUint(nil, n, 10)}, err
	case "answer", "refuse":
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return nil, err
		}
		if verb == "refuse" {
			err = call.Refuse(n, rest)
		} else {
			err = call.Answer(n, []byte(rest))
		}
		return [][]byte{[]byte("ok")}, err
	}
	return nil, fmt.Errorf("no verb %q", verb)
}

func (c *caller) Snapshot(*daemon.Call) ([]byte, error) {
	return []byte("+" + strings.Join(c.heard, "\n")), nil
}

func (c *caller) Restore(_ *daemon.Call, s []byte) error {
	c.heard = nil
	if len(s) > 1 {
		c.heard = strings.Split(string(s[1:]), "\n")
	}
	return nil
}

func callerFactory() daemon.Factory {
	return daemon.FactoryFunc(func(context.Context, daemon.Env) (daemon.Daemon, error) { return &caller{}, nil })
}

func (n *node) caller() daemon.Info {
	n.t.Helper()
	i, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "caller", Grants: anybody()})
	if err != nil {
		n.t.Fatal(err)
	}
	return i
}

// asks has a daemon ask another.
func (s *stage) asks(from, to daemon.Info, deadline time.Duration, text string) {
	s.t.Helper()
	s.where(from.Entity).send(from.Entity, fmt.Sprintf("ask %s %s %s", to.Entity, deadline, text))
}

func (s *stage) wantHeard(d daemon.Info, want string) {
	s.t.Helper()
	synctest.Wait()
	if got := s.heard(d.Entity); got != want {
		s.t.Errorf("daemon %s: got %q, want %q", d.Entity.Origin(), got, want)
	}
}

func TestCallsAreAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		a, b := s.nodes[0].caller(), s.nodes[1].caller()
		for _, text := range []string{"now 3", "no closed", "fail", "now "} {
			s.asks(a, b, 0, text)
			time.Sleep(time.Second)
		}
		s.wantHeard(a, "answered:3 refused:closed failed:guest process failed with code -1: asked to fail answered:")

		e, err := s.nodes[0].Daemons().Effects(a.Entity)
		if err != nil || len(e.Calls)+len(e.Pending) != 0 {
			t.Errorf("what has ended is there: %+v, %v", e, err)
		}
	})
}

// A callee that does not answer calls answers by its outputs.
func TestOutputsAreTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		a, b := s.nodes[0].caller(), s.nodes[1].actor(effect.Grants{})
		s.nodes[1].push("counter", "c/counter.wasm")
		c := s.nodes[1].spawn("counter", "c")
		s.asks(a, b, 0, "hello") // of what another daemon sends an actor makes no output
		s.asks(a, c, 0, "x")
		time.Sleep(time.Second)
		s.asks(a, c, 0, "x")
		time.Sleep(time.Second)
		if got := strings.Fields(s.heard(a.Entity)); len(got) != 3 || got[2] != "answered:2" {
			t.Errorf("got %q, want the counter's second number last", got)
		}
		s.wantHeard(b, fmt.Sprintf("%.4s:hello", a.Entity))
	})
}

// An answer comes in a later event, after both daemons moved, their nodes crashed, and one
// of them was put away.
func TestAnAnswerComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 2))
		s := newStage(t, 3)
		a, b := s.nodes[0].caller(), s.nodes[1].caller()
		s.asks(a, b, 0, "later")
		time.Sleep(time.Second)
		s.nodes[0].migrate(a.Entity, s.nodes[2])
		s.nodes[1].migrate(b.Entity, s.nodes[0])
		for i := range s.nodes {
			s.kill(i, rng)
		}
		for !s.nodes[2].Passivate(a.Entity) {
			time.Sleep(time.Second)
		}
		s.wantHeard(b, "asked:1")
		s.nodes[0].send(b.Entity, "answer 1 at last")
		s.nodes[0].send(b.Entity, "answer 1 once more")
		s.nodes[0].send(b.Entity, "refuse 1 too late")
		time.Sleep(time.Minute)
		s.wantHeard(a, "answered:at last")
		s.kill(2, rng)
		s.wantHeard(a, "answered:at last")
	})
}

func TestCallsTimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(3, 4))
		s := newStage(t, 2)
		a, b := s.nodes[0].caller(), s.nodes[1].caller()
		s.asks(a, b, 2*time.Hour, "later")
		s.asks(a, b, time.Hour, "later")
		time.Sleep(59 * time.Minute)
		s.wantHeard(a, "")
		s.kill(0, rng)
		for !s.nodes[0].Passivate(a.Entity) {
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Minute)
		s.wantHeard(a, "timed out:")
		s.nodes[1].send(b.Entity, "answer 2 late") // of the one that timed out
		s.nodes[1].send(b.Entity, "answer 1 soon")
		time.Sleep(2 * time.Hour)
		s.wantHeard(a, "timed out: answered:soon")
	})
}

// A call that timed out before it could leave does not arrive later, as anything else.
func TestACallThatTimedOutDoesNotLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		a, b := s.nodes[0].caller(), s.nodes[1].caller()
		s.net.SetDown(s.nodes[1].Self(), true)
		s.asks(a, b, time.Minute, "later")
		time.Sleep(2 * time.Minute)
		s.wantHeard(a, "timed out:")
		s.net.SetDown(s.nodes[1].Self(), false)
		time.Sleep(2 * time.Minute)
		s.wantHeard(b, "")
		if e, err := s.nodes[1].Daemons().Effects(b.Entity); err != nil || e.PassedOver != 0 {
			t.Errorf("got %+v, %v; want that nothing came", e, err)
		}
		if e, err := s.nodes[0].Daemons().Effects(a.Entity); err != nil || len(e.Pending) != 0 {
			t.Errorf("got %+v, %v; want nothing on its way", e, err)
		}
	})
}

// New code cannot go on where the old one waits.
func TestNoUpgradeWhileCallsAreOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1)
		n := s.nodes[0]
		n.push("account", "rust/account.wasm")
		d, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "account", Config: []byte("9"), Grants: anybody()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := n.Deliver(ctx, d.Entity, daemon.Event{Payload: fmt.Appendf(nil, "pay %s 1", newKey(t).ID())}); err != nil {
			t.Fatal(err)
		}
		n.push("probe", "rust/probe.wasm")
		_, err = n.Upgrade(ctx, d.Entity, sha256.Sum256(guest(t, "rust/probe.wasm")))
		if !errors.Is(err, daemon.ErrCannotUpgrade) || !strings.Contains(err.Error(), "1 calls of the daemon have not ended") {
			t.Errorf("got %v, want that a call has not ended", err)
		}
	})
}

func TestCallsToNobodyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		a := s.nodes[0].caller()
		nobody := daemon.Info{Entity: newKey(t).ID()}
		s.asks(a, nobody, 0, "now x")
		time.Sleep(2 * time.Minute)
		s.wantHeard(a, "no such daemon:")
	})
}

// A daemon that was asked and is removed before it answers leaves nobody waiting; nor does
// one that waits and is removed.
func TestCallsToRemovedDaemonsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(7, 8))
		s := newStage(t, 2)
		a, b, c := s.nodes[0].caller(), s.nodes[1].caller(), s.nodes[1].caller()
		s.asks(a, b, 0, "later")
		s.asks(a, c, 0, "later")
		s.asks(c, a, 0, "later")
		time.Sleep(time.Second)
		if err := s.nodes[1].Stop(ctx, b.Entity); err != nil {
			t.Fatal(err)
		}
		for !s.nodes[0].Passivate(a.Entity) {
			time.Sleep(time.Second)
		}
		time.Sleep(4 * time.Minute)
		s.wantHeard(a, "asked:3 no such daemon:")
		s.kill(0, rng)
		if err := s.nodes[1].Stop(ctx, c.Entity); err != nil {
			t.Fatal(err)
		}
		s.nodes[0].send(a.Entity, "answer 3 to nobody")
		time.Sleep(4 * time.Minute)
		s.wantHeard(a, "asked:3 no such daemon: no such daemon:")
		if e, err := s.nodes[0].Daemons().Effects(a.Entity); err != nil || len(e.Calls)+len(e.Owes)+len(e.Replies) != 0 {
			t.Errorf("what has ended is there: %+v, %v", e, err)
		}
	})
}

// A call in a circle, and one to oneself, end: events are short, and nobody waits.
func TestCirclesDoNotLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 2)
		a, b := s.nodes[0].caller(), s.nodes[1].caller()
		for range 10 {
			s.asks(a, b, 0, "now b")
			s.asks(b, a, 0, "now a")
			s.asks(a, a, 0, "now self")
		}
		time.Sleep(time.Minute)
		if got := strings.Fields(s.heard(a.Entity)); len(got) != 20 {
			t.Errorf("got %d answers, want 20", len(got))
		}
		if got := strings.Fields(s.heard(b.Entity)); len(got) != 10 {
			t.Errorf("got %d answers, want 10", len(got))
		}
	})
}

// A fork's calls end as forked, and it answers none of its parent's.
func TestCallsOfForksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1)
		n := s.nodes[0]
		a, b := n.caller(), n.caller()
		s.asks(a, b, 0, "later")
		time.Sleep(time.Second) // b has it as its first event
		s.asks(b, a, 0, "later")
		time.Sleep(time.Second)
		forks, err := n.Fork(ctx, a.Entity, host.ForkRequest{})
		if err != nil {
			t.Fatal(err)
		}
		fork := forks[0].Info
		time.Sleep(time.Second)
		s.wantHeard(fork, "asked:2 forked:")
		n.send(fork.Entity, "answer 2 not mine to give")
		n.send(b.Entity, "answer 1 yes")
		time.Sleep(time.Second)
		s.wantHeard(a, "asked:2 answered:yes")
		s.wantHeard(b, "asked:1")
	})
}

// Calls are made, answered and waited for while their daemons move and their nodes crash:
// each ends once, by its own answer.
func TestCallsThroughMovesAndCrashes(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rng := rand.New(rand.NewPCG(seed, 5))
				s := newStage(t, 3)
				var all []daemon.Info
				for i := range s.nodes {
					all = append(all, s.nodes[i].caller())
				}
				want := make([]int, len(all))
				for round := range 40 {
					switch from := rng.IntN(len(all)); rng.IntN(4) {
					case 0:
						s.kill(rng.IntN(len(s.nodes)), rng)
					case 1:
						n, to := s.where(all[from].Entity), s.nodes[rng.IntN(len(s.nodes))]
						if n != to {
							n.migrate(all[from].Entity, to)
						}
					default:
						s.asks(all[from], all[rng.IntN(len(all))], 0, fmt.Sprintf("now %d", round))
						want[from]++
					}
				}
				time.Sleep(5 * time.Minute)
				for i, d := range all {
					seen := make(map[string]bool)
					got := strings.Fields(s.heard(d.Entity))
					for _, one := range got {
						if seen[one] || !strings.HasPrefix(one, "answered:") {
							t.Errorf("daemon %d heard %q twice, or otherwise", i, one)
						}
						seen[one] = true
					}
					if len(got) != want[i] {
						t.Errorf("daemon %d: got %d answers, want %d", i, len(got), want[i])
					}
				}
			})
		})
	}
}

// A bank of guests: accounts pay one another while they move, are put away and their nodes
// crash. No money is lost or made, and each payment ends.
func TestABankOfGuests(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { bank(t, rand.New(rand.NewPCG(seed, 11))) })
		})
	}
}

func bank(t *testing.T, rng *rand.Rand) {
	const accounts, money, rounds = 4, 1000, 60
	s := newStage(t, 3)
	var all []daemon.Info
	for i := range accounts {
		n := s.nodes[i%len(s.nodes)]
		if i < len(s.nodes) {
			n.push("account", "rust/account.wasm")
		}
		d, err := n.Spawn(ctx, daemon.SpawnRequest{Kind: "account", Config: []byte(strconv.Itoa(money)), Grants: anybody()})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}

	paid := 0
	for range rounds {
		d := all[rng.IntN(accounts)]
		n := s.where(d.Entity)
		switch rng.IntN(6) {
		case 0:
			s.kill(rng.IntN(len(s.nodes)), rng)
		case 1:
			if to := s.nodes[rng.IntN(len(s.nodes))]; to != n {
				n.migrate(d.Entity, to)
			}
		case 2:
			n.Passivate(d.Entity) // where it is not busy
		default:
			to, amount := all[rng.IntN(accounts)].Entity, 1+rng.IntN(2*money)
			_, err := n.Deliver(ctx, d.Entity, daemon.Event{Payload: fmt.Appendf(nil, "pay %s %d", to, amount)})
			var fault *daemon.GuestError
			if errors.As(err, &fault) && fault.Code == 4 {
				continue // it has not so much
			}
			if err != nil {
				t.Fatal(err)
			}
			paid++
		}
	}
	time.Sleep(5 * time.Minute)

	sum := 0
	for _, d := range all {
		var balance, underWay int
		got := s.where(d.Entity).send(d.Entity, "balance")
		if _, err := fmt.Sscan(got, &balance, &underWay); err != nil || underWay != 0 {
			t.Errorf("account %s: got %q, want nothing on its way", d.Entity.Origin(), got)
		}
		sum += balance
	}
	if sum != accounts*money || paid == 0 {
		t.Errorf("after %d payments: got %d in all accounts, want %d", paid, sum, accounts*money)
	}
}

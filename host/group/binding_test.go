package group

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"wasmhost.example/identity"
	"wasmhost.example/internal/draw"
)

type eventID struct {
	sender string
	number uint64
}

func (m *Manager) routeOnce(ev eventID, key string) (Member, error) {
	x, done, err := m.RouteOnce("g", identity.NamedSender(ev.sender), ev.number, []byte(key))
	if err == nil {
		done()
	}
	return x, err
}

// Whatever becomes of a group, of its members and of the node that keeps it, an event
// with an id goes to one member that is never another, or is refused by name.
func TestAnIDHasOneMember(t *testing.T) {
	draw.Check(t, func(t *draw.T) {
		w, r := newWorld(4), &Memory{}
		start := func() *Manager {
			m, err := NewManager(w, r, SenderMemory{}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		m := start()
		strategy := draw.One(t, "strategy", Strategies...)
		if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: draw.Int(t, "size", 1, 6), Strategy: strategy}, nil, nil); err != nil {
			t.Fatal(err)
		}
		had := map[eventID]uint64{} // Member.Born
		next := map[string]uint64{}
		for range draw.Int(t, "steps", 1, 60) {
			switch draw.Int(t, "what", 0, 9) {
			case 0:
				if _, err := m.Scale(ctx, "g", draw.Int(t, "to", 1, 6)); err != nil {
					t.Fatal(err)
				}
			case 1: // a member is lost, and made anew
				g, err := m.Get("g")
				if err != nil {
					t.Fatal(err)
				}
				x := draw.One(t, "lost", g.Members...)
				delete(w.nodes[x.Node], x.Entity)
				if _, err := m.Heal(ctx, "g"); err != nil {
					t.Fatal(err)
				}
			case 2:
				m = start()
			default:
				ev := eventID{sender: fmt.Sprint("s", draw.Int(t, "sender", 0, 4))}
				most := next[ev.sender]
				ev.number = uint64(draw.Int(t, "number", 1, int(most)+3))
				next[ev.sender] = max(most, ev.number)
				x, err := m.routeOnce(ev, draw.One(t, "key", "", "", "ann", "bob"))
				switch born, again := had[ev]; {
				case errors.Is(err, ErrMemberGone):
				case err != nil:
					t.Fatalf("%v: %v", ev, err)
				case again && born != x.Born:
					t.Fatalf("%v went to member %d, then to member %d", ev, born, x.Born)
				default:
					had[ev] = x.Born
				}
			}
		}
	})
}

// What a sender sends anew follows its key, and goes on where its member is gone; what it
// sends again does neither.
func TestNewEventsFollowTheGroup(t *testing.T) {
	w := newWorld(3)
	m := newManager(t, w, &Memory{})
	if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 2, Strategy: Consistent}, nil, nil); err != nil {
		t.Fatal(err)
	}
	to := func(ev eventID, key string) Member {
		t.Helper()
		x, err := m.routeOnce(ev, key)
		if err != nil {
			t.Fatalf("%v: %v", ev, err)
		}
		return x
	}
	moved, stayed := 0, 0
	for i := range 40 {
		sender, key := fmt.Sprint("keyed-", i), fmt.Sprint("key-", i)
		first := to(eventID{sender, 1}, key)
		plain := to(eventID{fmt.Sprint("plain-", i), 1}, "")
		if _, err := m.Scale(ctx, "g", 6); err != nil {
			t.Fatal(err)
		}
		again, next := to(eventID{sender, 1}, key), to(eventID{sender, 2}, key)
		if again.Born != first.Born {
			t.Errorf("key %d: sent again it goes to member %d, not %d", i, again.Index, first.Index)
		}
		if want, end := route(t, m, key, false); want.Born != next.Born {
			t.Errorf("key %d is for member %d, the sender's next event goes to member %d", i, want.Index, next.Index)
		} else {
			end()
		}
		if next.Born != first.Born {
			moved++
		}
		if to(eventID{fmt.Sprint("plain-", i), 2}, "").Born == plain.Born {
			stayed++
		}
		if back := to(eventID{sender, 1}, key); back.Born != first.Born {
			t.Errorf("key %d: after another event it goes to member %d, not %d", i, back.Index, first.Index)
		}
		if _, err := m.Scale(ctx, "g", 2); err != nil {
			t.Fatal(err)
		}
		if next.Index >= 2 {
			if x, err := m.routeOnce(eventID{sender, 2}, key); !errors.Is(err, ErrMemberGone) {
				t.Errorf("key %d: what a member had that is gone goes to %+v, %v", i, x, err)
			}
			to(eventID{sender, 3}, key)
		}
	}
	if moved == 0 || moved == 40 {
		t.Errorf("of 40 keys %d went to another member as the group grew", moved)
	}
	if stayed != 40 {
		t.Errorf("%d of 40 senders without keys stayed with their members", stayed)
	}
}

// After a restart the numbers that may have been sent are refused where the member is
// gone, and those above are not.
func TestNumbersAreKnownAfterARestart(t *testing.T) {
	w, r := newWorld(3), &Memory{}
	m := newManager(t, w, r)
	g, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 1}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for n := range uint64(100) {
		if _, err := m.routeOnce(eventID{"s", n + 1}, ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.routeOnce(eventID{"one", 1}, ""); err != nil {
		t.Fatal(err)
	}
	m = newManager(t, w, r)
	delete(w.nodes[g.Members[0].Node], g.Members[0].Entity)
	if _, err := m.Heal(ctx, "g"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []uint64{1, 50, 100} {
		if x, err := m.routeOnce(eventID{"s", n}, ""); !errors.Is(err, ErrMemberGone) {
			t.Errorf("number %d goes to %+v, %v", n, x, err)
		}
	}
	for _, ev := range []eventID{{"s", 100 + maxReserve}, {"one", 2}} {
		if _, err := m.routeOnce(ev, ""); err != nil {
			t.Errorf("%v, which was never sent: %v", ev, err)
		}
	}
}

// A group remembers so many senders. It refuses others by name, and forgets nobody whose
// member remembers.
func TestSendersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const places = 64
		r := &Memory{}
		m, err := NewManager(newWorld(1), r, SenderMemory{Places: places, For: time.Hour}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 2}, nil, nil); err != nil {
			t.Fatal(err)
		}
		send := func(sender identity.EntityID, number uint64) error {
			_, done, err := m.RouteOnce("g", sender, number, nil)
			if err == nil {
				done()
			}
			return err
		}
		of := func(scope string, i int) identity.EntityID {
			return identity.ScopedSender(scope, identity.NamedSender(fmt.Sprint(i)))
		}
		for i := range places / shareOfScope {
			if err := send(of("token:1", i), 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := send(of("token:1", 99), 1); !errors.Is(err, ErrSenderQuota) {
			t.Errorf("a token over its share: %v", err)
		}
		for i := range places - places/shareOfScope {
			if err := send(identity.NamedSender(fmt.Sprint(i)), 1); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 { // a refusal leaves nothing behind
			if err := send(identity.NamedSender("more"), 1); !errors.Is(err, ErrTooManySenders) {
				t.Errorf("a sender too many: %v", err)
			}
		}
		if n := m.Senders("g"); n != places {
			t.Errorf("%d senders, want %d", n, places)
		}
		time.Sleep(59 * time.Minute)
		if err := send(identity.NamedSender("0"), 2); err != nil {
			t.Error(err)
		}
		if err := send(identity.NamedSender("more"), 1); !errors.Is(err, ErrTooManySenders) {
			t.Errorf("before the hour is over: %v", err)
		}
		time.Sleep(20 * time.Minute)
		if err := send(identity.NamedSender("more"), 1); err != nil {
			t.Errorf("once the others were silent for an hour: %v", err)
		}
		if n := m.Senders("g"); n != 2 || len(r.bindings["g"]) != 2 {
			t.Errorf("%d senders, %d stored, want the two that sent in the last hour", n, len(r.bindings["g"]))
		}
	})
}

// A sender that changes its member all the time has so many runs; older events are refused.
func TestRunsAreBounded(t *testing.T) {
	m := newManager(t, newWorld(1), &Memory{})
	if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 2}, nil, nil); err != nil {
		t.Fatal(err)
	}
	var keys [2]string // for one member each
	for i := 0; keys[0] == "" || keys[1] == ""; i++ {
		x, err := m.routeOnce(eventID{fmt.Sprint("probe-", i), 1}, fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		keys[x.Index] = fmt.Sprint(i)
	}
	before := m.groups["g"].bound.places
	const last = maxRuns + 50
	for n := range uint64(last) {
		if x, err := m.routeOnce(eventID{"s", n + 1}, keys[n%2]); err != nil || uint64(x.Index) != n%2 {
			t.Fatalf("number %d goes to member %d, %v", n+1, x.Index, err)
		}
	}
	if got := m.groups["g"].bound.places - before; got != maxRuns {
		t.Errorf("the sender has %d places, want %d", got, maxRuns)
	}
	for n := range uint64(last) {
		x, err := m.routeOnce(eventID{"s", n + 1}, keys[n%2])
		if n+1 <= 50 {
			if !errors.Is(err, ErrMemberGone) {
				t.Fatalf("number %d, of which nothing is known: %+v, %v", n+1, x, err)
			}
		} else if err != nil || uint64(x.Index) != n%2 {
			t.Fatalf("number %d, again, goes to member %d, %v", n+1, x.Index, err)
		}
	}
}

// unbinding is a registry that cannot store bindings.
type unbinding struct {
	Memory
	err error
}

func (u *unbinding) Bind(group string, b Binding) error {
	if u.err != nil {
		return u.err
	}
	return u.Memory.Bind(group, b)
}

// No event is given to a member before its binding is stored.
func TestBindingsAreStoredFirst(t *testing.T) {
	r := &unbinding{}
	m, err := NewManager(newWorld(1), r, SenderMemory{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 3}, nil, nil); err != nil {
		t.Fatal(err)
	}
	r.err = errors.New("the disk is full")
	for range 2 {
		if x, err := m.routeOnce(eventID{"s", 1}, ""); !errors.Is(err, r.err) {
			t.Errorf("it goes to %+v, %v", x, err)
		}
	}
	if n := m.Senders("g"); n != 0 || m.groups["g"].bound.places != 0 {
		t.Errorf("%d senders, %d places", n, m.groups["g"].bound.places)
	}
	r.err = nil
	if _, err := m.routeOnce(eventID{"s", 1}, ""); err != nil || len(r.bindings["g"]) != 1 {
		t.Error(err)
	}
	if err := m.Remove(ctx, "g"); err != nil || len(r.bindings["g"]) != 0 {
		t.Errorf("the group is gone, %d bindings are left, %v", len(r.bindings["g"]), err)
	}
}

// Many senders at once, one of them many times: each has one member.
func TestOneSenderAtOnce(t *testing.T) {
	m := newManager(t, newWorld(1), &Memory{})
	if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 5}, nil, nil); err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	had := map[eventID]map[uint64]bool{}
	for range 8 {
		work.Go(func() {
			for i := range 200 {
				ev := eventID{fmt.Sprint("s", i%20), uint64(i/20 + 1)}
				x, err := m.routeOnce(ev, "")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if had[ev] == nil {
					had[ev] = map[uint64]bool{}
				}
				had[ev][x.Born] = true
				mu.Unlock()
			}
		})
	}
	work.Wait()
	for ev, members := range had {
		if len(members) != 1 {
			t.Errorf("%v went to %d members", ev, len(members))
		}
	}
}

package group

import (
	"errors"
	"fmt"
	"testing"

	"wasmhost.example/identity"
	"wasmhost.example/internal/draw"
)

func route(t testing.TB, m *Manager, key string, again bool, without ...identity.EntityID) (Member, func()) {
	t.Helper()
	var x Member
	var end func()
	var err error
	if again {
		x, end, err = m.RouteOnce("g", identity.NamedSender(key), 1, nil)
	} else {
		x, end, err = m.Route("g", []byte(key), without)
	}
	if err != nil {
		t.Fatal(err)
	}
	return x, end
}

func groupOf(t testing.TB, s Strategy) *Manager {
	t.Helper()
	m := newManager(t, newWorld(3), &Memory{})
	if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 4, Strategy: s}, nil, nil); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestRoundRobinTakesTurns(t *testing.T) {
	m := groupOf(t, RoundRobin)
	for n := range 12 {
		x, end := route(t, m, "", false)
		if int(x.Index) != n%4 {
			t.Errorf("event %d goes to member %d", n, x.Index)
		}
		end()
	}
}

func TestLeastLoadedSparesTheBusy(t *testing.T) {
	m := groupOf(t, LeastLoaded)
	var ends []func()
	count := map[uint8]int{}
	for range 8 {
		x, end := route(t, m, "", false)
		count[x.Index]++
		ends = append(ends, end)
	}
	for i, n := range count {
		if n != 2 {
			t.Errorf("member %d has %d of 8", i, n)
		}
	}
	ends[0]()
	ends[0]() // a second time counts nothing
	free := uint8(0)
	if x, _ := route(t, m, "", false); x.Index != free {
		t.Errorf("it goes to member %d, %d has the fewest", x.Index, free)
	}
}

// Keys keep their members, but those of a member that comes or goes.
func TestConsistentHashMovesFewKeys(t *testing.T) {
	draw.Check(t, func(t *draw.T) {
		n := draw.Int(t, "members", 1, 20)
		var members []Member
		for k := range n {
			key, err := identity.Replica([32]byte{byte(draw.Int(t, "seed", 0, 255))}, uint8(k))
			if err != nil {
				t.Fatal(err)
			}
			members = append(members, Member{Index: uint8(k), Entity: key.ID()})
		}
		last := members[n-1]
		for k := range 50 {
			key := fmt.Append(nil, "key ", k)
			with := rendezvous(members, key)
			without := rendezvous(members[:n-1], key)
			if with.Entity != last.Entity && with.Entity != without.Entity {
				t.Fatalf("key %d moved from member %d to %d, for %d left", k, with.Index, without.Index, last.Index)
			}
			turned := rendezvous(append([]Member{last}, members[:n-1]...), key)
			if turned.Entity != with.Entity {
				t.Fatal("the order of members counts")
			}
		}
	})
}

func TestConsistentHashSpreadsKeys(t *testing.T) {
	m := groupOf(t, Consistent)
	count := map[uint8]int{}
	for k := range 4000 {
		x, end := route(t, m, fmt.Sprint("key ", k), false)
		end()
		count[x.Index]++
	}
	for i := range uint8(4) {
		if count[i] < 850 || count[i] > 1150 {
			t.Errorf("member %d has %d of 4000", i, count[i])
		}
	}
}

// An event that is sent again goes where it went, though that does not answer;
// others go to those that do.
func TestEventsThatAreSentAgain(t *testing.T) {
	for _, s := range Strategies {
		m := groupOf(t, s)
		first, _ := route(t, m, "order-7", true)
		m.Unreachable("g", first.Entity, errors.New("it does not answer"))
		if again, _ := route(t, m, "order-7", true); again.Entity != first.Entity {
			t.Errorf("%s: it went to member %d, then to %d", s, first.Index, again.Index)
		}
		for range 8 {
			if x, end := route(t, m, "order-7", false); x.Entity == first.Entity {
				t.Errorf("%s: an event goes to a member that does not answer", s)
			} else {
				end()
			}
		}
		g, err := m.Get("g")
		if err != nil {
			t.Fatal(err)
		}
		var all []identity.EntityID
		for _, x := range g.Members {
			all = append(all, x.Entity)
		}
		if _, _, err := m.Route("g", nil, all); !errors.Is(err, ErrNoHealthy) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/api/client"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/group"
	"wasmhost.example/host/registry"
	"wasmhost.example/identity"
	"wasmhost.example/wire"
	"wasmhost.example/wire/trust"
)

// meet makes nodes trust each other, with all rights, and returns their clients.
func meet(t *testing.T, nodes ...*served) {
	t.Helper()
	for i, a := range nodes {
		for _, b := range nodes[i+1:] {
			must[identity.NodeID](t)(b.mesh.Join(ctx, must[string](t)(a.mesh.Token(60e9, trust.RightsAll))))
		}
	}
}

// keeper is a node that has the kind counter, keeps groups in its store, and a client of
// it.
func keeper(t *testing.T, name string) (*served, *client.Client) {
	t.Helper()
	s := serve(t, name)
	must[registry.KindInfo](t)(s.rt.Kinds().Push(ctx, "counter", counterModule(t)))
	keep(t, s)
	c, _ := clientOf(t, s.server)
	return s, c
}

// keep makes the node's server read its groups from the store, as a start does.
func keep(t *testing.T, s *served) {
	t.Helper()
	key, err := identity.Generate()
	if err != nil {
		t.Fatal(err)
	}
	if s.nodeKey == nil {
		s.nodeKey = key
	}
	if err := s.server.KeepGroups(group.NewStored(s.store, s.nodeKey)); err != nil {
		t.Fatal(err)
	}
}

// refusalOf is the code of the problem that a node answered with.
func refusalOf(err error) string {
	var p *api.Problem
	if errors.As(err, &p) {
		return p.Code
	}
	return fmt.Sprint(err)
}

// tally counts how often each id was applied, and what refused it otherwise.
type tally struct {
	applied map[string]int
	refused map[string]string // code of the last refusal
}

func (c *tally) send(t *testing.T, to *client.Client, ids ...string) {
	t.Helper()
	for _, id := range ids {
		sent, err := to.Send(ctx, "group/v", id, []byte("x"))
		switch {
		case err != nil:
			c.refused[id] = refusalOf(err)
		case !sent.Duplicate:
			c.applied[id]++
		}
	}
}

func numbered(n int) (ids []string) {
	for i := range n {
		ids = append(ids, fmt.Sprint("order-", i))
	}
	return ids
}

// An event with an id is applied once, whatever the size of the group becomes before it
// is sent again, by every strategy, and over restarts of the node that keeps the group.
func TestGroupsApplyAnIDOnce(t *testing.T) {
	for _, strategy := range group.Strategies {
		for _, c := range []struct {
			ids   int
			sizes []int
			gone  bool // some of the ids were a member's that is gone
		}{
			{12, []int{3}, false},
			{100, []int{5}, false},
			{100, []int{2}, true},
			{100, []int{7, 1, 6, 4}, true},
		} {
			t.Run(fmt.Sprint(strategy, c.sizes), func(t *testing.T) {
				a, client := keeper(t, "a")
				size := 4
				if c.ids == 12 {
					size = 2
				}
				must[api.Group](t)(client.Groups().Create(ctx, api.CreateGroup{Name: "v", Kind: "counter", Size: size, Strategy: string(strategy)}))
				count := &tally{applied: map[string]int{}, refused: map[string]string{}}
				ids := numbered(c.ids)
				count.send(t, client, ids...)
				for _, size := range c.sizes {
					must[api.Group](t)(client.Groups().Scale(ctx, "v", size))
					keep(t, a) // a restart
					count.send(t, client, ids...)
				}
				for id, n := range count.applied {
					if n != 1 {
						t.Errorf("%s was applied %d times", id, n)
					}
				}
				if len(count.applied) != len(ids) {
					t.Errorf("%d of %d ids were applied", len(count.applied), len(ids))
				}
				for id, code := range count.refused {
					if code != "binding-gone" {
						t.Errorf("%s was refused with %s", id, code)
					}
				}
				if (len(count.refused) > 0) != c.gone {
					t.Errorf("%d ids were refused: %v", len(count.refused), slices.Sorted(maps.Keys(count.refused)))
				}
			})
		}
	}
}

// While a group is scaled under load, each event is applied once and none fails.
func TestScalingLosesNoEvent(t *testing.T) {
	_, client := keeper(t, "a")
	must[api.Group](t)(client.Groups().Create(ctx, api.CreateGroup{Name: "v", Kind: "counter", Size: 5}))
	var stop atomic.Bool
	var sent, failed atomic.Int64
	var first sync.Map
	var work sync.WaitGroup
	for worker := range 16 {
		work.Go(func() {
			for i := 0; !stop.Load() || i < 25; i++ {
				id := ""
				if worker%2 == 0 {
					id = fmt.Sprintf("w%d-%d", worker, i)
				}
				got, err := client.Send(ctx, "group/v", id, []byte("x"))
				sent.Add(1)
				if err != nil || got.Duplicate {
					failed.Add(1)
					first.Store(fmt.Sprint(refusalOf(err), got.Duplicate), err)
				}
			}
		})
	}
	for range 6 {
		must[api.Group](t)(client.Groups().Scale(ctx, "v", 2))
		must[api.Group](t)(client.Groups().Scale(ctx, "v", 5))
	}
	stop.Store(true)
	work.Wait()
	if failed.Load() > 0 {
		first.Range(func(what, err any) bool { t.Errorf("%v: %v", what, err); return true })
		t.Errorf("%d of %d events failed", failed.Load(), sent.Load())
	}
}

// Two groups of one name, made before their nodes met, apply nothing, whichever node is
// asked, until one of them is removed.
func TestTwoGroupsOfOneName(t *testing.T) {
	a, ca := keeper(t, "a")
	b, cb := keeper(t, "b")
	c, cc := keeper(t, "c")
	for _, client := range []*client.Client{ca, cb} {
		must[api.Group](t)(client.Groups().Create(ctx, api.CreateGroup{Name: "v", Kind: "counter", Size: 2}))
		must[api.Sent](t)(client.Send(ctx, "group/v", "before", []byte("x")))
	}
	meet(t, a, b, c)
	for at, client := range map[string]*client.Client{"a": ca, "b": cb, "c": cc} {
		for _, id := range []string{"", "before", "order-1"} {
			if got, err := client.Send(ctx, "group/v", id, []byte("x")); refusalOf(err) != "ambiguous" {
				t.Errorf("at %s, id %q: %+v, %v; want ambiguous", at, id, got, err)
			}
		}
		for what, err := range map[string]error{
			"inspect": func() error { _, err := client.Groups().Get(ctx, "v"); return err }(),
			"scale":   func() error { _, err := client.Groups().Scale(ctx, "v", 3); return err }(),
			"rm":      func() error { _, err := client.Groups().Remove(ctx, "v"); return err }(),
			"create": func() error {
				_, err := client.Groups().Create(ctx, api.CreateGroup{Name: "v", Kind: "counter", Size: 1})
				return err
			}(),
		} {
			if code := refusalOf(err); code != "ambiguous" && (what != "create" || code != "group-exists") {
				t.Errorf("%s at %s: %v, want ambiguous", what, at, err)
			}
		}
	}

	for at, client := range map[string]*client.Client{"a": ca, "b": cb, "c": cc} {
		for _, g := range must[[]api.Group](t)(client.Groups().List(ctx, true)) {
			if len(g.AlsoAt) != 1 {
				t.Errorf("listed at %s: the group of node %s is also at %v", at, g.NodeID, g.AlsoAt)
			}
		}
	}
	must[api.Group](t)(cb.Groups().GetHere(ctx, "v"))
	must[api.Group](t)(cb.Groups().RemoveHere(ctx, "v"))
	eventually(t, func() error { _, err := ca.Send(ctx, "group/v", "before", []byte("x")); return err })
	for at, client := range map[string]*client.Client{"a": ca, "b": cb, "c": cc} {
		if sent, err := client.Send(ctx, "group/v", "before", []byte("x")); err != nil || !sent.Duplicate {
			t.Errorf("at %s, one of the groups being left: %+v, %v", at, sent, err)
		}
	}
}

// In a cluster one of the nodes that make a group of one name at the same moment has it.
func TestOneNodeOfAClusterKeepsAGroup(t *testing.T) {
	mem := directory.NewMemory()
	nodes := []*clusterNode{serveClustered(t, "a", mem), serveClustered(t, "b", mem)}
	var clients []*client.Client
	for _, n := range nodes {
		must[registry.KindInfo](t)(n.rt.Kinds().Push(ctx, "counter", counterModule(t)))
		c, _ := clientOf(t, n.server)
		clients = append(clients, c)
		eventually(t, n.rt.Node().Holding)
		eventually(t, func() error {
			if peers := must[[]wire.PeerInfo](t)(n.mesh.Peers()); len(peers) != 1 {
				return fmt.Errorf("%d peers", len(peers))
			}
			return nil
		})
	}
	for round := range 10 {
		var all sync.WaitGroup
		made := make([]error, len(clients))
		for i, c := range clients {
			all.Go(func() { _, made[i] = c.Groups().Create(ctx, api.CreateGroup{Name: "v", Kind: "counter", Size: 2}) })
		}
		all.Wait()
		kept := 0
		for i, err := range made {
			if err == nil {
				kept++
			} else if code := refusalOf(err); code != "group-exists" {
				t.Errorf("round %d, node %d: %v", round, i, err)
			}
		}
		if kept != 1 {
			t.Fatalf("round %d: %d nodes keep one group", round, kept)
		}
		for _, c := range clients {
			must[api.Sent](t)(c.Send(ctx, "group/v", "", []byte("x")))
		}
		must[api.Group](t)(clients[round%2].Groups().Remove(ctx, "v"))
	}
	for i, n := range nodes {
		eventually(t, func() error {
			if names := must[*directory.Member](t)(n.rt.Cluster()).Keeps(n.mesh.Self()); len(names) > 0 {
				return fmt.Errorf("node %d still has the names %q", i, names)
			}
			return nil
		})
	}
}

// A member that is ended by hand, wherever it runs, costs no sender of the group an
// answer that a daemon is not found: what it was not given another member has, and an
// event with an id is refused by name or applied once.
func TestMembersThatVanish(t *testing.T) {
	a, client := keeper(t, "a")
	b, _ := keeper(t, "b")
	meet(t, a, b)
	must[api.Group](t)(client.Groups().Create(ctx, api.CreateGroup{Name: "v", Kind: "counter", Size: 4, Place: api.Place{Spread: "node"}}))
	var stop atomic.Bool
	var sent atomic.Int64
	var wrong sync.Map
	var work sync.WaitGroup
	for worker := range 8 {
		work.Go(func() {
			for i := 0; !stop.Load(); i++ {
				id := ""
				if worker%2 == 0 {
					id = fmt.Sprintf("w%d-%d", worker, i)
				}
				got, err := client.Send(ctx, "group/v", id, []byte("x"))
				sent.Add(1)
				switch code := refusalOf(err); {
				case err == nil && !got.Duplicate:
				case err != nil && id != "" && (code == "member-away" || code == "binding-gone"):
				case err != nil && code == "no-healthy-member": // all were ended before one was made anew
				default:
					wrong.Store(fmt.Sprintf("id %q: %s, duplicate %v", id, code, got.Duplicate), err)
				}
			}
		})
	}
	for range 12 {
		g := must[api.Group](t)(client.Groups().Get(ctx, "v"))
		for _, m := range g.Members[:2] {
			at := a
			if m.NodeID == b.mesh.Self().String() {
				at = b
			}
			if err := at.rt.Stop(ctx, must[identity.EntityID](t)(identity.ParseEntityID(m.EntityID))); err != nil {
				t.Fatal(err)
			}
		}
		must[api.Group](t)(client.Groups().Heal(ctx, "v", api.HealGroup{}))
	}
	stop.Store(true)
	work.Wait()
	wrong.Range(func(what, err any) bool { t.Errorf("%v: %v", what, err); return true })
	t.Logf("%d events", sent.Load())
}

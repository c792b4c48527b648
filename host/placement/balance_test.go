package placement_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
	"wasmhost.example/internal/draw"
)

// house is nodes and the daemons on them, as they would announce themselves.
type house struct {
	total   []int64
	daemons [][]placement.Daemon
	tags    []map[string]string
}

func (h *house) node(i int) placement.Node {
	n := placement.Node{ID: identity.NodeID(i + 1), Name: fmt.Sprint("n", i), Capabilities: placement.Capabilities{Tags: h.tags[i], TotalMemory: h.total[i], FreeMemory: h.total[i], Daemons: len(h.daemons[i])}}
	for _, d := range h.daemons[i] {
		n.FreeMemory -= d.Memory
	}
	n.FreeMemory = max(n.FreeMemory, 0)
	if n.TotalMemory == 0 {
		n.FreeMemory = 0
	}
	return n
}

func (h *house) moves(b placement.Balance, i int) []placement.Move {
	var others []placement.Node
	for j := range h.total {
		if j != i {
			others = append(others, h.node(j))
		}
	}
	return b.Moves(h.node(i), others, h.daemons[i])
}

func (h *house) move(i int, m placement.Move) {
	for k, d := range h.daemons[i] {
		if d.Entity == m.Daemon.Entity {
			h.daemons[i] = append(h.daemons[i][:k:k], h.daemons[i][k+1:]...)
			d.Here = 0
			to := int(m.To.ID) - 1
			h.daemons[to] = append(h.daemons[to], d)
			return
		}
	}
}

func drawHouse(t *draw.T) *house {
	h := &house{}
	known := draw.Bool(t, "memory is known")
	largest := draw.One[int64](t, "the largest daemon", gib/4, 6*gib)
	n := byte(0)
	for i := range draw.Int(t, "nodes", 2, 5) {
		total := int64(0)
		if known {
			total = draw.Int[int64](t, "total", 1, 16) * gib
		}
		h.total = append(h.total, total)
		h.tags = append(h.tags, map[string]string{"zone": draw.One(t, "zone", "a", "a", "a", "b")})
		var all []placement.Daemon
		for range draw.Int(t, "daemons", 0, 50) {
			n++
			all = append(all, placement.Daemon{Entity: identity.EntityID{byte(i + 1), n}, Kind: draw.One(t, "kind", "k", "l"),
				Memory: draw.Int(t, "memory", 1<<16, largest), Here: time.Hour})
		}
		h.daemons = append(h.daemons, all)
	}
	return h
}

// TestBalanceComesToRest has nodes even themselves out, in turn and all at the same
// moment, without a rest: it ends. Between two nodes no daemon comes back to where it was;
// among more it may, when others have filled the node where it went.
func TestBalanceComesToRest(t *testing.T) {
	draw.Check(t, func(t *draw.T) {
		h := drawHouse(t)
		together := draw.Bool(t, "all at once")
		been := make(map[string]bool)
		all := 0
		for i, list := range h.daemons {
			all += len(list)
			for _, d := range list {
				been[fmt.Sprint(d.Entity, i)] = true
			}
		}
		made := 0
		for moved := true; moved; {
			moved = false
			type chosen struct {
				from int
				placement.Move
			}
			var now []chosen
			for i := range h.total {
				moves := h.moves(placement.Balance{}, i)
				if len(moves) == 0 {
					continue
				}
				if moved = true; together {
					now = append(now, chosen{i, moves[0]})
				} else {
					now = []chosen{{i, moves[0]}}
				}
				if !together {
					break
				}
			}
			for _, c := range now {
				place := fmt.Sprint(c.Daemon.Entity, int(c.To.ID)-1)
				if been[place] && len(h.total) == 2 {
					t.Fatalf("daemon %x comes back to node %d", c.Daemon.Entity[:2], c.To.ID)
				}
				been[place] = true
				h.move(c.from, c.Move)
				if made++; made > all*len(h.total) {
					t.Fatalf("%d moves of %d daemons, and no end", made, all)
				}
			}
		}
	})
}

func TestBalance(t *testing.T) {
	daemon := func(n byte, kind string, mib int64) placement.Daemon {
		return placement.Daemon{Entity: identity.EntityID{n}, Name: fmt.Sprint("d", n), Kind: kind, Memory: mib << 20, Here: time.Hour}
	}
	node := func(id int, free, total int64, daemons int) placement.Node {
		return placement.Node{ID: identity.NodeID(id), Name: fmt.Sprint("n", id), Capabilities: placement.Capabilities{FreeMemory: free * gib, TotalMemory: total * gib, Daemons: daemons, Load: -1}}
	}
	change := func(n placement.Node, fn func(*placement.Node)) placement.Node { fn(&n); return n }
	some := []placement.Daemon{daemon(1, "k", 8), daemon(2, "k", 512), daemon(3, "l", 900), daemon(4, "k", 4000), daemon(5, "l", 200)}
	fresh := []placement.Daemon{some[1]}
	fresh[0].Here = time.Second
	for _, c := range []struct {
		name   string
		self   placement.Node
		other  placement.Node
		has    []placement.Daemon
		expect string // name to name: reason
	}{
		{"much less memory", node(1, 2, 8, 5), node(2, 6, 8, 5), some, "d3 to n2: 75 % of memory is used here, 25 % there; d2 to n2: 75 % of memory is used here, 25 % there"},
		{"a little less", node(1, 5, 8, 5), node(2, 6, 8, 5), some, ""},
		{"more", node(1, 6, 8, 5), node(2, 2, 8, 5), some, ""},
		{"more daemons", node(1, 4, 8, 16), node(2, 4, 8, 5), some, "d1 to n2: 16 daemons are here, 5 there; d5 to n2: 16 daemons are here, 5 there"},
		{"a few more daemons", node(1, 4, 8, 15), node(2, 4, 8, 5), some, ""},
		{"more daemons, of many", node(1, 4, 8, 120), node(2, 4, 8, 100), some, ""},
		{"more daemons, and less memory there", node(1, 6, 8, 100), node(2, 4, 8, 5), some, ""},
		{"memory is not known", node(1, 0, 0, 100), node(2, 0, 0, 5), some, "d1 to n2: 100 daemons are here, 5 there; d5 to n2: 100 daemons are here, 5 there"},
		{"it is drained", node(1, 2, 8, 5), change(node(2, 6, 8, 5), func(n *placement.Node) { n.Draining = true }), some, ""},
		{"it refuses", node(1, 2, 8, 5), change(node(2, 6, 8, 5), func(n *placement.Node) { n.Refuses = "no" }), some, ""},
		{"it works harder", change(node(1, 2, 8, 5), func(n *placement.Node) { n.Load = 0.5 }), change(node(2, 6, 8, 5), func(n *placement.Node) { n.Load = 1 }), some, ""},
		{"another zone", change(node(1, 2, 8, 5), func(n *placement.Node) { n.Tags = map[string]string{"zone": "a"} }), node(2, 6, 8, 5), some, ""},
		{"it has just come", node(1, 2, 8, 5), node(2, 6, 8, 5), fresh, ""},
	} {
		var got []string
		for _, m := range (placement.Balance{Rest: time.Minute}).Moves(c.self, []placement.Node{c.other}, c.has) {
			got = append(got, fmt.Sprintf("%s to %s: %s", m.Daemon.Name, m.To.Name, m.Reason))
		}
		if s := strings.Join(got, "; "); s != c.expect {
			t.Errorf("%s: %q, not %q", c.name, s, c.expect)
		}
	}
}

func TestApart(t *testing.T) {
	for _, c := range []struct {
		from, to int
		want     bool
	}{{1, 0, true}, {1, 1, false}, {3, 2, true}, {2, 3, false}} {
		if placement.Apart(placement.Node{Same: c.from}, placement.Node{Same: c.to}) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

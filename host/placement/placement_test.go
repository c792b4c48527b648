package placement_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
	"wasmhost.example/internal/draw"
)

const gib = 1 << 30

func TestM93_MissesSayWhich(t *testing.T) {
	n := placement.Node{ID: 1, Name: "a", Capabilities: placement.Capabilities{Tags: map[string]string{"zone": "a"}, FreeMemory: gib, TotalMemory: 4 * gib}}
	for _, c := range []struct {
		req  placement.Requirements
		with func(*placement.Node)
		want string
	}{
		{placement.Requirements{}, nil, ""},
		{placement.Requirements{Tags: map[string]string{"zone": "a"}, MinFreeMemory: gib}, nil, ""},
		{placement.Requirements{Tags: map[string]string{"zone": "b"}}, nil, `tag zone is "a", not "b"`},
		{placement.Requirements{Tags: map[string]string{"gpu": "yes", "zone": "b"}}, nil, `it has no tag gpu|tag zone is "a", not "b"`},
		{placement.Requirements{MinFreeMemory: 2 * gib}, nil, "1024 MiB of memory are free, not 2048 MiB"},
		{placement.Requirements{Memory: 2 * gib, MinFreeMemory: 1}, nil, "1024 MiB of memory are free, not 2048 MiB"},
		{placement.Requirements{Memory: 2 * gib}, func(n *placement.Node) { n.FreeMemory, n.TotalMemory = 0, 0 }, ""},
		{placement.Requirements{MinFreeMemory: 1}, func(n *placement.Node) { n.FreeMemory, n.TotalMemory = 0, 0 }, "it does not say how much memory is free"},
		{placement.Requirements{}, func(n *placement.Node) { n.FreeMemory, n.TotalMemory = 0, 0 }, ""},
		{placement.Requirements{}, func(n *placement.Node) { n.Draining, n.Refuses = true, "it does not answer" }, "it does not answer|it is being drained"},
	} {
		n := n
		if c.with != nil {
			c.with(&n)
		}
		if got := strings.Join(c.req.Misses(n), "|"); got != c.want {
			t.Errorf("%+v: %q, want %q", c.req, got, c.want)
		}
	}
}

func TestM92_F49_PickSaysOfEachNodeWhyNot(t *testing.T) {
	nodes := []placement.Node{{ID: 2, Name: "b", Capabilities: placement.Capabilities{Draining: true}}, {ID: 1, Name: "a"}, {ID: 0xff}}
	_, _, err := placement.Pick(nodes, placement.Requirements{Tags: map[string]string{"gpu": "yes"}})
	var none *placement.NoNodeError
	if !errors.As(err, &none) || !errors.Is(err, placement.ErrNoNode) || len(none.Verdicts) != 3 {
		t.Fatal(err)
	}
	want := "no node meets the requirements: 00000000000000ff: it has no tag gpu; a: it has no tag gpu; b: it is being drained, it has no tag gpu"
	if err.Error() != want {
		t.Errorf("%s", err)
	}
	if _, _, err := placement.Pick(nil, placement.Requirements{}); !errors.Is(err, placement.ErrNoNode) {
		t.Error(err)
	}
}

func TestReasonsAddUp(t *testing.T) {
	v := placement.Requirements{}.Score(placement.Node{Capabilities: placement.Capabilities{FreeMemory: gib, TotalMemory: 4 * gib, Load: 1, Daemons: 100}})
	if got := fmt.Sprintf("%.3f", v.Score); got != "0.400" || len(v.Reasons) != 3 || v.Reasons[0] != "1024 MiB of 4096 MiB memory free (0.10 of 0.40)" {
		t.Errorf("%s, %q", got, v.Reasons)
	}
}

func tags(t *draw.T, label string) map[string]string {
	out := make(map[string]string)
	for _, key := range []string{"zone", "gpu", "disk"} {
		if value := draw.One(t, label+" "+key, "", "a", "b"); value != "" {
			out[key] = value
		}
	}
	return out
}

func node(t *draw.T, id int) placement.Node {
	return placement.Node{ID: identity.NodeID(id), Name: fmt.Sprint("n", id), Refuses: draw.One(t, "refuses", "", "", "", "it does not answer"),
		Capabilities: placement.Capabilities{Tags: tags(t, "tags"),
			FreeMemory: draw.Int[int64](t, "free", 0, 8*gib), TotalMemory: draw.One[int64](t, "total", 0, 8*gib),
			Daemons: draw.Int(t, "daemons", 0, 1000),
			Load:    draw.Float(t, "load", -1, 16), Draining: draw.One(t, "draining", false, false, false, true)}}
}

func requirements(t *draw.T) placement.Requirements {
	return placement.Requirements{Tags: tags(t, "required"), MinFreeMemory: draw.One[int64](t, "min", -1, 0, 1, gib, 7*gib),
		Memory: draw.Int[int64](t, "memory", 0, 8*gib)}
}

// meets is what Misses says, in the plainest words.
func meets(r placement.Requirements, n placement.Node) bool {
	ok := n.Refuses == "" && !n.Draining
	for k, v := range r.Tags {
		ok = ok && n.Tags[k] == v
	}
	unknown := n.TotalMemory == 0
	return ok && (r.MinFreeMemory <= 0 || !unknown && n.FreeMemory >= r.MinFreeMemory) && (unknown || n.FreeMemory >= r.Memory)
}

func TestM91_PickProperties(t *testing.T) {
	draw.Check(t, func(t *draw.T) {
		var nodes []placement.Node
		for i := range draw.Int(t, "nodes", 0, 6) {
			nodes = append(nodes, node(t, i))
		}
		req := requirements(t)
		best, all, err := placement.Pick(nodes, req)
		shuffled, _, err2 := placement.Pick(draw.Order(t, "order", nodes), req)
		if (err == nil) != (err2 == nil) || err == nil && best.ID != shuffled.ID {
			t.Fatalf("the order of nodes counts: %v or %v", best, shuffled)
		}
		if any := slices.ContainsFunc(nodes, func(n placement.Node) bool { return meets(req, n) }); any != (err == nil) {
			t.Fatalf("one fits: %v, but %v", any, err)
		}
		if len(all) != len(nodes) {
			t.Fatalf("%d verdicts on %d nodes", len(all), len(nodes))
		}
		for _, v := range all {
			if v.Fits() != meets(req, v.Node) || v.Score < 0 || v.Score > 1 || !v.Fits() && v.Score != 0 {
				t.Fatalf("%+v", v)
			}
			if err == nil && v.Fits() && v.Score > best.Score {
				t.Fatalf("%v is better than %v", v, best)
			}
		}
		var none *placement.NoNodeError
		if errors.As(err, &none) {
			for _, v := range none.Verdicts {
				if len(v.Misses) == 0 {
					t.Fatalf("no node fits, and nothing is said against %s", v.Name)
				}
			}
		}
	})
}

// A node that has more to give is never worse.
// TestFreeMemoryAloneSaysNothing: a node that does not say how much memory it has in all
// is one that is not known, whatever it says is free.
func TestFreeMemoryAloneSaysNothing(t *testing.T) {
	need := placement.Requirements{Memory: 2}
	for _, free := range []int64{0, 1, 3} {
		if m := need.Misses(placement.Node{Capabilities: placement.Capabilities{FreeMemory: free}}); len(m) > 0 {
			t.Errorf("%d bytes free of an unknown number: %v", free, m)
		}
	}
	if m := need.Misses(placement.Node{Capabilities: placement.Capabilities{FreeMemory: 1, TotalMemory: 8}}); len(m) != 1 {
		t.Errorf("1 byte free of 8: %v", m)
	}
}

func TestScoreIsMonotone(t *testing.T) {
	draw.Check(t, func(t *draw.T) {
		n, req := node(t, 1), requirements(t)
		before := req.Score(n)
		better := n
		better.Tags = maps.Clone(n.Tags)
		switch draw.Int(t, "what", 0, 3) {
		case 0:
			better.FreeMemory += draw.Int[int64](t, "more", 0, gib)
		case 1:
			if n.Load >= 0 {
				better.Load = draw.Float(t, "less", 0, n.Load)
			}
		case 2:
			better.Daemons = draw.Int(t, "fewer", 0, n.Daemons)
		case 3:
			better.Draining, better.Refuses = false, ""
			maps.Copy(better.Tags, req.Tags)
		}
		after := req.Score(better)
		if before.Fits() && !after.Fits() || after.Score < before.Score {
			t.Fatalf("%+v is worse than %+v", after, before)
		}
		if taken := req.Score(n.Taken(draw.Int[int64](t, "bytes", 0, gib))); taken.Score > before.Score {
			t.Fatalf("with a daemon more it is better: %+v, %+v", taken, before)
		}
	})
}

func TestParseTags(t *testing.T) {
	got, err := placement.ParseTags([]string{"zone=eu-west/1", "gpu=", "a.b/c=x=y"})
	if err != nil || !maps.Equal(got, map[string]string{"zone": "eu-west/1", "gpu": "", "a.b/c": "x=y"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := placement.ParseTags(nil); got != nil || err != nil {
		t.Errorf("%v, %v", got, err)
	}
	many := make([]string, placement.MaxTags+1)
	for i := range many {
		many[i] = fmt.Sprintf("k%d=v", i)
	}
	for _, bad := range [][]string{{"zone"}, {"=v"}, {"a b=v"}, {"é=v"}, {"a=1", "a=2"}, {"a=x,y"}, {"a=\x00"}, {"a=\xff"},
		{strings.Repeat("k", 256) + "=v"}, {"k=" + strings.Repeat("v", 256)}, many} {
		if _, err := placement.ParseTags(bad); !errors.Is(err, placement.ErrBadTag) {
			t.Errorf("%.40q: %v", bad, err)
		}
	}
}

func FuzzParseTags(f *testing.F) {
	for _, s := range []string{"zone=a", "a", "=", "k=v=w", "\xff=1", "k=,"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		tags, err := placement.ParseTags([]string{s})
		if err != nil {
			if !errors.Is(err, placement.ErrBadTag) {
				t.Error(err)
			}
			return
		}
		for k, v := range tags {
			if again := k + "=" + v; again != s {
				t.Errorf("%q came back as %q", s, again)
			}
		}
	})
}

// Preferences come before spreading, that before packing, and that before the
// score; each is said.
func TestPickOrder(t *testing.T) {
	at := func(id int, zone string, same, daemons int) placement.Node {
		return placement.Node{ID: identity.NodeID(id), Name: fmt.Sprint("n", id), Same: same,
			Capabilities: placement.Capabilities{Tags: map[string]string{"zone": zone}, FreeMemory: gib, TotalMemory: 2 * gib, Daemons: daemons}}
	}
	nodes := []placement.Node{at(1, "a", 2, 5), at(2, "a", 0, 9), at(3, "b", 1, 3), at(4, "c", 1, 4)}
	for _, c := range []struct {
		req  placement.Requirements
		want string
		says string
	}{
		{placement.Requirements{}, "3 4 1 2", "memory free"},
		{placement.Requirements{Spread: placement.SpreadNodes}, "2 3 4 1", "0 like it on the node"},
		{placement.Requirements{Spread: "zone"}, "3 4 2 1", "1 like it at zone=b"},
		{placement.Requirements{Pack: true}, "2 1 4 3", "packed: 9 daemons are there"},
		{placement.Requirements{Pack: true, Spread: "zone"}, "4 3 2 1", "1 like it at zone=c"},
		{placement.Requirements{Prefer: map[string]string{"zone": "a"}}, "1 2 3 4", "preferred tag zone=a"},
		{placement.Requirements{Prefer: map[string]string{"zone": "a"}, Spread: placement.SpreadNodes}, "2 1 3 4", "preferred tag zone=a"},
		{placement.Requirements{MaxSame: 1}, "2 1 3 4", "memory free"},
		{placement.Requirements{Filters: []func(placement.Node) string{func(n placement.Node) string {
			if n.ID%2 == 1 {
				return "it is odd"
			}
			return ""
		}}}, "4 2 1 3", "memory free"},
	} {
		_, all, err := placement.Pick(nodes, c.req)
		var got []string
		for _, v := range all {
			got = append(got, fmt.Sprint(uint64(v.ID)))
		}
		if err != nil || strings.Join(got, " ") != c.want || !strings.Contains(all[0].Reasons[0], c.says) {
			t.Errorf("%+v: %v, %q, %v; want %s", c.req, got, all[0].Reasons, err, c.want)
		}
	}
	_, _, err := placement.Pick(nodes[:1], placement.Requirements{MaxSame: 2, Filters: []func(placement.Node) string{func(placement.Node) string { return "it is odd" }}})
	if err == nil || !strings.HasSuffix(err.Error(), "n1: it has 2 like it, of at most 2, it is odd") {
		t.Error(err)
	}
}

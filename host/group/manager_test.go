package group

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"

	"wasmhost.example/host/placement"
	"wasmhost.example/identity"
	"wasmhost.example/internal/draw"
)

var ctx = context.Background()

// world is nodes with daemons, some of which do not answer.
type world struct {
	mu     sync.Mutex
	nodes  map[identity.NodeID]map[identity.EntityID]uint64 // epochs
	zones  map[identity.NodeID]string
	silent map[identity.NodeID]bool
	fails  map[string]error // by the member's name
	stuck  bool             // Stop fails

	standby map[identity.EntityID]identity.NodeID // takes it over where the directory is asked
}

func newWorld(n int) *world {
	w := &world{standby: map[identity.EntityID]identity.NodeID{}, nodes: map[identity.NodeID]map[identity.EntityID]uint64{}, zones: map[identity.NodeID]string{}, silent: map[identity.NodeID]bool{}, fails: map[string]error{}}
	for k := range n {
		w.nodes[identity.NodeID(k+1)] = map[identity.EntityID]uint64{}
		w.zones[identity.NodeID(k+1)] = fmt.Sprint("z", k%2)
	}
	return w
}

// takeOver has the member's standby take it over, where it has one.
func (w *world) takeOver(m Member) error {
	to := w.standby[m.Entity]
	if to == 0 {
		return nil
	}
	delete(w.standby, m.Entity)
	w.nodes[to][m.Entity] = m.Epoch + 1
	return fmt.Errorf("%w: on node %s", ErrMemberAlive, to)
}

func (w *world) Candidates(context.Context) (out []placement.Node, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, has := range w.nodes {
		n := placement.Node{ID: id, Name: fmt.Sprint("n", id), Capabilities: placement.Capabilities{Tags: map[string]string{"zone": w.zones[id]}, Daemons: len(has)}}
		if w.silent[id] {
			n.Refuses = "it does not answer"
		}
		out = append(out, n)
	}
	return out, nil
}

func (w *world) Spawn(_ context.Context, at identity.NodeID, r Replica) (identity.NodeID, uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.fails[r.Name]; err != nil {
		return 0, 0, err
	}
	w.nodes[at][r.Key.ID()] = r.Epoch
	return at, r.Epoch, nil
}

func (w *world) Look(_ context.Context, members ...Member) []Sight {
	out := make([]Sight, len(members))
	for i, m := range members {
		out[i] = w.look(m)
	}
	return out
}

func (w *world) look(m Member) (s Sight) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s = Sight{Health: Gone}
	for id, has := range w.nodes {
		epoch, here := has[m.Entity]
		switch {
		case !w.silent[id] && here && m.Outlived(epoch):
			s.Older = append(s.Older, id)
			if s.Health == Gone {
				s.Health = Silent
			}
		case w.silent[id] && s.Health != Healthy:
			s.Health = Silent
		case !w.silent[id] && here && epoch >= s.Epoch:
			s.Health, s.Node, s.Epoch = Healthy, id, epoch
		}
	}
	return s
}

func (w *world) Stop(_ context.Context, m Member) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	on := w.running(m.Entity)
	if w.stuck || len(on) == 0 && len(w.silent) > 0 || len(on) > 0 && w.silent[on[0]] {
		return errors.New("a node does not answer")
	}
	for _, n := range on {
		delete(w.nodes[n], m.Entity)
	}
	return nil
}

func (w *world) StopAt(_ context.Context, at identity.NodeID, m Member) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.silent[at] {
		return errors.New("it does not answer")
	}
	if w.nodes[at][m.Entity] < m.Epoch {
		delete(w.nodes[at], m.Entity)
	}
	return nil
}

// Unown has the standbys of a silent node take nothing over, where they have not yet.
func (w *world) Unown(_ context.Context, m Member) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.takeOver(m); err != nil {
		return err
	}
	delete(w.standby, m.Entity)
	return nil
}

// running is on how many nodes the member is.
func (w *world) running(id identity.EntityID) (on []identity.NodeID) {
	for n, has := range w.nodes {
		if _, ok := has[id]; ok {
			on = append(on, n)
		}
	}
	return on
}

func newManager(t testing.TB, w *world, r *Memory) *Manager {
	t.Helper()
	if r.groups == nil {
		r.groups = map[string]*Group{}
	}
	m, err := NewManager(w, r, SenderMemory{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func perNode(g *Group) map[identity.NodeID]int {
	out := map[identity.NodeID]int{}
	for _, m := range g.Members {
		out[m.Node]++
	}
	return out
}

func TestGroupIDVectors(t *testing.T) {
	b, err := os.ReadFile("../../identity/testdata/replicas.json")
	if err != nil {
		t.Fatal(err)
	}
	var groups []struct {
		Seed identity.EntityID
		ID   uint32 `json:"group_id"`
	}
	if err := json.Unmarshal(b, &groups); err != nil || len(groups) != 3 {
		t.Fatal(err, len(groups))
	}
	for _, g := range groups {
		if got := IDOf(g.Seed); got != g.ID {
			t.Errorf("%s: %d, want %d", g.Seed, got, g.ID)
		}
	}
}

// Growing spreads the new members too; what cannot be placed is no member.
func TestF92_F93_F95_GrowingPlacesFirst(t *testing.T) {
	w, r := newWorld(3), &Memory{}
	m := newManager(t, w, r)
	g, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 3, Place: placement.Requirements{Spread: placement.SpreadNodes, MaxSame: 2}}, nil, nil)
	if err != nil || len(perNode(g)) != 3 {
		t.Fatal(g, err)
	}
	if g, err = m.Scale(ctx, "g", 6); err != nil || !slices.Equal(slices.Collect(maps.Values(perNode(g))), []int{2, 2, 2}) {
		t.Fatal(perNode(g), err)
	}
	g, err = m.Scale(ctx, "g", 7) // each node has as many as it may
	if !errors.Is(err, ErrPlacement) || !errors.Is(err, placement.ErrNoNode) || len(g.Members) != 6 {
		t.Fatal(len(g.Members), err)
	}
	again := newManager(t, w, r) // as a restart
	if g, err = again.Get("g"); err != nil || len(g.Members) != 6 {
		t.Fatal(g, err)
	}
	w.nodes[9] = map[identity.EntityID]uint64{} // a node comes
	if g, err = again.Heal(ctx, "g"); err != nil || len(g.Members) != 7 || perNode(g)[9] != 1 {
		t.Errorf("%d members, %v", len(g.Members), err)
	}
	before := len(w.nodes[1])
	w.fails["h-2"] = errors.New("no")
	if _, err := m.Create(ctx, Spec{Name: "h", Kind: "k", Size: 3}, nil, nil); !errors.Is(err, ErrPlacement) {
		t.Error(err)
	}
	if _, err := m.Get("h"); !errors.Is(err, ErrNotFound) || len(w.nodes[1]) != before {
		t.Errorf("something is left: %v", err)
	}
}

func TestSpreadByTag(t *testing.T) {
	w := newWorld(3) // two nodes in z0, one in z1
	m := newManager(t, w, &Memory{})
	g, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 4, Place: placement.Requirements{Spread: "zone"}}, nil, nil)
	if got := perNode(g); err != nil || got[1] != 1 || got[2] != 2 || got[3] != 1 {
		t.Errorf("%v, %v", got, err)
	}
}

// Members that cannot be ended end no loop, and stay.
func TestF96_ScalingDownEnds(t *testing.T) {
	w := newWorld(2)
	m := newManager(t, w, &Memory{})
	if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 4}, nil, nil); err != nil {
		t.Fatal(err)
	}
	w.stuck = true
	if g, err := m.Scale(ctx, "g", 1); err == nil || len(g.Members) != 4 || g.Size != 4 {
		t.Errorf("%d members of %d, %v", len(g.Members), g.Size, err)
	}
	if err := m.Remove(ctx, "g"); err == nil {
		t.Error("removed, with all its members left")
	}
	w.stuck = false
	if g, err := m.Scale(ctx, "g", 1); err != nil || len(g.Members) != 1 || g.Members[0].Index != 0 {
		t.Error(g, err)
	}
	if err := m.Remove(ctx, "g"); err != nil || len(w.nodes[1])+len(w.nodes[2]) != 0 {
		t.Error(err)
	}
}

// Only what every node denies to have is made anew; what runs is left alone, and
// one that cannot be made stops no other.
func TestF94_F102_F105_Healing(t *testing.T) {
	w := newWorld(3)
	m := newManager(t, w, &Memory{})
	g, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 6, Place: placement.Requirements{Spread: placement.SpreadNodes}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, second := g.Members[0], g.Members[1]
	delete(w.nodes[first.Node], first.Entity)
	delete(w.nodes[second.Node], second.Entity)
	w.silent[g.Members[2].Node] = true
	g, err = m.Heal(ctx, "g")
	if err != nil || g.Members[0].Health != Silent || g.Members[2].Health != Silent || len(w.running(first.Entity)) != 0 {
		t.Fatalf("with a node silent nothing is proven: %+v, %v", g.Members, err)
	}
	clear(w.silent)
	w.fails["g-0"] = errors.New("no")
	g, err = m.Heal(ctx, "g")
	if !errors.Is(err, ErrPlacement) || g.Members[0].Health != Gone || g.Members[1].Health != Healthy || g.Members[1].Entity != second.Entity || g.Members[1].Epoch <= second.Epoch {
		t.Fatalf("%+v, %v", g.Members[:2], err)
	}
	for k, x := range g.Members[2:] {
		if x.Epoch != 1 || len(w.running(x.Entity)) != 1 {
			t.Errorf("member %d was touched: %+v", k+2, x)
		}
	}
	clear(w.fails)
	if g, err = m.Heal(ctx, "g"); err != nil || len(w.running(first.Entity)) != 1 || g.Members[0].Entity != first.Entity {
		t.Error(g.Members[0], err)
	}
	for _, x := range g.Members { // more than may be made anew at a time
		delete(w.nodes[x.Node], x.Entity)
	}
	for round, want := range []int{maxRemade, 6} {
		if g, err = m.Heal(ctx, "g"); err != nil {
			t.Fatal(err)
		}
		healthy := 0
		for _, x := range g.Members {
			healthy += len(w.running(x.Entity))
		}
		if healthy != want {
			t.Errorf("round %d: %d run", round, healthy)
		}
	}
}

// What an operator declares lost is made anew above every epoch that it can have,
// and stopped where it comes back.
func TestDeclaredLost(t *testing.T) {
	w, r := newWorld(3), &Memory{}
	m := newManager(t, w, r)
	g, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 3, Place: placement.Requirements{Spread: placement.SpreadNodes}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	x := g.Members[1]
	if _, err := m.DeclareLost(ctx, "g", 1); !errors.Is(err, ErrMemberAlive) {
		t.Errorf("one that runs: %v", err)
	}
	if _, err := m.DeclareLost(ctx, "g", 9); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	w.silent[x.Node] = true
	if g, err = m.DeclareLost(ctx, "g", 1); err != nil || g.Members[1].Node == x.Node || g.Members[1].Epoch < lossEpochs || g.Members[1].Entity != x.Entity {
		t.Fatalf("%+v, %v", g.Members[1], err)
	}
	m = newManager(t, w, r) // a restart remembers what was lost
	if g, err = m.Heal(ctx, "g"); err != nil || len(g.Members[1].Lost) != 1 {
		t.Fatalf("%+v, %v", g.Members[1], err)
	}
	clear(w.silent)
	if g, err = m.Heal(ctx, "g"); err != nil || len(g.Members[1].Lost) != 0 || len(w.running(x.Entity)) != 1 {
		t.Errorf("the old one came back: %+v, on %v, %v", g.Members[1], w.running(x.Entity), err)
	}
}

// A member that is declared lost while its standby takes it over is well again: as the one
// that was taken over, with all that it remembers, or, where the loss is stored already, as
// one that is made anew under a higher epoch.
func TestDeclaredLostWhileAStandbyTakesOver(t *testing.T) {
	w, r := newWorld(3), &Memory{}
	m := newManager(t, w, r)
	g, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 2, Standbys: 1, Place: placement.Requirements{Spread: placement.SpreadNodes}}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	x := g.Members[1]
	other := identity.NodeID(6) - x.Node - g.Members[0].Node // of 1, 2 and 3
	w.silent[x.Node], w.standby[x.Entity] = true, other
	if _, err := m.DeclareLost(ctx, "g", 1); !errors.Is(err, ErrMemberAlive) {
		t.Errorf("it is taken over: want ErrMemberAlive, got %v", err)
	}
	delete(w.nodes[x.Node], x.Entity) // its node lets go of it
	clear(w.silent)
	g, err = m.Heal(ctx, "g")
	if now := g.Members[1]; err != nil || now.Health != Healthy || now.Node != other || now.Born != x.Born || now.Epoch != x.Epoch+1 {
		t.Fatalf("what was taken over is the member: %+v, was %+v, %v", now, x, err)
	}

	// Stored as lost, by a version that asked no directory, and taken over nonetheless.
	x = g.Members[1]
	stored := g.clone()
	stored.Members[1].Epoch += lossEpochs
	stored.Members[1].Lost = []identity.NodeID{x.Node%3 + 1}
	stored.Members[1].Born = stored.bear()
	if err := r.Put(stored); err != nil {
		t.Fatal(err)
	}
	m = newManager(t, w, r)
	g, err = m.Heal(ctx, "g")
	now := g.Members[1]
	if on := w.running(x.Entity); err != nil || now.Health != Healthy || now.Epoch <= x.Epoch+lossEpochs || len(on) != 1 || w.nodes[on[0]][x.Entity] != now.Epoch {
		t.Fatalf("it is made anew: %+v, was %+v, on %v, %v", now, x, w.running(x.Entity), err)
	}
	if now.Born == x.Born {
		t.Error("what is made anew remembers nothing: it is another member")
	}
}

// Whatever happens to nodes, no identity runs in two places while nobody was
// declared lost.
func TestHealingNeverMakesTwo(t *testing.T) {
	draw.Check(t, func(t *draw.T) {
		w := newWorld(4)
		m, err := NewManager(w, &Memory{}, SenderMemory{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		g, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: draw.Int(t, "size", 1, 8)}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for range draw.Int(t, "steps", 1, 25) {
			n := identity.NodeID(draw.Int(t, "node", 1, 4))
			switch draw.Int(t, "what", 0, 3) {
			case 0:
				if !w.silent[n] {
					w.silent[n] = true
				} else {
					delete(w.silent, n)
				}
			case 1:
				clear(w.nodes[n]) // its disk is gone
			case 2:
				for id, epoch := range w.nodes[n] { // one moves
					to := identity.NodeID(draw.Int(t, "to", 1, 4))
					delete(w.nodes[n], id)
					w.nodes[to][id] = epoch + 1
					break
				}
			case 3:
				_, _ = m.Scale(ctx, "g", draw.Int(t, "scale", 1, 8)) // may fail, as nodes are silent
			}
			_, _ = m.Heal(ctx, "g")
			for k := range 8 {
				key, err := identity.Replica(g.Seed, uint8(k))
				if err != nil {
					t.Fatal(err)
				}
				if on := w.running(key.ID()); len(on) > 1 {
					t.Fatalf("member %d runs on %v", k, on)
				}
			}
		}
	})
}

func TestRefusedSpecs(t *testing.T) {
	w := newWorld(1)
	m := newManager(t, w, &Memory{})
	for _, s := range []Spec{{Kind: "k", Size: 1}, {Name: "g", Size: 1}, {Name: "g", Kind: "k"}, {Name: "g", Kind: "k", Size: MaxSize + 1},
		{Name: "g", Kind: "k", Size: 1, Strategy: "best"}, {Name: "g", Kind: "k", Size: 1, Place: placement.Requirements{MaxSame: -1}}} {
		if _, err := m.Create(ctx, s, nil, nil); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	seed := [32]byte{1}
	if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 1}, &seed, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 1}, nil, nil); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	if _, err := m.Create(ctx, Spec{Name: "h", Kind: "k", Size: 1}, &seed, nil); !errors.Is(err, ErrExists) {
		t.Errorf("two groups of one seed: %v", err)
	}
	if _, err := m.Scale(ctx, "g", 0); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	if _, _, err := m.Route("x", nil, nil); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

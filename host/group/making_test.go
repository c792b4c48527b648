package group

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"wasmhost.example/identity"
)

// watched calls look before each member is made.
type watched struct {
	*world
	look func(name string)
}

func (w *watched) Spawn(ctx context.Context, at identity.NodeID, r Replica) (identity.NodeID, uint64, error) {
	w.look(r.Name)
	return w.world.Spawn(ctx, at, r)
}

// TestAGroupTakesNoEventsWhileItIsMade sends events between its first member and its
// second, of which the making fails at first: what the first member had taken would be gone
// with it.
func TestAGroupTakesNoEventsWhileItIsMade(t *testing.T) {
	w := &watched{world: newWorld(3)}
	m, err := NewManager(w, &Memory{groups: map[string]*Group{}}, SenderMemory{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	w.look = func(string) {
		tried++
		if _, _, err := m.Route("g", nil, nil); !errors.Is(err, ErrNoHealthy) {
			t.Errorf("an event while the group is made: got %v, want ErrNoHealthy", err)
		}
		if _, _, err := m.RouteOnce("g", identity.EntityID{1}, 1, nil); !errors.Is(err, ErrNoHealthy) {
			t.Errorf("an event with an id while the group is made: got %v, want ErrNoHealthy", err)
		}
	}

	spec := Spec{Name: "g", Kind: "k", Size: 2, Strategy: RoundRobin}
	w.fails["g-1"] = errors.New("no room")
	if _, err := m.Create(t.Context(), spec, nil, nil); !errors.Is(err, ErrPlacement) {
		t.Fatalf("got %v, want ErrPlacement", err)
	}
	delete(w.fails, "g-1")
	if _, err := m.Create(t.Context(), spec, nil, nil); err != nil {
		t.Fatal(err)
	}
	if tried != 4 {
		t.Errorf("%d members were made, want 4", tried)
	}
	if _, done, err := m.Route("g", nil, nil); err != nil {
		t.Errorf("an event for the group that is made: %v", err)
	} else {
		done()
	}
}

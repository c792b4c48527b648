package rollout

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/host/mesh"
)

// fleet is daemons of which some refuse a module.
type fleet struct {
	mu      sync.Mutex
	module  map[string]string // by name
	refuse  map[string]error  // upgrades to "new"
	stuck   map[string]error  // and back
	now, at int               // under way, and the most that were
	calls   int
}

func newFleet(n int) *fleet {
	f := &fleet{module: map[string]string{}, refuse: map[string]error{}, stuck: map[string]error{}}
	for i := range n {
		f.module[fmt.Sprintf("d%04d", i)] = "old"
	}
	return f
}

func (f *fleet) upgrade(_ context.Context, d api.Rolled, to string) error {
	f.mu.Lock()
	f.calls++
	f.now++
	f.at = max(f.at, f.now)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refuse[d.Name]; err != nil && to == "new" {
		return err
	}
	if err := f.stuck[d.Name]; err != nil && to != "new" {
		return err
	}
	f.module[d.Name] = to
	return nil
}

func (f *fleet) run(t *testing.T, ctx context.Context, change func(*walk)) (api.RolloutProgress, error) {
	t.Helper()
	r := &walk{to: "new", parallel: 4, upgrade: f.upgrade, tell: func(api.Rolled, api.RolloutProgress) {},
		module: func(_ context.Context, d api.Rolled) (string, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.module[d.Name], nil
		}}
	for i := range len(f.module) {
		name := fmt.Sprintf("d%04d", i)
		r.daemons = append(r.daemons, api.Rolled{Name: name, From: f.module[name]})
	}
	change(r)
	return r.run(ctx)
}

func (f *fleet) count(module string) (n int) {
	for _, m := range f.module {
		if m == module {
			n++
		}
	}
	return n
}

func TestRolloutUpgradesAThousandAndIsIdempotent(t *testing.T) {
	f := newFleet(1000)
	p, err := f.run(t, t.Context(), func(*walk) {})
	if want := (api.RolloutProgress{Total: 1000, Upgraded: 1000}); err != nil || p != want || f.count("new") != 1000 {
		t.Fatalf("got %+v, %v, want %+v", p, err, want)
	}
	if f.at > 4 {
		t.Errorf("%d at a time, at most 4 are asked for", f.at)
	}
	f.calls = 0
	p, err = f.run(t, t.Context(), func(*walk) {})
	if want := (api.RolloutProgress{Total: 1000, Already: 1000}); err != nil || p != want || f.calls != 0 {
		t.Errorf("again: got %+v, %v, %d calls, want %+v", p, err, f.calls, want)
	}
}

func TestRolloutStopsAndRollsBack(t *testing.T) {
	f := newFleet(100)
	f.module["d0001"] = "new" // it was done before: it stays
	f.refuse["d0010"], f.stuck["d0003"] = errors.New("no hooks"), errors.New("its disk is full")
	states := map[string][]string{}
	p, err := f.run(t, t.Context(), func(r *walk) {
		r.parallel = 1
		r.tell = func(d api.Rolled, _ api.RolloutProgress) { states[d.Name] = append(states[d.Name], d.State) }
	})
	if want := (api.RolloutProgress{Total: 100, Already: 1, Upgraded: 1, Failed: 1, RolledBack: 8, Left: 1, Untouched: 89}); !errors.Is(err, api.ErrRollout) || p != want {
		t.Errorf("got %+v, %v, want %+v", p, err, want)
	}
	if f.count("new") != 2 || f.module["d0001"] != "new" || f.module["d0003"] != "new" {
		t.Errorf("%d daemons are of the new module", f.count("new"))
	}
	for name, want := range map[string][]string{"d0000": {"upgraded", "rolled-back"}, "d0001": {"already"}, "d0003": {"upgraded", "left"}, "d0010": {"failed"}, "d0011": nil} {
		if !reflect.DeepEqual(states[name], want) {
			t.Errorf("%s: told %v, want %v", name, states[name], want)
		}
	}
}

func TestRolloutWithFailuresThatAreAllowed(t *testing.T) {
	f := newFleet(20)
	f.refuse["d0003"], f.refuse["d0009"] = errors.New("no"), errors.New("no")
	p, err := f.run(t, t.Context(), func(r *walk) { r.maxFailures = 2 })
	if want := (api.RolloutProgress{Total: 20, Upgraded: 18, Failed: 2}); !errors.Is(err, api.ErrRollout) || p != want {
		t.Errorf("got %+v, %v, want %+v", p, err, want)
	}
	p, err = f.run(t, t.Context(), func(r *walk) { r.maxFailures, r.noRollback, r.parallel = 0, true, 1 })
	if want := (api.RolloutProgress{Total: 20, Already: 3, Failed: 1, Untouched: 16}); !errors.Is(err, api.ErrRollout) || p != want {
		t.Errorf("without rollback: got %+v, %v, want %+v", p, err, want)
	}
}

// One that says that it failed, and was upgraded all the same, is rolled back.
func TestRolloutRollsBackWhatOnlySeemedToFail(t *testing.T) {
	f := newFleet(3)
	p, err := f.run(t, t.Context(), func(r *walk) {
		r.parallel = 1
		r.upgrade = func(ctx context.Context, d api.Rolled, to string) error {
			if err := f.upgrade(ctx, d, to); err != nil || d.Name != "d0001" || to != "new" {
				return err
			}
			return mesh.ErrUnreachable // the answer was lost
		}
	})
	if want := (api.RolloutProgress{Total: 3, Failed: 1, RolledBack: 2, Untouched: 1}); !errors.Is(err, api.ErrRollout) || p != want || f.count("old") != 3 {
		t.Errorf("got %+v, %v, want %+v; %d are of the old module", p, err, want, f.count("old"))
	}
}

func TestRolloutThatIsInterruptedRollsNothingBack(t *testing.T) {
	f := newFleet(50)
	ctx, cancel := context.WithCancel(t.Context())
	p, err := f.run(t, ctx, func(r *walk) {
		r.parallel = 1
		r.tell = func(d api.Rolled, p api.RolloutProgress) {
			if p.Upgraded == 5 {
				cancel()
			}
		}
	})
	if want := (api.RolloutProgress{Total: 50, Upgraded: 5, Untouched: 45}); !errors.Is(err, context.Canceled) || p != want || f.count("new") != 5 {
		t.Errorf("got %+v, %v, want %+v", p, err, want)
	}
}

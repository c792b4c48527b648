package group

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A member that leaves gets no event more, answers those that it has, and is stopped then.
func TestMembersAnswerBeforeTheyEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, remove := range []bool{false, true} {
			w := newWorld(1)
			m := newManager(t, w, &Memory{})
			if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 3}, nil, nil); err != nil {
				t.Fatal(err)
			}
			var ends []func()
			for range 3 {
				_, end := route(t, m, "", false)
				ends = append(ends, end)
			}
			left := make(chan error, 1)
			go func() {
				if remove {
					left <- m.Remove(ctx, "g")
					return
				}
				_, err := m.Scale(ctx, "g", 1)
				left <- err
			}()
			synctest.Wait()
			if len(w.nodes[1]) != 3 {
				t.Fatalf("%d members run while their events are under way", len(w.nodes[1]))
			}
			for range 6 {
				x, end, err := m.Route("g", nil, nil)
				switch {
				case remove && !errors.Is(err, ErrNotFound):
					t.Errorf("of a group that is being removed: member %d, %v", x.Index, err)
				case !remove && (err != nil || x.Index != 0):
					t.Errorf("an event goes to member %d, which leaves, %v", x.Index, err)
				}
				if err == nil {
					end()
				}
			}
			for _, end := range ends {
				end()
			}
			want := 1
			if remove {
				want = 0
			}
			if err := <-left; err != nil || len(w.nodes[1]) != want {
				t.Errorf("%d members run, %v", len(w.nodes[1]), err)
			}
		}
	})
}

// One that does not answer in time stays a member.
func TestABusyMemberStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		m := newManager(t, w, &Memory{})
		if _, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 2}, nil, nil); err != nil {
			t.Fatal(err)
		}
		_, first := route(t, m, "", false)
		_, second := route(t, m, "", false)
		first()
		began := time.Now()
		if g, err := m.Scale(ctx, "g", 1); !errors.Is(err, ErrBusy) || g.Size != 2 || len(g.Members) != 2 || time.Since(began) != leavePatience {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		had := map[uint8]bool{}
		for range 2 {
			x, end := route(t, m, "", false)
			had[x.Index] = true
			end()
		}
		if !had[1] {
			t.Error("the member that stays has no events")
		}
		second()
		if _, err := m.Scale(ctx, "g", 1); err != nil || len(w.nodes[1]) != 1 {
			t.Error(err)
		}
	})
}

// After a crash the members that were leaving end.
func TestLeavingGoesOnAfterACrash(t *testing.T) {
	w, r := newWorld(1), &Memory{}
	m := newManager(t, w, r)
	g, err := m.Create(ctx, Spec{Name: "g", Kind: "k", Size: 3}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.Size = 1 // as it is stored first
	if err := r.Put(g); err != nil {
		t.Fatal(err)
	}
	m = newManager(t, w, r)
	for range 4 {
		if x, end := route(t, m, "", false); x.Index != 0 {
			t.Errorf("an event goes to member %d, which leaves", x.Index)
		} else {
			end()
		}
	}
	if g, err = m.Heal(ctx, "g"); err != nil || len(g.Members) != 1 || len(w.nodes[1]) != 1 {
		t.Errorf("%+v, %v", g, err)
	}
}

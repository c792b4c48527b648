package lifecycle

import "testing"

// The whole machine, every combination of state and signal: what has no row is refused
// and changes nothing.
func TestTransitions(t *testing.T) {
	want := map[State]map[Signal]State{
		Migrating: {Resume: Running, Rest: Passive, Leave: Moved, Fail: Failed, Diverge: Diverged},
		Running:   {Pause: Migrating, Rest: Passive, Leave: Moved, Fail: Failed, Diverge: Diverged},
		Passive:   {Pause: Migrating, Wake: Running, Leave: Moved, Fail: Failed, Diverge: Diverged},
	}
	for s := Migrating; s <= Diverged+1; s++ {
		for sig := Signal(0); sig <= Diverge+1; sig++ {
			m := Machine{s}
			to, ok := want[s][sig]
			if !ok {
				to = s
			}
			if got := m.Signal(sig); got != ok || m.State() != to {
				t.Errorf("%s, %s: %s, %v, want %s, %v", s, sig, m.State(), got, to, ok)
			}
		}
	}
}

// Nothing leads out of a state that is over, and a daemon serves in no state that is.
func TestStates(t *testing.T) {
	for _, want := range []struct {
		s                             State
		name                          string
		serves, inMemory, broken, ovr bool
	}{
		{Migrating, "migrating", false, true, false, false},
		{Running, "running", true, true, false, false},
		{Passive, "passive", true, false, false, false},
		{Moved, "moved", false, false, false, true},
		{Failed, "failed", false, false, true, true},
		{Diverged, "diverged", false, false, true, true},
	} {
		s := want.s
		if s.String() != want.name || s.Serves() != want.serves || s.InMemory() != want.inMemory || s.Broken() != want.broken || s.Over() != want.ovr {
			t.Errorf("%s: serves %v, in memory %v, broken %v, over %v, want %+v", s, s.Serves(), s.InMemory(), s.Broken(), s.Over(), want)
		}
		for r := range table {
			if r.from == s && want.ovr {
				t.Errorf("%s leads out of %s", r.signal, s)
			}
		}
	}
	if State(9).String() != "state(9)" || Signal(9).String() != "signal(9)" {
		t.Errorf("%s, %s", State(9), Signal(9))
	}
}

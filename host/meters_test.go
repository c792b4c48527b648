package host

import (
	"testing"
	"time"
)

// Kinds that nobody here chose cannot make the counters grow without a bound.
func TestMetersAreBounded(t *testing.T) {
	var m meters
	for i := range 2 * MaxMeteredKinds {
		m.of(time.Duration(i).String()).Rounds.Add(1)
		m.moved(time.Duration(i).String(), "target", nil)
	}
	if len(m.kinds) > MaxMeteredKinds+1 || len(m.moves) > MaxMeteredKinds+1 {
		t.Errorf("%d kinds, %d moves", len(m.kinds), len(m.moves))
	}
	if n := m.kinds[OtherKinds].Rounds.Load(); n != MaxMeteredKinds {
		t.Errorf("%d are counted with the others", n)
	}
}

package main

import "testing"

func TestModelHoldsAndItsTwinsDoNot(t *testing.T) {
	if testing.Short() {
		t.Skip("a quarter of a million states on one goroutine")
	}
	if r := explore(none); r.violated != "" || r.states < 100_000 {
		t.Errorf("%d states, %s after %v", r.states, r.violated, r.trace)
	}
	for _, d := range defects {
		if r := explore(d); r.violated == "" {
			t.Errorf("%s is not caught", d)
		}
	}
}

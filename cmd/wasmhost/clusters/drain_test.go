package clusters

import (
	"bytes"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/cli"
)

func TestDrainTexts(t *testing.T) {
	p := api.DrainProgress{Total: 20, Gone: 9, Stayed: 1, Bytes: 20 << 10, ElapsedMS: 1000, RemainingMS: 1234}
	if got, want := barText(&p), "[###############...............] 9 of 20, 1 stay, 20 KiB, about 1.234s left"; got != want {
		t.Errorf("%q", got)
	}
	if got, want := barText(&api.DrainProgress{}), "[##############################] 0 of 0, 0 B"; got != want {
		t.Errorf("%q", got)
	}
	s := api.DrainSummary{NodeID: "n", DrainProgress: p}
	if got, want := summaryText((&cli.App{Nodes: map[string]string{}}), &s), "9 of 20 daemons are gone from n: 20 KiB in 1s, 9.0 a second"; got != want {
		t.Errorf("%q", got)
	}
}

// On a terminal what stayed is said above the bar, which is drawn anew; what moved
// is the bar's.
func TestDrainBar(t *testing.T) {
	var err bytes.Buffer
	s := &drainShower{App: &cli.App{Out: &bytes.Buffer{}, Err: &err, Format: "table"}, bar: true}
	for _, step := range []api.DrainStep{
		{Progress: &api.DrainProgress{Total: 2}}, {Daemon: &api.Drained{Name: "a", State: "moved"}},
		{Daemon: &api.Drained{Name: "b", State: "stayed", Reason: "why"}}, {Progress: &api.DrainProgress{Total: 2, Gone: 1, Stayed: 1}},
	} {
		if e := s.step(step); e != nil {
			t.Fatal(e)
		}
	}
	s.clear()
	want := "\r\x1b[K[..............................] 0 of 2, 0 B\r\x1b[Kb stayed: why\n\r\x1b[K[##############################] 1 of 2, 1 stay, 0 B\r\x1b[K"
	if err.String() != want {
		t.Errorf("%q", err.String())
	}
}

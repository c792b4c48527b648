package guesttest_test

import (
	"strings"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

func conform(t *testing.T, name string, c guesttest.Conformance, fuel int64) map[string]guesttest.RuleVerdict {
	t.Helper()
	tr, err := guesttest.NewRunner(ctx, guest(t, name), daemon.Limits{Fuel: fuel})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close(ctx)
	c.Runner = tr
	c.Many = 500
	out := make(map[string]guesttest.RuleVerdict)
	if err := c.Run(ctx, func(v guesttest.RuleVerdict) error {
		out[v.Rule] = v
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

// Every example guest keeps every rule.
func TestConformanceOfTheExamples(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for long, one thing after another")
	}
	for _, name := range []string{"c/counter.wasm", "rust/counter.wasm", "assemblyscript/counter.wasm", "zig/counter.wasm",
		"c/echo.wasm", "zig/echo.wasm", "c/wordcount.wasm", "rust/wordcount.wasm", "zig/wordcount.wasm", "go/wordcount.wasm"} {
		t.Run(name, func(t *testing.T) {
			got := conform(t, name, guesttest.Conformance{Events: [][]byte{[]byte("a b"), []byte("fail"), []byte("?totals"), []byte("c")}}, daemon.DefaultLimits.Fuel)
			if len(got) != len(guesttest.Rules) {
				t.Errorf("%d verdicts of %d rules", len(got), len(guesttest.Rules))
			}
			for rule, v := range got {
				if v.Verdict == guesttest.Failed {
					t.Errorf("%s: %s: %s", rule, v.Detail, v.Mend)
				}
			}
		})
	}
}

// Guests that break a rule are found out, by that rule.
func TestConformanceFindsWhatIsBroken(t *testing.T) {
	texts := func(s string) (out [][]byte) {
		for _, w := range strings.Fields(s) {
			out = append(out, []byte(w))
		}
		return out
	}
	for _, tc := range []struct {
		name, events, config, rule, says string
	}{
		{"c/unruly.wasm", "count trap", "", "many", "trap"},
		{"c/unruly.wasm", "count panic", "", "failing", "fault"},
		{"c/unruly.wasm", "loop", "", "many", "fuel"},
		{"c/counter.wasm", "x", "nonsense", "init", "configuration must be"},
	} {
		got := conform(t, tc.name, guesttest.Conformance{Events: texts(tc.events), Config: []byte(tc.config)}, 100<<20)
		v := got[tc.rule]
		if v.Verdict != guesttest.Failed || !strings.Contains(v.Detail, tc.says) || v.Mend == "" {
			t.Errorf("%s, events %q: rule %s is %+v, want it failed with %q", tc.name, tc.events, tc.rule, v, tc.says)
		}
	}
	for events, says := range map[string]string{"a a since": "event 3", "a sulk a": "wasmhost_snapshot fails"} {
		got := conform(t, "c/forgetful.wasm", guesttest.Conformance{Events: texts(events)}, 100<<20)
		if v := got["hooks"]; v.Verdict != guesttest.Failed || !strings.Contains(v.Detail, says) {
			t.Errorf("hooks, events %q: %+v, want it failed with %q", events, v, says)
		}
		if got["capture"].Verdict != guesttest.Passed {
			t.Errorf("capture: %+v", got["capture"])
		}
	}
}

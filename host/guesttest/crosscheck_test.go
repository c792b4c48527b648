package guesttest_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/guesttest"
)

// events returns one after the other.
func events(texts ...string) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(texts) == 0 {
			return nil, io.EOF
		}
		next := texts[0]
		texts = texts[1:]
		return []byte(next), nil
	}
}

func crossCheck(t *testing.T, c guesttest.CrossCheck, next func() ([]byte, error)) []guesttest.Verdict {
	t.Helper()
	var all []guesttest.Verdict
	if err := c.Run(ctx, next, func(v guesttest.Verdict) error {
		all = append(all, v)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// Hooks that carry all of the state are found to, in every language, also
// where events fail.
func TestCrossCheckOfHooksThatCarryAll(t *testing.T) {
	if testing.Short() {
		t.Skip("it computes for long, one thing after another")
	}
	for name, texts := range map[string][]string{
		"c/counter.wasm":                {"x", "fail", "x", "x", "fail", "x"},
		"rust/counter.wasm":             {"x", "fail", "x", "x", "fail", "x"},
		"assemblyscript/wordcount.wasm": {"the cat", "the dog", "?totals", "?lines", "a cat", "?totals"},
		"go/wordcount.wasm":             {"the cat", "the dog", "?totals", "?lines", "a cat", "?totals"},
	} {
		verdicts := crossCheck(t, guesttest.CrossCheck{Wasm: guest(t, name), Next: 3}, events(texts...))
		if len(verdicts) != 6 {
			t.Errorf("%s: %d verdicts, want one before each of the events", name, len(verdicts))
		}
		for after, v := range verdicts {
			if want := min(3, 6-after); !v.Same() || v.After != after || v.Compared != want {
				t.Errorf("%s: verdict %d is %+v, want %d compared", name, after, v, want)
			}
		}
	}
}

// Hooks that forget something are found out: at the first event that shows it,
// and only where a restore has lost something.
func TestCrossCheckFindsWhatHooksForget(t *testing.T) {
	wasm := guest(t, "c/forgetful.wasm")
	verdicts := crossCheck(t, guesttest.CrossCheck{Wasm: wasm, Next: 4}, events("since", "x", "since", "mark", "x", "since"))
	got := ""
	for _, v := range verdicts {
		got += fmt.Sprintf("after %d: %d alike", v.After, v.Compared)
		if v.Differs != 0 {
			got += fmt.Sprintf(", event %d: %s and %s", v.Differs, v.Memory.Outputs[0], v.Hooks.Outputs[0])
		}
		got += "\n"
	}
	want := `after 0: 4 alike
after 1: 1 alike, event 3: 3 and 2
after 2: 0 alike, event 3: 3 and 1
after 3: 3 alike
after 4: 2 alike
after 5: 0 alike, event 6: 2 and 1
`
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	// Where too few events are compared, nothing shows.
	for _, v := range crossCheck(t, guesttest.CrossCheck{Wasm: wasm, Next: 1}, events("since", "x", "x")) {
		if !v.Same() {
			t.Errorf("%+v", v)
		}
	}
}

func TestCrossCheckOfWhatCannotBeCompared(t *testing.T) {
	none := func(guesttest.Verdict) error { t.Error("there is a verdict"); return nil }
	c := guesttest.CrossCheck{Wasm: guest(t, "c/unruly.wasm"), Next: 1}
	if err := c.Run(ctx, events("x"), none); !errors.Is(err, guesttest.ErrNoHooks) {
		t.Errorf("a module without hooks: %v", err)
	}
	for _, n := range []int{0, guesttest.MaxCrossCheck + 1} {
		c = guesttest.CrossCheck{Wasm: guest(t, "c/counter.wasm"), Next: n}
		if err := c.Run(ctx, events("x"), none); err == nil {
			t.Errorf("%d events to compare were accepted", n)
		}
	}
	c = guesttest.CrossCheck{Wasm: guest(t, "c/counter.wasm"), Next: 1, Config: []byte("{")}
	var fault *daemon.GuestError
	if err := c.Run(ctx, events("x"), none); !errors.As(err, &fault) {
		t.Errorf("configuration that the guest refuses: %v", err)
	}
	c.Config = nil
	broken := errors.New("the file ended badly")
	if err := c.Run(ctx, func() ([]byte, error) { return nil, broken }, none); !errors.Is(err, broken) {
		t.Errorf("events that cannot be read: %v", err)
	}
	if err := c.Run(ctx, events("x", "x"), func(guesttest.Verdict) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("a verdict that cannot be told: %v", err)
	}
}

// A hook that fails is a verdict, and the check goes on.
func TestCrossCheckOfHooksThatFail(t *testing.T) {
	verdicts := crossCheck(t, guesttest.CrossCheck{Wasm: guest(t, "c/forgetful.wasm"), Next: 2}, events("x", "sulk", "x", "sulk"))
	if len(verdicts) != 5 {
		t.Fatalf("%d verdicts", len(verdicts))
	}
	for after, v := range verdicts {
		var fault *daemon.GuestError
		sulks := after == 2 || after == 4
		if v.After != after || v.Same() == sulks || errors.As(v.Failure, &fault) != sulks || sulks && fault.Text != "it does not want to" {
			t.Errorf("after event %d: %+v", after, v)
		}
	}
}

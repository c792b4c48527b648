package main

import (
	"io"
	"strings"
	"testing"

	"wasmhost.example/cmd/wasmhost/cli"
)

// What is said to be ours is, and what is typed instead is not.
func TestHabitsAreCommands(t *testing.T) {
	a := &cli.App{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}
	root := root(a)
	for typed, ours := range cli.Habits {
		if c, rest, err := root.Find(strings.Fields(ours)); err != nil || len(rest) > 0 || c == root {
			t.Errorf("%s: there is no command %s", typed, ours)
		}
		words := strings.Fields(typed)
		if c, rest, err := root.Find(words); err == nil && len(rest) == 0 && c != root {
			t.Errorf("%s is a command of ours: it needs no hint", typed)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"stop", "stop", 0}, {"stop", "stpo", 1}, {"stop", "sto", 1}, {"stop", "stopp", 1}, {"stop", "", 4}, {"filter", "fitler", 1}, {"abc", "xyz", 3}} {
		if got := cli.Distance(test.a, test.b); got != test.want {
			t.Errorf("%q and %q: %d, want %d", test.a, test.b, got, test.want)
		}
	}
}

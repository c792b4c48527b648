package main

import (
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"wasmhost.example/cmd/wasmhost/cli"
)

// Every command says what it does, shows an example that is a command of ours,
// and points to the exit codes.
func TestEveryCommandHasHelp(t *testing.T) {
	a := &cli.App{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}
	root := root(a)
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s does not say what it does", c.CommandPath())
		}
		if !c.HasSubCommands() && !strings.Contains(c.Example, "wasmhost ") {
			t.Errorf("%s shows no example", c.CommandPath())
		}
		for _, line := range strings.Split(c.Example, "\n") {
			if line != "" && !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: the example %q is not indented", c.CommandPath(), line)
			}
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	for _, code := range []string{"0 ok", "1 failure", "2 usage", "3 not found", "4 conflict", "5 denied", "6 cannot reach", "7 timeout",
		"8 confirmation refused", "9 guest failed", "10 verification failed", "11 migration failed", "12 drain or recovery incomplete", "130 interrupted"} {
		if !strings.Contains(root.Long, code) {
			t.Errorf("the help does not name exit code %q", code)
		}
	}
}

package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// severalError says that a command was not done for some of its targets.
type severalError struct {
	failed, of int
	code       int // the largest exit code of those
}

func (s *severalError) Error() string { return fmt.Sprintf("%d of %d failed", s.failed, s.of) }

// severalHelp is said of commands that take several targets.
const severalHelp = `

Of several all are tried; each that fails is told on standard error, and the exit code is
the largest of theirs.`

// each does something for every target. What fails is told at once and does not stop
// those after it. As JSON the answers of several are one list.
func (a *App) each(c *cobra.Command, targets []string, do func(target string) error) error {
	if len(targets) == 1 {
		return do(targets[0])
	}
	if a.format == "json" {
		a.collected = []any{}
	}
	several := &severalError{of: len(targets)}
	for _, target := range targets {
		err := do(target)
		if err == nil {
			continue
		}
		if c.Context().Err() != nil {
			return err
		}
		several.failed++
		several.code = max(several.code, a.report(c.Context(), fmt.Errorf("%s: %w", target, err)))
	}
	if list := a.collected; list != nil {
		a.collected = nil
		if err := json.NewEncoder(a.out).Encode(list); err != nil {
			return err
		}
	}
	if several.failed > 0 {
		return several
	}
	return nil
}

// atLeast is cobra.MinimumNArgs with an error of usage.
func atLeast(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < n {
			return usagef("%s takes %s or more, got %d: %s", c.CommandPath(), arguments(n), len(args), c.UseLine())
		}
		return nil
	}
}

// arguments is how many arguments, in words.
func arguments(n int) string {
	switch n {
	case 0:
		return "no arguments"
	case 1:
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}

// targetsOf names targets in a question.
func targetsOf(what string, targets []string) string {
	if len(targets) > 1 {
		what += "s"
	}
	return what + " " + strings.Join(targets, ", ")
}

package cli

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// SeveralError says that a command was not done for some of its targets.
type SeveralError struct {
	Failed, Of int
	Code       int // the largest exit code of those
}

func (s *SeveralError) Error() string { return fmt.Sprintf("%d of %d failed", s.Failed, s.Of) }

// SeveralHelp is said of commands that take several targets.
const SeveralHelp = `

Of several all are tried; each that fails is told on standard error, and the exit code is
the largest of theirs.`

// Each does something for every target. What fails is told at once and does not stop
// those after it. As JSON the answers of several are one list.
func (a *App) Each(c *cobra.Command, targets []string, do func(target string) error) error {
	if len(targets) == 1 {
		return do(targets[0])
	}
	if a.Format == "json" {
		a.collected = []any{}
	}
	several := &SeveralError{Of: len(targets)}
	for _, target := range targets {
		err := a.orPlan(c, do(target))
		if err == nil {
			continue
		}
		if c.Context().Err() != nil {
			return err
		}
		several.Failed++
		several.Code = max(several.Code, a.Report(c.Context(), fmt.Errorf("%s: %w", target, err)))
	}
	if list := a.collected; list != nil {
		a.collected = nil
		if err := json.NewEncoder(a.Out).Encode(list); err != nil {
			return err
		}
	}
	if several.Failed > 0 {
		return several
	}
	return nil
}

// AtLeast is cobra.MinimumNArgs with an error of usage.
func AtLeast(n int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < n {
			return Usagef("%s takes %s or more, got %d: %s", c.CommandPath(), arguments(n), len(args), c.UseLine())
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

// TargetsOf names targets in a question.
func TargetsOf(what string, targets []string) string {
	if len(targets) > 1 {
		what += "s"
	}
	return what + " " + strings.Join(targets, ", ")
}

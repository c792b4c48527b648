package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"wasmhost.example/api"
	"wasmhost.example/api/server/problem"
)

// usageError is a mistake in the command line.
type usageError struct{ text string }

func (u *usageError) Error() string { return u.text }

// Usagef makes an error of usage: exit code 2.
func Usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// exitError is an error whose exit code is decided.
type exitError struct {
	code int
	err  error
}

// ExitWith returns err with an exit code that is decided, one of package api.
func ExitWith(code int, err error) error { return &exitError{code, err} }

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// Report prints the error and returns the exit code.
func (a *App) Report(ctx context.Context, err error) int {
	if err == nil {
		return api.ExitOK
	}
	var usage *usageError
	var exit *exitError
	var several *SeveralError
	p := problem.Of(err)
	code := p.Exit()
	contextCode, contextErr := contextProblem(err, p)
	switch {
	case ctx.Err() != nil && (a.Grace.cut.Load() || errors.Is(err, context.Canceled) && !errors.As(err, &exit)):
		code, p.Code, p.Hint = api.ExitInterrupted, "interrupted", ""
	case errors.As(err, &usage) || strings.HasPrefix(err.Error(), "unknown command") || strings.HasPrefix(err.Error(), "required flag"):
		code, p.Code, p.Hint = api.ExitUsage, "usage", "see --help"
	case contextErr:
		code = contextCode
	case errors.As(err, &several):
		code, p.Code, p.Hint = several.Code, "some-failed", ""
	case errors.As(err, &exit):
		code = exit.code
		if code == api.ExitNotConfirmed {
			p.Code, p.Hint = "not-confirmed", "say yes, or give --yes"
		}
		if code == api.ExitVerification && p.Code == "internal" {
			p.Code, p.Hint = "verification-failed", ""
		}
	case p.Code == "internal" && !errors.As(err, new(*api.Problem)):
		p.Code, p.Hint = "failure", "" // this program's, not a node's
	}
	if a.rendered == nil && (a.Format == "json" || a.Format == "jsonl") || a.logsJSON {
		line := map[string]any{"code": p.Code, "message": err.Error(), "hint": p.Hint, "exit": code}
		if p.Fault != nil {
			line["fault"] = p.Fault
		}
		if p.Reason != "" {
			line["reason"] = p.Reason
		}
		if p.Refused != "" {
			line["refused"] = p.Refused
		}
		if p.Nodes != nil {
			line["nodes"] = p.Nodes
		}
		if a.contextText() != "" && a.asked.Load() {
			line["context"] = a.Target.Name
		}
		_ = json.NewEncoder(a.Err).Encode(map[string]any{"error": line}) // there is nowhere left to say so
		return code
	}
	writeColoured(a.Err, "error:", red)
	fmt.Fprintf(a.Err, " %s (%s)\n", strings.ReplaceAll(a.WithNames(err.Error(), code), "\n", "\n  "), OneLine(p.Code)) // each further line is seen to belong to it
	if p.Fault != nil && p.Fault.Stack != "" {
		fmt.Fprintf(a.Err, "guest stack:\n  %s\n", strings.NewReplacer("\n", "\n  ", `\n`, "\n  ").Replace(p.Fault.Stack))
	}
	if p.Hint != "" {
		writeColoured(a.Err, "hint:", yellow)
		fmt.Fprintf(a.Err, " %s\n", OneLine(p.Hint))
	}
	if of := a.contextText(); of != "" && a.asked.Load() && code != api.ExitUsage {
		fmt.Fprintf(a.Err, "context: %s\n", OneLine(of))
	}
	return code
}

package wasmhost_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"wasmhost.example/api"
)

// docs/errors.md is made of the table of problem codes. A code that is added, or changed,
// is on the page or this fails.
func TestErrorsPageIsOfTheCodes(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Errors

The API answers an error with a problem (RFC 9457), the command line prints it and exits with
a code. Codes and exit codes keep their meaning from version to version; texts may change.
With ` + "`-o json`" + ` the command line prints the problem itself. This page is made of the code
(` + "`go test . -run ErrorsPage -update`" + `).

## Exit codes

| code | meaning |
|---|---|
`)
	for _, e := range []struct {
		code int
		what string
	}{
		{api.ExitOK, "done"}, {api.ExitFailure, "failure"}, {api.ExitUsage, "the command line or the configuration cannot be"},
		{api.ExitNotFound, "not found"}, {api.ExitConflict, "a conflict, or a stale epoch"}, {api.ExitDenied, "denied"},
		{api.ExitUnreachable, "the node is not reached"}, {api.ExitTimeout, "the time is over"}, {api.ExitNotConfirmed, "what was asked for was not confirmed"},
		{api.ExitGuest, "the guest failed, or went over a limit"}, {api.ExitVerification, "a proof does not hold"},
		{api.ExitMigration, "the migration failed, and the source still serves"}, {api.ExitIncomplete, "a drain or recovery is incomplete"},
		{api.ExitInterrupted, "interrupted"},
	} {
		fmt.Fprintf(&b, "| %d | %s |\n", e.code, e.what)
	}
	b.WriteString(`
## Problem codes

| code | status | exit | what happened | what helps |
|---|---|---|---|---|
`)
	escape := strings.NewReplacer("|", "\\|", "<", "\\<")
	for _, c := range api.Codes() {
		fmt.Fprintf(&b, "| `%s` | %d | %d | %s | %s |\n", c.Name, c.Status, c.Exit, escape.Replace(c.Title), escape.Replace(c.Hint))
	}

	const page = "docs/errors.md"
	if *update {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not of the codes: go test . -run ErrorsPage -update", page)
	}
}

package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"testing"

	"wasmhost.example/abi"
	"wasmhost.example/api"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/store"
)

// Every class has a code of its own, an exit code of the documented ones, and
// says what to do; an error keeps its class however deep it is wrapped, and
// across the API.
func TestEveryClassOfError(t *testing.T) {
	codes := make(map[string]bool)
	noHint := map[string]bool{"not-supported": true, "bad-request": true} // the detail says it
	check := func(err error, code string, exit int) {
		t.Helper()
		w := httptest.NewRecorder()
		Write(w, fmt.Errorf("doing a thing: %w", err))
		if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
			t.Errorf("%s: content type %q", code, got)
		}
		var p api.Problem
		if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		if p.Code != code || p.Exit() != exit || p.Status != w.Code || p.Status < 400 || p.Title == "" || p.Detail == "" {
			t.Errorf("%v became %+v with exit %d, want code %s, exit %d", err, p, p.Exit(), code, exit)
		}
		if p.Hint == "" && !noHint[code] {
			t.Errorf("%s does not say what to do", code)
		}
		if again := Of(&p); again.Code != code || again.Exit() != exit {
			t.Errorf("%s became %s on its way", code, again.Code)
		}
	}
	for _, c := range api.Codes() {
		if codes[c.Name] {
			t.Errorf("two rows have code %s", c.Name)
		}
		codes[c.Name] = true
		if c.Exit < api.ExitFailure || c.Exit > api.ExitIncomplete || c.Exit == api.ExitNotConfirmed {
			t.Errorf("%s has exit code %d", c.Name, c.Exit)
		}
	}
	for _, row := range errorCodes {
		c, ok := api.CodeNamed(row.code)
		if !ok {
			t.Errorf("there is no code %s", row.code)
		}
		check(row.err, row.code, c.Exit)
	}
	check(&abi.Fault{Kind: abi.FaultTrap, Call: "process"}, "guest-failed", api.ExitGuest)
	check(&abi.Fault{Kind: abi.FaultLimit, Limit: abi.LimitFuel}, "limit-exceeded", api.ExitGuest)
	check(&abi.Refusal{Code: abi.RefusedNotWasm, Found: "text", Mend: "upload Wasm"}, "module-refused", api.ExitFailure)
	check(&daemon.MovedError{}, "moved", api.ExitConflict)
	check(&chain.Error{Err: errors.New("x")}, "chain-broken", api.ExitVerification)
	check(&daemon.AmbiguousError{}, "ambiguous", api.ExitConflict)
	check(errors.New("something else"), "internal", api.ExitFailure)
	check(fmt.Errorf("%w: %w", store.ErrPoisoned, store.ErrNoSpace), "no-space", api.ExitFailure)
	for code := migration.Code(0); code.Valid(); code++ {
		want, exit := "migration-failed", api.ExitMigration
		switch code {
		case migration.DaemonNotFound:
			want, exit = "daemon-not-found", api.ExitNotFound
		case migration.AlreadyMigrating:
			want, exit = "already-migrating", api.ExitConflict
		case migration.NotPortable:
			want, exit = "not-portable", api.ExitMigration
		case migration.SourceUnavailable:
			want, exit = "unreachable", api.ExitUnreachable
		}
		check(&migration.Error{Code: code, Text: "why"}, want, exit)
	}
}

package abi_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"wasmhost.example/abi"
)

func foreign(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "wasm", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A module that is adapted is what it was, and says what it is.
func TestAdapt(t *testing.T) {
	for _, tc := range []struct{ file, convention, call, want, state string }{
		{"foreign/upper.wasm", abi.ConventionCommand, "", "_start", abi.StateStateless},
		{"foreign/tally.wasm", abi.ConventionExtism, "", "tally", abi.StateMemory},
		{"foreign/tally.wasm", abi.ConventionExtism, "tally", "tally", abi.StateMemory},
	} {
		wasm := foreign(t, tc.file)
		got, err := abi.Adapt(wasm, tc.convention, tc.call)
		if err != nil {
			t.Fatalf("%s: %v", tc.file, err)
		}
		if !bytes.HasPrefix(got, wasm) {
			t.Errorf("%s was changed", tc.file)
		}
		rep, err := abi.Inspect(got, abi.Limits{})
		if err != nil || rep.Foreign == nil || rep.Foreign.Convention != tc.convention || rep.Foreign.Call != tc.want || rep.State != tc.state {
			t.Errorf("%s: %+v, %v", tc.file, rep.Foreign, err)
		}
		if _, err := abi.Adapt(got, tc.convention, tc.call); !errors.Is(err, abi.ErrConvention) {
			t.Errorf("%s, adapted twice: %v", tc.file, err)
		}
	}
}

// What cannot be run by a convention is refused, with a name.
func TestAdaptRefuses(t *testing.T) {
	for _, tc := range []struct{ file, convention, call string }{
		{"foreign/upper.wasm", "cobol", ""},
		{"foreign/upper.wasm", abi.ConventionCommand, "main"},
		{"foreign/upper.wasm", abi.ConventionExtism, ""},
		{"c/counter.wasm", abi.ConventionExtism, ""},
		{"c/counter.wasm", abi.ConventionCommand, ""},
	} {
		if _, err := abi.Adapt(foreign(t, tc.file), tc.convention, tc.call); !errors.Is(err, abi.ErrConvention) {
			t.Errorf("%+v: %v", tc, err)
		}
	}
	var refusal *abi.Refusal
	if _, err := abi.Adapt([]byte("no module"), abi.ConventionExtism, ""); !errors.As(err, &refusal) {
		t.Errorf("%v, want a refusal", err)
	}
	for _, tc := range []struct{ file, convention, call, code string }{
		{"foreign/tally.wasm", abi.ConventionExtism, "nothing", abi.RefusedMissing},
		{"foreign/tally.wasm", abi.ConventionCommand, "", abi.RefusedMissing},
		{"foreign/upper.wasm", abi.ConventionExtism, "_start", abi.RefusedSignature},
	} {
		wasm, err := abi.Adapt(foreign(t, tc.file), tc.convention, tc.call)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := abi.Inspect(wasm, abi.Limits{}); !errors.As(err, &refusal) || refusal.Code != tc.code {
			t.Errorf("%+v: %v", tc, err)
		}
	}
}

// Sections that say something else are refused; none is believed in part.
func TestConventionsThatAreNoConventions(t *testing.T) {
	wasm := foreign(t, "foreign/upper.wasm")
	name := "\x13wasmhost_convention"
	for _, body := range []string{"", "\x05other\x06_start", "\x0cwasi-command", "\x0cwasi-command\x00", "\x0cwasi-command\x06_start!"} {
		section := append([]byte{0, byte(len(name) + len(body))}, name+body...)
		var refusal *abi.Refusal
		if _, err := abi.Inspect(append(bytes.Clone(wasm), section...), abi.Limits{}); !errors.As(err, &refusal) {
			t.Errorf("%q: %v", body, err)
		}
	}
}

func FuzzAdapt(f *testing.F) {
	for _, name := range []string{"foreign/upper.wasm", "foreign/tally.wasm", "c/counter.wasm"} {
		f.Add(foreign(f, name), abi.ConventionExtism, "")
	}
	f.Fuzz(func(t *testing.T, wasm []byte, convention, call string) {
		got, err := abi.Adapt(wasm, convention, call)
		if err != nil {
			return
		}
		if rep, err := abi.Inspect(got, abi.Limits{}); err == nil && (rep.Foreign == nil || rep.Foreign.Convention != convention) {
			t.Errorf("it follows %+v", rep.Foreign)
		}
	})
}

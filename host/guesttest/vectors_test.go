package guesttest_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"wasmhost.example/host/guesttest"
	"wasmhost.example/identity"
)

func vectors(t testing.TB) *guesttest.Vectors {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "abi", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := guesttest.ReadVectors(b)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// The probe of every SDK gives what the vectors say.
func TestVectorsOfEverySDK(t *testing.T) {
	for _, lang := range []string{"c", "zig", "rust", "assemblyscript", "go"} {
		file := filepath.Join(lang, "probe.wasm")
		if _, err := os.Stat(filepath.Join("..", "..", "testdata", "wasm", file)); lang == "go" && errors.Is(err, os.ErrNotExist) {
			continue // built on demand
		}
		t.Run(lang, func(t *testing.T) {
			t.Parallel()
			if err := vectors(t).Run(ctx, runner(t, file), func(step int, what string) error {
				t.Errorf("step %d: %s", step, what)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// What the vectors say of identities and randomness is what the contract says.
func TestVectorsFollowTheContract(t *testing.T) {
	v := vectors(t)
	var self, sender [32]byte
	applied := uint64(0)
	for k, s := range v.Steps {
		if s.Hooks || s.Kind != "" {
			continue
		}
		applied++
		switch {
		case s.Send == "self":
			if _, err := hex.Decode(self[:], []byte(s.Expect[0])); err != nil {
				t.Fatal(err)
			}
		case s.Send == "event" && s.Sender != "":
			if _, err := hex.Decode(sender[:], []byte(s.Sender)); err != nil {
				t.Fatal(err)
			}
			if want := strconv.FormatUint(uint64(identity.EntityID(sender).Origin()), 10); s.Expect[2] != want {
				t.Errorf("step %d: origin %s, want %s", k+1, s.Expect[2], want)
			}
		case s.Send == "random":
			seed := self // with epoch 1 and the sequence mixed in
			seed[8] ^= 1
			binary.LittleEndian.PutUint64(seed[16:], binary.LittleEndian.Uint64(seed[16:])^applied)
			out := make([]byte, 16)
			if _, err := rand.NewChaCha8(seed).Read(out); err != nil {
				t.Fatal(err)
			}
			if got := hex.EncodeToString(out); got != s.Expect[0] {
				t.Errorf("step %d: random %s, want %s", k+1, s.Expect[0], got)
			}
		}
	}
}

// A guest that is no probe, and a probe in vectors that ask for something else,
// are told.
func TestVectorsFindWhatIsWrong(t *testing.T) {
	var wrong []int
	note := func(step int, _ string) error {
		wrong = append(wrong, step)
		return nil
	}
	v := vectors(t)
	v.Config = ""
	if err := v.Run(ctx, runner(t, "c/echo.wasm"), note); !errors.Is(err, guesttest.ErrNoHooks) || len(wrong) < 10 {
		t.Errorf("echo as a probe: steps %v, %v", wrong, err)
	}
	v = vectors(t)
	wrong = nil
	v.Steps[0].Expect = []string{"42"}
	v.Steps[9].Log[2] = "2 other"
	v.Steps[10].Code = 8
	if err := v.Run(ctx, runner(t, "c/probe.wasm"), note); err != nil || !slices.Equal(wrong, []int{1, 10, 11}) {
		t.Errorf("steps %v, %v; want 1, 10 and 11", wrong, err)
	}
	v = vectors(t)
	v.Steps[0].Sender = strings.Repeat("0", 66)
	if err := v.Run(ctx, runner(t, "c/probe.wasm"), note); err == nil || !strings.Contains(err.Error(), "at most 32 bytes") {
		t.Errorf("a sender of 33 bytes: %v", err)
	}
}

func FuzzReadVectors(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("..", "..", "abi", "vectors.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"abi":1,"steps":[{"send":"x","repeat":9223372036854775807,"expect":[]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := guesttest.ReadVectors(b); err == nil && (v.ABI != 1 || len(v.Steps) == 0) {
			t.Errorf("%+v", v)
		}
	})
}

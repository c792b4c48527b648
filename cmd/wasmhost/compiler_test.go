package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/cmd/wasmhost/serve"
	"wasmhost.example/host/registry"
)

// functionOf is a module of one function with that body.
func functionOf(body string) []byte {
	sized := func(s string) string { return string(binary.AppendUvarint(nil, uint64(len(s)))) + s }
	section := func(id byte, s string) string { return string(rune(id)) + sized(s) }
	return []byte("\x00asm\x01\x00\x00\x00" + section(1, "\x01\x60\x00\x00") + section(3, "\x01\x00") + section(10, "\x01"+sized("\x00"+body+"\x0b")))
}

// TestChildren compiles modules in processes of this program, within limits.
func TestChildren(t *testing.T) {
	loops := functionOf(strings.Repeat("\x03\x40\x0b", 30_000))
	adds := functionOf("\x41\x01" + strings.Repeat("\x41\x01\x6a", 1_000_000) + "\x1a")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name    string
		ctx     context.Context
		wasm    []byte
		limits  registry.CompileLimits
		limit   string // of the CompileError
		refused string // code of the Refusal
		err     error
	}{
		{name: "within", wasm: functionOf("\x01"), limits: registry.DefaultCompileLimits},
		{name: "no limits", wasm: functionOf("\x01")},
		{name: "processor time", wasm: loops, limits: registry.CompileLimits{CPU: 300 * time.Millisecond}, limit: registry.CompileCPU},
		{name: "clock", wasm: loops, limits: registry.CompileLimits{Wall: 300 * time.Millisecond}, limit: registry.CompileWall},
		{name: "memory", wasm: adds, limits: registry.CompileLimits{Memory: 100 << 20}, limit: registry.CompileMemory},
		{name: "invalid", wasm: functionOf("\x1a"), limits: registry.DefaultCompileLimits, refused: abi.RefusedInvalid},
		{name: "no module", wasm: []byte("x"), refused: abi.RefusedNotWasm},
		{name: "nobody waits", ctx: ended, wasm: loops, err: context.Canceled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx
			}
			dir := t.TempDir()
			use, err := serve.Children{}.Compile(ctx, registry.CompileJob{Wasm: tt.wasm, Dir: dir, Limits: tt.limits})
			var over *registry.CompileError
			var refusal *abi.Refusal
			switch {
			case tt.limit != "":
				if !errors.As(err, &over) || over.Limit != tt.limit {
					t.Errorf("got %v, want a CompileError of %s", err, tt.limit)
				}
			case tt.refused != "":
				if !errors.As(err, &refusal) || refusal.Code != tt.refused {
					t.Errorf("got %v, want a Refusal of %s", err, tt.refused)
				}
			case !errors.Is(err, tt.err):
				t.Errorf("got %v, want %v", err, tt.err)
			}
			made, globErr := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
			if globErr != nil || (err == nil) != (len(made) == 1 && use.CPU > 0) {
				t.Errorf("made %v, took %v, %v", made, use, globErr)
			}
		})
	}
}

// TestChildEndsWithoutNode has the child's input end early, as that of a node
// that was killed does.
func TestChildEndsWithoutNode(t *testing.T) {
	var out bytes.Buffer
	if code := serve.CompileChild([]string{t.TempDir(), "100", "0", "0s"}, strings.NewReader("half"), &out); code != serve.ChildOrphan {
		t.Errorf("exit code %d, want %d: %s", code, serve.ChildOrphan, out.String())
	}
}

package abi

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// builder makes small modules by hand.
type builder struct{ types, imports, funcs, mems, globals, exports, code [][]byte }

func (b *builder) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	for _, s := range []struct {
		id    byte
		items [][]byte
	}{{1, b.types}, {2, b.imports}, {3, b.funcs}, {5, b.mems}, {6, b.globals}, {7, b.exports}, {10, b.code}} {
		if len(s.items) == 0 {
			continue
		}
		body := appendU32(nil, uint32(len(s.items)))
		for _, i := range s.items {
			body = append(body, i...)
		}
		out = append(appendU32(append(out, s.id), uint32(len(body))), body...)
	}
	return out
}

func str(s string) []byte { return append(appendU32(nil, uint32(len(s))), s...) }

func (b *builder) export(name string, kind, idx byte) {
	b.exports = append(b.exports, append(str(name), kind, idx))
}

// fn adds a function of a type whose body traps, and exports it.
func (b *builder) fn(name string, typ byte) {
	b.funcs = append(b.funcs, []byte{typ})
	b.code = append(b.code, []byte{3, 0, 0x00, 0x0b})
	b.export(name, 0, byte(len(b.funcs)-1+len(b.imports)))
}

// daemon is a minimal module that follows the contract.
func daemon() *builder {
	b := &builder{}
	b.types = [][]byte{{0x60, 0, 0}, {0x60, 1, 0x7f, 1, 0x7f}, {0x60, 2, 0x7f, 0x7f, 1, 0x7f}, {0x60, 0, 1, 0x7e}, {0x60, 2, 0x7f, 0x7f, 0}}
	b.mems = [][]byte{{0, 1}}
	b.export("memory", 2, 0)
	b.fn(ExportMarker, 0)
	b.fn(ExportAlloc, 1)
	b.fn(ExportProcess, 2)
	return b
}

func TestInspectAccepts(t *testing.T) {
	for _, tc := range []struct {
		name, state string
		change      func(*builder)
	}{
		{"minimal", StateMemory, func(*builder) {}},
		{"vector global", StateMemory, func(b *builder) {
			b.globals = [][]byte{append(append([]byte{0x7b, 1, 0xfd, 0x0c}, make([]byte, 16)...), 0x0b)}
		}},
		{"stateless", StateStateless, func(b *builder) { b.fn(ExportStateless, 0) }},
		{"hooks", StateHooks, func(b *builder) { b.fn(ExportSnapshot, 3); b.fn(ExportRestore, 2) }},
	} {
		b := daemon()
		tc.change(b)
		rep, err := Inspect(b.bytes(), Limits{})
		if err != nil || rep.State != tc.state || rep.ABI != 1 || rep.Memory.Min != 1 || len(rep.Digest) != 64 {
			t.Errorf("%s: %+v, %v", tc.name, rep, err)
		}
	}
}

func TestInspectRefuses(t *testing.T) {
	imp := func(module, name string, kind ...byte) []byte {
		return append(append(str(module), str(name)...), kind...)
	}
	// An import shifts the functions that are exported.
	withImport := func(i []byte) []byte {
		b := &builder{types: daemon().types, imports: [][]byte{i}, mems: daemon().mems}
		b.export("memory", 2, 0)
		b.fn(ExportMarker, 0)
		b.fn(ExportAlloc, 1)
		b.fn(ExportProcess, 2)
		return b.bytes()
	}
	change := func(f func(*builder)) []byte {
		b := daemon()
		f(b)
		return b.bytes()
	}
	good := daemon().bytes()
	for _, tc := range []struct {
		name, code, mention string
		wasm                []byte
	}{
		{"empty", RefusedNotWasm, "empty", nil},
		{"ELF", RefusedNotWasm, "magic", []byte("\x7fELF and so on")},
		{"text", RefusedNotWasm, "text", []byte("(module (memory 1))")},
		{"header cut", RefusedTruncated, "header", good[:5]},
		{"section cut", RefusedTruncated, "announced", good[:len(good)-3]},
		{"component", RefusedComponent, "component", []byte("\x00asm\x0d\x00\x01\x00")},
		{"unknown version", RefusedMalformed, "version", []byte("\x00asm\x02\x00\x00\x00")},
		{"random after header", RefusedMalformed, "", append([]byte("\x00asm\x01\x00\x00\x00"), 0x55, 1, 0)},
		{"sections out of order", RefusedMalformed, "order", append(bytes.Clone(good), 1, 1, 0)},
		{"no memory", RefusedMissing, "memory", change(func(b *builder) { b.exports = b.exports[1:] })},
		{"no process", RefusedMissing, ExportProcess, change(func(b *builder) { b.exports = b.exports[:3] })},
		{"program", RefusedMissing, "_start", change(func(b *builder) { b.exports = b.exports[:1]; b.export("_start", 0, 0) })},
		{"later contract", RefusedVersion, "version 2", change(func(b *builder) { b.exports[1] = append(str("wasmhost_abi_v2"), 0, 0) })},
		{"wrong signature", RefusedSignature, "func(i32) -> (i32)", change(func(b *builder) { b.funcs[2] = []byte{1} })},
		{"memory is a function", RefusedSignature, "memory", change(func(b *builder) { b.exports[0] = append(str("memory"), 0, 0) })},
		{"half of the hooks", RefusedHalfHooks, "only one", change(func(b *builder) { b.fn(ExportSnapshot, 3) })},
		{"hooks and stateless", RefusedBothStates, "stateless", change(func(b *builder) { b.fn(ExportSnapshot, 3); b.fn(ExportRestore, 2); b.fn(ExportStateless, 0) })},
		{"unknown import", RefusedImport, "env.foo", withImport(imp("env", "foo", 0, 0))},
		{"unknown host function", RefusedImport, "teleport", withImport(imp("wasmhost", "teleport", 0, 0))},
		{"host function of another type", RefusedSignature, "emit", withImport(imp("wasmhost", "emit", 0, 0))},
		{"imported memory", RefusedImport, "memory", withImport(imp("env", "memory", 2, 0, 1))},
		{"imported global", RefusedImport, "global", withImport(imp("env", "g", 3, 0x7f, 1))},
		{"shared memory", RefusedFeature, "shared", change(func(b *builder) { b.mems[0] = []byte{3, 1, 2} })},
		{"64-bit memory", RefusedFeature, "memory64", change(func(b *builder) { b.mems[0] = []byte{4, 1} })},
		{"two memories", RefusedFeature, "2 memories", change(func(b *builder) { b.mems = append(b.mems, []byte{0, 1}) })},
		{"much memory", RefusedMemory, "100 pages", change(func(b *builder) { b.mems[0] = []byte{0, 100} })},
		{"exported vector global", RefusedFeature, "global 0", change(func(b *builder) {
			b.globals = [][]byte{append(append([]byte{0x7b, 1, 0xfd, 0x0c}, make([]byte, 16)...), 0x0b)}
			b.export("v", 3, 0)
		})},
		{"reference global", RefusedFeature, "reference", change(func(b *builder) {
			b.globals = [][]byte{{0x70, 1, 0xd0, 0x70, 0x0b}}
		})},
		{"reserved name", RefusedReservedName, "__wasmhost_g0", change(func(b *builder) { b.fn("__wasmhost_g0", 0) })},
	} {
		rep, err := Inspect(tc.wasm, Limits{MemoryPages: 64})
		var r *Refusal
		if !errors.As(err, &r) {
			t.Errorf("%s: %v, want a refusal", tc.name, err)
			continue
		}
		codes := []string{}
		found := ""
		for _, p := range rep.Problems {
			codes = append(codes, p.Code)
			if p.Code == tc.code {
				found += p.Found + "\n"
			}
			if p.Mend == "" {
				t.Errorf("%s: %s does not say what to do", tc.name, p.Code)
			}
		}
		if !slices.Contains(codes, tc.code) || !strings.Contains(found, tc.mention) {
			t.Errorf("%s: %v %q, want %s with %q", tc.name, codes, found, tc.code, tc.mention)
		}
	}
	if _, err := Inspect(good, Limits{ModuleBytes: 10}); err == nil || !strings.Contains(err.Error(), RefusedOversized) {
		t.Errorf("oversized: %v", err)
	}
}

// Lengths that a module merely claims allocate nothing.
func TestInspectDoesNotTrustLengths(t *testing.T) {
	for id := byte(1); id <= 12; id++ {
		wasm := append([]byte("\x00asm\x01\x00\x00\x00"), id, 5, 0xff, 0xff, 0xff, 0xff, 0x0f)
		if _, err := Inspect(wasm, Limits{}); err == nil {
			t.Errorf("section %d with four thousand million elements was taken", id)
		}
	}
}

func guests(t testing.TB) map[string][]byte {
	t.Helper()
	out := make(map[string][]byte)
	files, err := filepath.Glob(filepath.Join("..", "testdata", "wasm", "*", "*.wasm"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if out[f], err = os.ReadFile(f); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestInspectTakesEveryGuest(t *testing.T) {
	for f, wasm := range guests(t) {
		if filepath.Base(filepath.Dir(f)) == "foreign" {
			continue // TestAdapt
		}
		rep, err := Inspect(wasm, Limits{MemoryPages: 1024})
		want := map[string]string{"echo.wasm": StateStateless, "unruly.wasm": StateMemory, "hidden.wasm": StateMemory, "heap.wasm": StateMemory,
			"kv.wasm": StateMemory, "window.wasm": StateMemory, "orderbook.wasm": StateMemory, "reminder.wasm": StateMemory, "account.wasm": StateMemory, "asked.wasm": StateMemory, "lua.wasm": StateMemory}[filepath.Base(f)]
		if want == "" {
			want = StateHooks
		}
		if err != nil || rep.State != want {
			t.Errorf("%s: %s, %v", f, rep.State, err)
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(daemon().bytes())
	f.Add([]byte("(module)"))
	for file, wasm := range guests(f) {
		if strings.Contains(file, "/c/") {
			f.Add(wasm)
		}
	}
	f.Fuzz(func(t *testing.T, wasm []byte) {
		rep, err := Inspect(wasm, Limits{MemoryPages: 64})
		if (err == nil) != (len(rep.Problems) == 0) {
			t.Errorf("%v, %v", rep.Problems, err)
		}
		if err != nil {
			return
		}
		out, err := Rewrite(wasm, Options{})
		var refusal *Refusal
		if errors.As(err, &refusal) {
			return // Inspect does not look into function bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		p, refusal := parse(out.Wasm)
		if refusal != nil || len(p.exports) != len(rep.Exports)+len(out.Globals)+meterGlobals {
			t.Errorf("the rewritten module: %v", refusal)
		}
	})
}

package abi

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// Limits bound what Inspect accepts. A zero field means no bound.
type Limits struct {
	ModuleBytes int64
	MemoryPages uint32 // of 64 KiB
	Shape       bool   // Bounds hold
}

// How a daemon's state can be captured.
const (
	StateHooks     = "hooks"     // the guest exports wasmhost_snapshot and wasmhost_restore
	StateStateless = "stateless" // the guest declares that it keeps nothing
	StateMemory    = "memory"    // neither: the host captures memory and globals, as it does with hooks too
)

// Report is what a module is.
type Report struct {
	Digest     string     `json:"digest"`                    // SHA-256, hexadecimal
	Size       int64      `json:"size"`                      // bytes
	Compiled   string     `json:"compiled_digest,omitempty"` // SHA-256 of the form that a host compiled
	ABI        int        `json:"abi_version"`
	State      string     `json:"state"`
	Capture    []string   `json:"capture"` // what is state, and how it is captured, a line each
	HasInit    bool       `json:"has_init"`
	HasQuery   bool       `json:"has_query"`
	Reactor    bool       `json:"has_initialize"`
	Exports    []Export   `json:"exports"`
	Imports    []Import   `json:"imports"`
	Memory     Memory     `json:"memory"`
	Foreign    *Foreign   `json:"foreign,omitempty"` // nil: it follows the contract
	Features   []string   `json:"features"`
	Functions  int        `json:"functions"`
	Globals    int        `json:"mutable_globals"`
	CustomSecs []string   `json:"custom_sections,omitempty"`
	Problems   []*Refusal `json:"problems"`

	shape Shape
}

// Shape returns what decides how dear the module is to compile.
func (rep *Report) Shape() *Shape { return &rep.shape }

// Export is one export.
type Export struct {
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Signature string `json:"signature,omitempty"`
}

// Import is one import.
type Import struct {
	Module    string `json:"module"`
	Name      string `json:"name"`
	Kind      string `json:"kind"`
	Signature string `json:"signature,omitempty"`
}

// Memory is the size of the linear memory in pages of 64 KiB.
type Memory struct {
	Min    uint32 `json:"min_pages"`
	Max    uint32 `json:"max_pages,omitempty"`
	HasMax bool   `json:"has_max"`
}

// Inspect says what the module is and whether it follows the contract. The
// report is filled as far as the module can be read, whatever the error, which
// is the first *Refusal of Report.Problems. Function bodies are looked at for
// what they change, not validated.
func Inspect(wasm []byte, lim Limits) (*Report, error) {
	sum := sha256.Sum256(wasm)
	rep := &Report{Digest: hex.EncodeToString(sum[:]), Size: int64(len(wasm)),
		Exports: []Export{}, Imports: []Import{}, Features: []string{}, Problems: []*Refusal{}, Capture: []string{}}
	if lim.ModuleBytes > 0 && rep.Size > lim.ModuleBytes {
		rep.problem(RefusedOversized, fmt.Sprintf("the module has %d bytes, the limit is %d", rep.Size, lim.ModuleBytes),
			"strip debug sections and optimise for size, or raise the limit")
		return rep, rep.Problems[0]
	}

	p := &parsed{bounded: lim.Shape}
	refusal := p.parse(wasm)
	rep.fill(p)
	if refusal != nil {
		rep.Problems = append(rep.Problems, refusal)
		return rep, refusal
	}

	if rep.Foreign = p.foreign; rep.Foreign == nil {
		rep.checkExports(p)
	} else {
		rep.checkForeign(p)
	}

	rep.checkImports(p)
	rep.checkMemory(p, lim)
	rep.checkGlobals(p)
	rep.checkTables(p)
	if len(rep.Problems) > 0 {
		return rep, rep.Problems[0]
	}

	s := p.survey(p.bodies(wasm))
	rep.shape = p.shape
	if s.fail != nil && lim.Shape && s.fail.isShape() {
		rep.Problems = append(rep.Problems, s.fail)
		return rep, s.fail
	}

	rep.describeCapture(p, s)
	return rep, nil
}

func (rep *Report) problem(code, found, mend string) {
	rep.Problems = append(rep.Problems, &Refusal{Code: code, Found: found, Mend: mend})
}

var exportKinds = [...]string{"function", "table", "memory", "global", "tag"}

func (rep *Report) fill(p *parsed) {
	for _, e := range p.exports {
		x := Export{Name: e.name, Kind: "unknown"}
		if int(e.kind) < len(exportKinds) {
			x.Kind = exportKinds[e.kind]
		}

		if e.kind == 0 {
			x.Signature, _ = p.funcSignature(e.idx)
		}

		rep.Exports = append(rep.Exports, x)
	}

	rep.Imports = append(rep.Imports, p.imports...)
	rep.Functions, rep.CustomSecs = p.code, p.customs
	if len(p.memories) > 0 {
		m := p.memories[0]
		rep.Memory = Memory{Min: m.min, Max: m.max, HasMax: m.hasMax}
	}

	for _, g := range p.globals {
		if g.mutable {
			rep.Globals++
		}
	}

	rep.ABI = 0
	if rep.exports(ExportMarker) {
		rep.ABI = Version
	}

	rep.HasInit, rep.HasQuery, rep.Reactor = rep.exports(ExportInit), rep.exports(ExportQuery), rep.exports(ExportInitialize)
	switch {
	case rep.exports(ExportSnapshot) && rep.exports(ExportRestore):
		rep.State = StateHooks
	case rep.exports(ExportStateless):
		rep.State = StateStateless
	default:
		rep.State = StateMemory
	}

	for _, t := range p.types {
		if _, results, ok := strings.Cut(t, ":"); ok && len(results) > 1 {
			rep.Features = append(rep.Features, "multi-value")
			break
		}
	}

	for _, t := range p.types {
		if strings.ContainsRune(t, 'v') {
			rep.Features = append(rep.Features, "simd")
			break
		}
	}

	if p.hasStart {
		rep.Features = append(rep.Features, "start-function")
	}
}

func (rep *Report) exports(name string) bool {
	for _, e := range rep.Exports {
		if e.Name == name {
			return true
		}
	}
	return false
}

const seeSpec = "see abi/SPEC.md, or build with one of the guest SDKs, which export it for you"

func (rep *Report) checkExports(p *parsed) {
	for _, e := range rep.Exports {
		if v, ok := strings.CutPrefix(e.Name, "wasmhost_abi_v"); ok && e.Name != ExportMarker {
			rep.problem(RefusedVersion, fmt.Sprintf("the module follows version %s of the contract", v),
				fmt.Sprintf("this host runs version %d: build with an SDK of that version, or upgrade the host", Version))
			return
		}
		if strings.HasPrefix(e.Name, globalPrefix) {
			rep.problem(RefusedReservedName, fmt.Sprintf("the module exports %q", e.Name), "rename it: names in "+globalPrefix+"* are the host's")
		}
	}

	if rep.ABI == 0 && rep.exports("_start") {
		rep.problem(RefusedMissing, "the module is a program (it exports _start), not a daemon",
			"push it as one that is run anew for each event: --abi wasi-command; or build it as a library (a WASI reactor, a cdylib) that exports "+strings.Join(RequiredExports, ", ")+"; "+seeSpec)
		return
	}

	if rep.ABI == 0 && slices.ContainsFunc(p.imports, func(im Import) bool { return im.Module == ExtismModule }) {
		rep.problem(RefusedMissing, "the module is an Extism plug-in, which knows nothing of the contract", "push it as one: --abi extism, and --call NAME where it has several functions")
		return
	}

	for _, name := range RequiredExports {
		if !rep.exports(name) {
			rep.problem(RefusedMissing, fmt.Sprintf("the module does not export %q", name), seeSpec)
		}
	}

	for _, e := range p.exports {
		want, known := exportSignatures[e.name]
		if e.name == ExportMemory && e.kind != 2 {
			rep.problem(RefusedSignature, `the export "memory" is no memory`, seeSpec)
		}

		if !known {
			continue
		}

		got, _ := p.funcSignature(e.idx)
		if e.kind != 0 || got != want {
			rep.problem(RefusedSignature, fmt.Sprintf("export %q is %s, not %s", e.name, describe(e.kind, got), describe(0, want)), seeSpec)
		}
	}

	snap, rest := rep.exports(ExportSnapshot), rep.exports(ExportRestore)
	if snap != rest {
		rep.problem(RefusedHalfHooks, "the module exports only one of "+ExportSnapshot+" and "+ExportRestore, "export both, or neither")
	}

	if (snap || rest) && rep.exports(ExportStateless) {
		rep.problem(RefusedBothStates, "the module says that it is stateless, and exports snapshot hooks", "export either, not both")
	}
}

// describe writes a signature for people.
func describe(kind byte, sig string) string {
	if kind != 0 {
		if int(kind) < len(exportKinds) {
			return "a " + exportKinds[kind]
		}
		return "of an unknown kind"
	}

	params, results, _ := strings.Cut(sig, ":")
	names := map[rune]string{'i': "i32", 'I': "i64", 'f': "f32", 'F': "f64", 'v': "v128", 'r': "ref"}
	list := func(s string) string {
		var out []string
		for _, c := range s {
			out = append(out, names[c])
		}
		return "(" + strings.Join(out, ", ") + ")"
	}

	return "func" + list(params) + " -> " + list(results)
}

func (rep *Report) checkImports(p *parsed) {
	for _, im := range p.imports {
		what := fmt.Sprintf("the module imports %s %s.%s", im.Kind, im.Module, im.Name)
		offered, known := rep.offered(im.Module)
		switch sig, ok := offered[im.Name]; {
		case im.Kind != "function":
			rep.problem(RefusedImport, what, "define it in the module: a host gives functions only")
		case !known:
			rep.problem(RefusedImport, what, fmt.Sprintf("only functions of %q and %q can be imported; %s", ImportModule, WASIModule, hintImport(im)))
		case !ok:
			rep.problem(RefusedImport, what, fmt.Sprintf("this host (contract version %d) has no such function; is the SDK newer than the host?", Version))
		case sig != im.Signature:
			rep.problem(RefusedSignature, fmt.Sprintf("%s as %s, not %s", what, describe(0, im.Signature), describe(0, sig)), "see abi/SPEC.md")
		}
	}
}

// offered returns the functions of a module that this one may import.
func (rep *Report) offered(module string) (functions map[string]string, known bool) {
	switch {
	case module == WASIModule:
		return WASIFunctions, true
	case module == ImportModule && rep.Foreign == nil:
		return HostFunctions, true
	case module == ExtismModule && rep.Foreign != nil && rep.Foreign.Convention == ConventionExtism:
		return ExtismFunctions, true
	}
	return nil, false
}

func hintImport(im Import) string {
	switch {
	case im.Module == "env" && im.Name == "abort":
		return "build AssemblyScript with --use abort=, as its SDK does"
	case im.Module == "env":
		return "a function was declared but not linked: link its definition"
	case strings.HasPrefix(im.Module, "wasi:") || strings.HasPrefix(im.Module, "wasi_snapshot_preview2"):
		return "build for WASI preview 1"
	case im.Module == "extism:host/env":
		return "this is an Extism plug-in: push it with --abi extism"
	case im.Module == "extism:host/user":
		return "this plug-in needs functions of the application that it was written for, which no host of daemons has"
	}
	return "see abi/SPEC.md"
}

func (rep *Report) checkMemory(p *parsed, lim Limits) {
	if len(p.memories) > 1 {
		rep.problem(RefusedFeature, fmt.Sprintf("the module has %d memories", len(p.memories)), "build without the multi-memory feature")
	}
	for _, m := range p.memories {
		if m.imported {
			continue // told by checkImports
		}
		if m.flags&2 != 0 {
			rep.problem(RefusedFeature, "the memory is shared", "build without threads")
		}

		if lim.MemoryPages > 0 && m.min > lim.MemoryPages {
			rep.problem(RefusedMemory, fmt.Sprintf("the module needs %d pages of memory at start, the limit is %d", m.min, lim.MemoryPages),
				"give it a smaller stack or smaller static data, or raise the memory limit")
		}
	}
}

func (rep *Report) checkGlobals(p *parsed) {
	for i, g := range p.globals {
		l := letter(g.kind)
		if !g.mutable || g.imported || l != 'v' && l != 'r' || l == 'v' && g.vector != nil && !g.exported {
			continue
		}

		what := "of a reference type"
		if l == 'v' {
			what = "an exported vector"
		}

		rep.problem(RefusedFeature, fmt.Sprintf("mutable global %d is %s, which cannot be captured or put back after a failed event", i, what),
			"keep the value in memory instead, or do not export it")
	}
}

func (rep *Report) checkTables(p *parsed) {
	for i, t := range p.tables {
		if t.min > maxTableMin {
			rep.problem(RefusedFeature, fmt.Sprintf("table %d begins with %d elements, at most %d are allowed", i, t.min, maxTableMin), "link fewer functions into the table")
		}
	}
}

// maxTableMin bounds the elements that a table begins with.
const maxTableMin = 1 << 20

// bodies returns the content of the code section.
func (p *parsed) bodies(wasm []byte) []byte {
	for _, s := range p.sections {
		if s.id == 10 {
			return wasm[s.body:s.end]
		}
	}
	return []byte{0}
}

// describeCapture says what of the module is state, and how a host captures
// it.
func (rep *Report) describeCapture(p *parsed, s *survey) {
	add := func(format string, args ...any) { rep.Capture = append(rep.Capture, fmt.Sprintf(format, args...)) }
	if rep.State == StateStateless {
		if rep.Foreign != nil {
			add("nothing: the program is run anew for each event")
			return
		}
		add("nothing: the module says that it keeps nothing between events")
		return
	}

	add("memory: the 4 KiB blocks that differ from what the module begins as")
	exported, hidden, vectors := 0, 0, 0
	for _, g := range p.globals {
		switch {
		case !g.mutable:
		case letter(g.kind) == 'v':
			vectors++
		case g.exported:
			exported++
		default:
			hidden++
		}
	}

	if exported+hidden > 0 {
		add("mutable globals: %d, of which %d are not exported", exported+hidden, hidden)
	}

	if vectors > 0 {
		add("vector globals: %d, as two integers each", vectors)
	}

	if s.tables {
		add("tables: %d, which the module changes: element by element, at each change of daemon", len(p.tables))
	}

	if n := len(s.droppedData) + len(s.droppedElems); n > 0 {
		add("segments that the module drops: %d, by a flag each", n)
	}

	if rep.Foreign != nil {
		add("variables: up to %d bytes of names and values, in order of the names", MaxVariables)
	}

	if rep.State == StateHooks {
		add("hooks: wasmhost_snapshot and wasmhost_restore carry the state to other versions of the module (wasmhost upgrade)")
	}
}

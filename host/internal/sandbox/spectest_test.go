package sandbox

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"wasmhost.example/abi"
)

// The WebAssembly core test suite, which wazero carries in its module, run
// twice side by side: as it is, and through abi.Rewrite. Every call must end
// alike: the same bits, or the same trap.
func TestCoreSuiteIsUnchangedByRewriting(t *testing.T) {
	total := runCoreSuite(t, func(t *testing.T, features api.CoreFeatures, host []byte, _ string) subject {
		return newWorld(t, features, host, true)
	})
	t.Logf("%d calls ended alike (%d of them in a trap), %d modules, %d modules refused by both", total.calls, total.traps, total.modules, total.refused)
	if total.calls < 10_000 || total.traps < 1000 || total.modules < 800 || total.refused < 1000 {
		t.Errorf("too few: %+v", total)
	}
}

// subject is what runs the suite beside plain wazero.
type subject interface {
	instantiate(wasm []byte, c *command) error
	register(c *command)
	do(c *command) ([]uint64, error)
}

// runCoreSuite runs each file of the suite on a new subject.
func runCoreSuite(t *testing.T, subjectOf func(t *testing.T, features api.CoreFeatures, host []byte, name string) subject) (total counts) {
	t.Helper()
	if testing.Short() {
		t.Skip("one goroutine and many compilations: not for the race detector")
	}
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/tetratelabs/wazero").Output()
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(strings.TrimSpace(string(dir)), "internal", "integration_test", "spectest")
	host, err := os.ReadFile(filepath.Join(root, "testdata", "spectest.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []struct {
		name     string
		features api.CoreFeatures
	}{{"v1", api.CoreFeaturesV1}, {"v2", api.CoreFeaturesV2}} {
		files, err := filepath.Glob(filepath.Join(root, version.name, "testdata", "*.json"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", version.name, len(files), err)
		}
		for _, f := range files {
			name := version.name + "/" + strings.TrimSuffix(filepath.Base(f), ".json")
			t.Run(name, func(t *testing.T) {
				s := &suite{t: t, dir: filepath.Dir(f), total: &total}
				s.plain = newWorld(t, version.features, host, false)
				s.subject = subjectOf(t, version.features, host, name)
				s.file(f)
			})
		}
	}
	return total
}

var ctx = context.Background()

type counts struct{ calls, traps, modules, refused int }

// world is a runtime with the modules of one file.
type world struct {
	t          *testing.T
	r          wazero.Runtime
	rewrite    bool
	named      map[string]api.Module
	registered map[string]api.Module // what others can import
	last       api.Module
}

func newWorld(t *testing.T, features api.CoreFeatures, host []byte, rewrite bool) *world {
	w := &world{t: t, rewrite: rewrite, named: make(map[string]api.Module), registered: make(map[string]api.Module)}
	w.r = wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(features))
	t.Cleanup(func() {
		if err := w.r.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	_, err := w.r.NewHostModuleBuilder(abi.MeterModule).NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(
		func(_ context.Context, m api.Module, _ []uint64) {
			if int32(m.ExportedGlobal(abi.DepthGlobal).Get()) < 0 {
				m.ExportedGlobal(abi.DepthGlobal).(api.MutableGlobal).Set(abi.MaxDepth)
				panic(errOverLimit)
			}
			m.ExportedGlobal(abi.FuelGlobal).(api.MutableGlobal).Set(math.MaxInt64)
			m.ExportedGlobal(abi.PaceGlobal).(api.MutableGlobal).Set(math.MaxInt32)
		}), nil, nil).Export(abi.OutOfFuel).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.r.InstantiateWithConfig(ctx, host, wazero.NewModuleConfig().WithName("spectest")); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) load(wasm []byte) (wazero.CompiledModule, error) {
	if w.rewrite {
		out, err := abi.Rewrite(wasm, abi.Options{})
		if err != nil {
			return nil, err
		}
		again, err := abi.Rewrite(wasm, abi.Options{})
		if err != nil || !slices.Equal(out.Wasm, again.Wasm) {
			w.t.Errorf("the same module was rewritten to other bytes, %v", err)
		}
		wasm = out.Wasm
	}
	return w.r.CompileModule(ctx, wasm)
}

func (w *world) instantiate(wasm []byte, c *command) error {
	return w.make(wasm, c.Name, c.Type == "module")
}

// make instantiates a module and, where it is kept, gives it its names.
func (w *world) make(wasm []byte, name string, keep bool) error {
	c, err := w.load(wasm)
	if err != nil {
		return err
	}
	resolve := experimental.WithImportResolver(ctx, func(name string) api.Module {
		return w.registered[name] // nil: the runtime's own
	})
	m, err := w.r.InstantiateModule(resolve, c, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return err
	}
	if keep {
		w.last, w.named[name] = m, m
	}
	return nil
}

func (w *world) register(c *command) { w.registered[c.As] = w.module(c.Name) }

type suite struct {
	t       *testing.T
	dir     string
	plain   *world
	subject subject
	total   *counts
}

type command struct {
	Type     string `json:"type"`
	Line     int    `json:"line"`
	Filename string `json:"filename"`
	Name     string `json:"name"`
	As       string `json:"as"`
	Kind     string `json:"module_type"`
	Action   struct {
		Type   string  `json:"type"`
		Module string  `json:"module"`
		Field  string  `json:"field"`
		Args   []value `json:"args"`
	} `json:"action"`

	imported bool // the module is registered later, for others to import
}

type value struct {
	Type  string          `json:"type"`
	Lane  string          `json:"lane_type"`
	Value json.RawMessage `json:"value"`
}

func (s *suite) file(path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	var script struct {
		Commands []command `json:"commands"`
	}
	if err := json.Unmarshal(b, &script); err != nil {
		s.t.Fatal(err)
	}
	for k := range script.Commands {
		markImported(script.Commands, k)
	}
	for _, c := range script.Commands {
		s.command(&c)
	}
}

// markImported marks the module that a register command names.
func markImported(commands []command, k int) {
	for j := k - 1; commands[k].Type == "register" && j >= 0; j-- {
		if c := &commands[j]; c.Type == "module" && (commands[k].Name == "" || c.Name == commands[k].Name) {
			c.imported = true
			return
		}
	}
}

func (s *suite) command(c *command) {
	switch c.Type {
	case "module", "assert_unlinkable", "assert_uninstantiable", "assert_invalid", "assert_malformed":
		if c.Kind == "text" || strings.HasSuffix(c.Filename, ".wat") {
			return
		}
		wasm, err := os.ReadFile(filepath.Join(s.dir, c.Filename))
		if err != nil {
			s.t.Fatal(err)
		}
		errP, errR := s.plain.instantiate(wasm, c), s.subject.instantiate(wasm, c)
		if (errP == nil) != (errR == nil) {
			s.t.Errorf("line %d, %s: %v; rewritten: %v", c.Line, c.Filename, errP, errR)
			return
		}
		if c.Type != "module" {
			s.total.refused++
			return
		}
		s.total.modules++
	case "register":
		s.plain.register(c)
		s.subject.register(c)
	case "action", "assert_return", "assert_trap", "assert_exhaustion":
		s.call(c)
	default:
		s.t.Errorf("line %d: unknown command %s", c.Line, c.Type)
	}
}

func (s *suite) call(c *command) {
	gotP, errP := s.plain.do(c)
	gotR, errR := s.subject.do(c)
	if errors.Is(errP, errNoModule) && errors.Is(errR, errNoModule) {
		s.t.Errorf("line %d: no module to call", c.Line)
		return
	}
	if c.Type == "assert_exhaustion" { // deeper than one or the other lets it go
		if errP == nil || errR == nil {
			s.t.Errorf("line %d: %v; rewritten: %v", c.Line, errP, errR)
		}
	} else if reason(errP) != reason(errR) || !slices.Equal(gotP, gotR) {
		s.t.Errorf("line %d, %s: %x, %v; rewritten: %x, %v", c.Line, c.Action.Field, gotP, errP, gotR, errR)
	}
	s.total.calls++
	if errP != nil {
		s.total.traps++
	}
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	r, _ := split(err)
	return r
}

var errNoModule = errors.New("no such module")

func (w *world) module(name string) api.Module {
	if name != "" {
		return w.named[name]
	}
	return w.last
}

func (w *world) do(c *command) ([]uint64, error) {
	m := w.module(c.Action.Module)
	if m == nil {
		return nil, errNoModule
	}
	if c.Action.Type == "get" {
		return []uint64{m.ExportedGlobal(c.Action.Field).Get()}, nil
	}
	f := m.ExportedFunction(c.Action.Field)
	if f == nil {
		return nil, fmt.Errorf("no function %q", c.Action.Field)
	}
	var args []uint64
	for _, v := range c.Action.Args {
		args = append(args, v.bits(w.t)...)
	}
	return f.Call(ctx, args...)
}

func (v value) bits(t *testing.T) []uint64 {
	number := func(s, kind string) uint64 {
		size := map[string]int{"i8": 8, "i16": 16, "i32": 32, "f32": 32, "i64": 64, "f64": 64}[kind]
		if strings.HasPrefix(s, "nan:") {
			if size == 32 {
				return 0x7fc00000
			}
			return 0x7ff8000000000000
		}
		n, err := strconv.ParseUint(s, 10, size)
		if err != nil {
			t.Fatalf("%s %q: %v", kind, s, err)
		}
		return n
	}
	switch v.Type {
	case "v128":
		var lanes []string
		if err := json.Unmarshal(v.Value, &lanes); err != nil {
			t.Fatal(err)
		}
		var b []byte
		for _, l := range lanes {
			n := number(l, v.Lane)
			switch 16 / len(lanes) {
			case 1:
				b = append(b, byte(n))
			case 2:
				b = binary.LittleEndian.AppendUint16(b, uint16(n))
			case 4:
				b = binary.LittleEndian.AppendUint32(b, uint32(n))
			default:
				b = binary.LittleEndian.AppendUint64(b, n)
			}
		}
		return []uint64{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
	case "externref", "funcref":
		var s string
		if err := json.Unmarshal(v.Value, &s); err != nil {
			t.Fatal(err)
		}
		if s == "null" {
			return []uint64{0}
		}
		return []uint64{number(s, "i64") + 1}
	}
	var s string
	if err := json.Unmarshal(v.Value, &s); err != nil {
		t.Fatal(err)
	}
	return []uint64{number(s, v.Type)}
}

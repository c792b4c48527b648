package sandbox

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

const exclusionsFile = "testdata/spectest-exclusions.txt"

// The core suite again, run as guests: modules begin as images, and between
// every two commands the guest is saved and loaded into a fresh one, which runs
// on a fresh instance. Modules that cannot be guests are listed in
// exclusionsFile, with the reason; of them the rewritten form runs alone.
func TestCoreSuiteSurvivesCaptureBetweenAllCalls(t *testing.T) {
	excluded := make(map[string]string)
	moves, guests := 0, 0
	total := runCoreSuite(t, func(t *testing.T, features api.CoreFeatures, host []byte, name string) subject {
		c := &capturing{world: newWorld(t, features, host, true), e: engineOf(t, Config{}), name: name,
			guests: make(map[string]*spec), excluded: excluded, moves: &moves, made: &guests, v1: strings.HasPrefix(name, "v1")}
		if _, err := c.e.runtime.InstantiateWithConfig(ctx, host, wazero.NewModuleConfig().WithName("spectest")); err != nil {
			t.Fatal(err)
		}
		return c
	})
	t.Logf("%d calls ended alike (%d of them in a trap); %d of %d modules were guests, saved and loaded %d times; %d are excluded",
		total.calls, total.traps, guests, total.modules, moves, len(excluded))
	if guests < 1000 || moves < 40_000 {
		t.Errorf("too few: %d guests, %d moves", guests, moves)
	}
	var lines []string
	for _, m := range slices.Sorted(maps.Keys(excluded)) {
		lines = append(lines, m+"\t"+excluded[m])
	}
	checkExclusions(t, lines)
}

// checkExclusions compares with the file; with WASMHOST_UPDATE set it writes it.
func checkExclusions(t *testing.T, got []string) {
	t.Helper()
	b, err := os.ReadFile(exclusionsFile)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	var head, want []string
	for line := range strings.Lines(string(b)) {
		if line = strings.TrimSuffix(line, "\n"); strings.HasPrefix(line, "#") {
			head = append(head, line)
		} else {
			want = append(want, line)
		}
	}
	if os.Getenv("WASMHOST_UPDATE") != "" {
		if err := os.WriteFile(exclusionsFile, []byte(strings.Join(append(head, got...), "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, line := range got {
		if !slices.Contains(want, line) {
			t.Errorf("excluded, but not in %s: %s", exclusionsFile, line)
		}
	}
	for _, line := range want {
		if !slices.Contains(got, line) {
			t.Errorf("in %s, but not excluded: %s", exclusionsFile, line)
		}
	}
}

// capturing is a subject whose modules are guests where they can be.
type capturing struct {
	*world
	e        *Engine
	name     string
	v1       bool
	guests   map[string]*spec
	now      *spec // the last; nil where the world has it
	excluded map[string]string
	moves    *int
	made     *int
}

// spec is a module of the suite as a guest.
type spec struct {
	m *Module
	g *Guest
}

func (c *capturing) instantiate(wasm []byte, cmd *command) error {
	report, rewritten, why := admit(wasm, cmd)
	if c.v1 && cmd.Type != "module" {
		why = "version 2, which guests are of, need not refuse it"
	}
	if why != "" {
		if cmd.Type == "module" {
			c.excluded[c.name+":"+cmd.Filename] = why
			c.now = nil
			delete(c.guests, cmd.Name)
		}
		return c.world.instantiate(wasm, cmd)
	}
	m, err := c.e.compile(ctx, report, rewritten)
	if err != nil {
		return err
	}
	if err := m.buildImage(rewritten.Data, maxPages, false); err != nil {
		return err
	}
	s := &spec{m: m}
	if s.g, err = m.NewGuest(specOptions); err != nil {
		return err
	}
	c.t.Cleanup(func() {
		if err := s.g.Close(); err != nil {
			c.t.Error(err)
		}
	})
	if cmd.Type == "module" {
		*c.made++
		c.guests[cmd.Name], c.now = s, s
		delete(c.world.named, cmd.Name)
	}
	return nil
}

var specOptions = Options{Limits: Limits{MemoryPages: maxPages, Fuel: 1 << 50, Wall: 1 << 50}}

// admit says why a module cannot be a guest.
func admit(wasm []byte, cmd *command) (*abi.Report, *abi.Rewritten, string) {
	report, _ := abi.Inspect(wasm, abi.Limits{}) // none of the suite exports what a guest must
	if cmd.imported {
		return nil, nil, "other modules import it"
	}
	for _, im := range report.Imports {
		if im.Kind != "function" {
			return nil, nil, "imports a " + im.Kind
		}
		if im.Module != "spectest" {
			return nil, nil, "imports another module"
		}
	}
	for _, p := range report.Problems {
		if strings.HasPrefix(p.Found, "mutable global") {
			_, what, _ := strings.Cut(p.Found, " is ")
			what, _, _ = strings.Cut(what, ",")
			return nil, nil, "a mutable global is " + what
		}
	}
	rewritten, err := abi.Rewrite(wasm, abi.Options{Capture: true})
	if err != nil {
		if cmd.Type != "module" {
			return nil, nil, "it is refused" // by the world, too
		}
		return nil, nil, err.Error()
	}
	for _, t := range rewritten.Tables {
		if t.Get == "" && cmd.Type == "module" {
			return nil, nil, "keeps the host's references in a table"
		}
	}
	return report, rewritten, ""
}

func (c *capturing) of(name string) *spec {
	if name == "" {
		return c.now
	}
	return c.guests[name]
}

func (c *capturing) do(cmd *command) ([]uint64, error) {
	s := c.of(cmd.Action.Module)
	if s == nil {
		return c.world.do(cmd)
	}
	if err := s.move(); err != nil {
		c.t.Fatalf("line %d: %v", cmd.Line, err)
	}
	*c.moves++
	i, err := s.g.take()
	if err != nil {
		return nil, err
	}
	defer i.unlock()
	if cmd.Action.Type == "get" {
		return []uint64{i.mod.ExportedGlobal(cmd.Action.Field).Get()}, nil
	}
	f := i.mod.ExportedFunction(cmd.Action.Field)
	if f == nil {
		return nil, fmt.Errorf("no function %q", cmd.Action.Field)
	}
	var args []uint64
	for _, v := range cmd.Action.Args {
		args = append(args, v.bits(c.t)...)
	}
	i.begin(cmd.Action.Field, &at)
	return f.Call(i.ctx, args...)
}

// move saves the guest and loads it into a fresh one, on a fresh instance.
func (s *spec) move() error {
	before, err := s.g.Root()
	if err != nil {
		return err
	}
	state, err := s.g.Save()
	if err != nil {
		return err
	}
	if err := s.g.Close(); err != nil {
		return err
	}
	for _, i := range slices.Clone(s.m.instances) {
		i.mu.Lock()
		s.m.discard(i)
	}
	if s.g, err = s.m.NewGuest(specOptions); err != nil {
		return err
	}
	if err := s.g.Load(state); err != nil {
		return err
	}
	if after, err := s.g.Root(); err != nil || after != before {
		return fmt.Errorf("root %x, %x before, %v", after, before, err)
	}
	return nil
}

func (c *capturing) register(cmd *command) {
	if c.of(cmd.Name) == nil {
		c.world.register(cmd)
	}
}

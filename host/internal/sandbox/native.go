package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"wasmhost.example/abi"
)

// Native code of a module is made in three ways: it is in the cache, another
// process puts it there, or this process makes it. The cache names its files
// by the engine's version, the processor's features and the code; which name a
// module's file has, wazero does not say, so an index beside them does.

// ErrNotCached says that the native code of a module is not in the cache.
var ErrNotCached = errors.New("its native code is not in the cache")

const (
	scratchPrefix = "child-" // of folders in the cache that other processes fill
	indexDir      = "index"
)

// Prepared is a module that was checked and rewritten, and has no native code
// yet.
type Prepared struct {
	engine    *Engine
	report    *abi.Report
	rewritten *abi.Rewritten
	pages     uint32
	trusted   bool
}

// Prepare checks the module and rewrites it, in time and memory linear in its
// size. What it becomes may have so many pages of memory. One that is not
// accepted is an *abi.Refusal. Where trusted, its image was made once: its shape is not
// looked at, and Event.Replay holds for its start function and _initialize.
func (e *Engine) Prepare(wasm []byte, pages uint32, trusted bool) (*Prepared, error) {
	report, err := abi.Inspect(wasm, abi.Limits{ModuleBytes: e.config.ModuleBytes, MemoryPages: pages, Shape: !trusted})
	if err != nil {
		return nil, err
	}
	rewritten, err := abi.Rewrite(wasm, abi.Options{Capture: true})
	if err != nil {
		return nil, err
	}
	compiled := sha256.Sum256(rewritten.Wasm)
	report.Compiled = hex.EncodeToString(compiled[:])
	return &Prepared{e, report, rewritten, pages, trusted}, nil
}

// Report returns what the module is.
func (p *Prepared) Report() *abi.Report { return p.report }

// Load makes the module of the native code in the cache; ErrNotCached where it
// is not there. It compiles nothing.
func (p *Prepared) Load(ctx context.Context) (*Module, error) {
	e := p.engine
	if e.cache == nil {
		return nil, ErrNotCached
	}
	index, file := e.indexed(p.report.Compiled)
	if file == "" {
		return nil, ErrNotCached
	}
	m, err := p.loadOnly(ctx)
	if err == nil {
		return m, nil
	}
	// The file is damaged. Without it the module is compiled the next time.
	return nil, errors.Join(ErrNotCached, removeAll(index, file))
}

func removeAll(paths ...string) error {
	var err error
	for _, p := range paths {
		if e := os.Remove(p); e != nil && !errors.Is(e, fs.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// loadOnly makes the module of what the cache has. wazero looks at the context
// before each function that it compiles where it has several workers, and only
// after it looked into the cache.
func (p *Prepared) loadOnly(ctx context.Context) (*Module, error) {
	ended, cancel := context.WithCancel(experimental.WithCompilationWorkers(ctx, 2))
	cancel()
	return p.engine.compile(ended, p.report, p.rewritten)
}

// Compile makes the native code in this process. Another goroutine's cancelling
// of ctx ends it between two functions.
func (p *Prepared) Compile(ctx context.Context) (*Module, error) {
	m, err := p.engine.compile(experimental.WithCompilationWorkers(ctx, 2), p.report, p.rewritten)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return m, err
}

// Begin makes the image of a module that has its native code: it runs what the
// module does before its first call. A module that fails is closed.
func (p *Prepared) Begin(ctx context.Context, m *Module) error {
	if err := m.buildImage(p.rewritten.Data, p.pages, p.trusted); err != nil {
		return errors.Join(&abi.Refusal{Code: abi.RefusedStart, Found: "the module fails before its first call: " + err.Error(),
			Mend: "mend its start function or _initialize; a host runs them once, at upload, without arguments, files or environment"}, m.Close(ctx))
	}
	return nil
}

// CompileInto fills a folder with the native code of the module, as an engine
// with that cache would. It is what another process than the engine's runs.
func CompileInto(ctx context.Context, wasm []byte, dir string) error {
	rewritten, err := abi.Rewrite(wasm, abi.Options{Capture: true})
	if err != nil {
		return err
	}
	return compileInto(ctx, rewritten.Wasm, dir)
}

func compileInto(ctx context.Context, wasm []byte, dir string) (err error) {
	cache, err := wazero.NewCompilationCacheWithDir(dir)
	if err != nil {
		return fmt.Errorf("opening the compilation cache: %w", err)
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2).WithCompilationCache(cache))
	defer func() { err = errors.Join(err, r.Close(ctx), cache.Close(ctx)) }()
	if _, err := r.CompileModule(ctx, wasm); err != nil {
		return invalid(err)
	}
	return nil
}

func invalid(err error) *abi.Refusal {
	return &abi.Refusal{Code: abi.RefusedInvalid, Found: "the module does not validate: " + err.Error(),
		Mend: "build it again, without features beyond WebAssembly 2.0"}
}

// Scratch makes a folder that another process is to fill by CompileInto. Adopt
// or Discard ends it.
func (e *Engine) Scratch() (string, error) { return os.MkdirTemp(e.config.CacheDir, scratchPrefix) }

// Discard removes the folder and what is in it.
func (e *Engine) Discard(scratch string) error { return os.RemoveAll(scratch) }

// Adopt takes what another process put into the folder into the cache, as the
// native code of the module, and removes the folder. ErrNotCached: there was
// nothing.
func (e *Engine) Adopt(scratch string, report *abi.Report) (err error) {
	defer func() { err = errors.Join(err, e.Discard(scratch)) }()
	made, err := filepath.Glob(filepath.Join(scratch, "wazero-*", "*"))
	if err != nil {
		return err
	}
	for _, path := range made {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		if !info.Mode().IsRegular() || len(name) != 2*sha256.Size {
			continue
		}
		rel, err := filepath.Rel(scratch, path)
		if err != nil {
			return err
		}
		if err := os.Rename(path, filepath.Join(e.config.CacheDir, rel)); err != nil {
			return err
		}
		return e.index(report.Compiled, rel)
	}
	return ErrNotCached
}

// index says which file of the cache has the native code of what was compiled.
func (e *Engine) index(compiled, file string) error {
	path := e.indexPath(compiled)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(file), 0o600)
}

// indexPath has the engine's version and the processor in its name.
func (e *Engine) indexPath(compiled string) string {
	sum := sha256.Sum256([]byte(e.machine + compiled))
	return filepath.Join(e.config.CacheDir, indexDir, hex.EncodeToString(sum[:]))
}

// indexed returns the paths of the index and of the file that it names; empty
// where there are none.
func (e *Engine) indexed(compiled string) (index, file string) {
	index = e.indexPath(compiled)
	named, err := os.ReadFile(index)
	if err != nil || !filepath.IsLocal(string(named)) {
		return "", ""
	}
	file = filepath.Join(e.config.CacheDir, string(named))
	if _, err := os.Stat(file); err != nil {
		return "", ""
	}
	return index, file
}

// probe is an empty module. The name of its file in a cache says which engine
// and processor it was compiled for.
const probe = "\x00asm\x01\x00\x00\x00"

// openIndex finds out what machine the cache is for, and removes what processes
// left in it that were killed. It needs the cache for itself.
func (e *Engine) openIndex(ctx context.Context) error {
	left, err := filepath.Glob(filepath.Join(e.config.CacheDir, scratchPrefix+"*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	dir, err := e.Scratch()
	if err != nil {
		return err
	}
	err = compileInto(ctx, []byte(probe), dir)
	made, globErr := filepath.Glob(filepath.Join(dir, "wazero-*", "*"))
	if err = errors.Join(err, globErr, e.Discard(dir)); err != nil {
		return err
	}
	e.machine = strings.Join(made, "\n")
	if len(made) == 1 {
		e.machine, err = filepath.Rel(dir, made[0])
	}
	return err
}

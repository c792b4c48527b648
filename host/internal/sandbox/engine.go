// Package sandbox runs guests: it compiles modules, instantiates them, calls
// them within limits, and puts them back as they were after a failure. It is
// the only package that knows wazero.
package sandbox

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmhost/abi"
)

// Config says how an engine compiles.
type Config struct {
	CacheDir    string // where compiled code is kept between runs; its content is trusted. Empty: nowhere
	ModuleBytes int64  // of an uploaded module at most; 0: 64 MiB
}

const (
	defaultModuleBytes = 64 << 20
	pageSize           = 64 << 10
)

// Engine compiles and runs modules. It is safe for concurrent use.
type Engine struct {
	runtime wazero.Runtime
	cache   wazero.CompilationCache
	config  Config
}

// NewEngine starts an engine, with native code where the machine allows it.
func NewEngine(ctx context.Context, c Config) (*Engine, error) {
	if c.ModuleBytes == 0 {
		c.ModuleBytes = defaultModuleBytes
	}
	e := &Engine{config: c}
	rc := wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2)
	if c.CacheDir != "" {
		var err error
		if e.cache, err = wazero.NewCompilationCacheWithDir(c.CacheDir); err != nil {
			return nil, fmt.Errorf("opening the compilation cache: %w", err)
		}
		rc = rc.WithCompilationCache(e.cache)
	}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	_, err := e.runtime.NewHostModuleBuilder(abi.MeterModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, _ []uint64) {
			ctx.Value(instanceKey{}).(*Instance).outOfFuel(m)
		}), nil, nil).Export(abi.OutOfFuel).Instantiate(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("building the meter: %w", err), e.Close(ctx))
	}
	for name, functions := range map[string]map[string]hostFunction{abi.ImportModule: hostFunctions, abi.WASIModule: wasiFunctions()} {
		if err := e.offer(ctx, name, functions); err != nil {
			return nil, errors.Join(fmt.Errorf("building host module %s: %w", name, err), e.Close(ctx))
		}
	}
	return e, nil
}

// hostFunction is a function that guests import. stack holds the parameters,
// then takes the result.
type hostFunction func(i *Instance, m api.Module, stack []uint64)

func (e *Engine) offer(ctx context.Context, name string, functions map[string]hostFunction) error {
	signatures := abi.HostFunctions
	if name == abi.WASIModule {
		signatures = abi.WASIFunctions
	}
	b := e.runtime.NewHostModuleBuilder(name)
	for fn, sig := range signatures {
		f := functions[fn]
		params, results := valueTypes(sig)
		b = b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
			f(ctx.Value(instanceKey{}).(*Instance), m, stack)
		}), params, results).Export(fn)
	}
	_, err := b.Instantiate(ctx)
	return err
}

func valueTypes(sig string) (params, results []api.ValueType) {
	to := &params
	for _, c := range sig {
		switch c {
		case ':':
			to = &results
		case 'i':
			*to = append(*to, api.ValueTypeI32)
		case 'I':
			*to = append(*to, api.ValueTypeI64)
		}
	}
	return params, results
}

// Close frees the engine, its modules and their instances.
func (e *Engine) Close(ctx context.Context) error {
	err := e.runtime.Close(ctx)
	if e.cache != nil {
		err = errors.Join(err, e.cache.Close(ctx))
	}
	return err
}

// Module is compiled code. It is immutable and safe for concurrent use.
type Module struct {
	engine   *Engine
	report   *abi.Report
	digest   [32]byte
	compiled wazero.CompiledModule
	globals  []string // names under which the mutable globals are exported
}

// Compile checks the module and compiles it. A module that is not accepted is
// an *abi.Refusal.
func (e *Engine) Compile(ctx context.Context, wasm []byte) (*Module, error) {
	report, err := abi.Inspect(wasm, abi.Limits{ModuleBytes: e.config.ModuleBytes})
	if err != nil {
		return nil, err
	}
	rewritten, err := abi.Rewrite(wasm, abi.Options{})
	if err != nil {
		return nil, err
	}
	compiled, err := e.runtime.CompileModule(ctx, rewritten.Wasm)
	if err != nil {
		return nil, &abi.Refusal{Code: abi.RefusedInvalid, Found: "the module does not validate: " + err.Error(),
			Mend: "build it again, without features beyond WebAssembly 2.0"}
	}
	m := &Module{engine: e, report: report, compiled: compiled, globals: rewritten.Globals}
	if _, err := hex.Decode(m.digest[:], []byte(report.Digest)); err != nil {
		return nil, fmt.Errorf("reading a digest: %w", err)
	}
	return m, nil
}

// Digest returns the SHA-256 of the bytes that were compiled.
func (m *Module) Digest() [32]byte { return m.digest }

// Report returns what the module is. It is not to be changed.
func (m *Module) Report() *abi.Report { return m.report }

// Close frees the code. Instances must be closed before.
func (m *Module) Close(ctx context.Context) error { return m.compiled.Close(ctx) }

// Package sandbox runs guests: it compiles modules, instantiates them, calls
// them within limits, and puts them back as they were after a failure. It is
// the only package that knows wazero.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

// Config says how an engine compiles.
type Config struct {
	CacheDir    string // where compiled code is kept between runs; its content is trusted. Empty: nowhere
	ModuleBytes int64  // of an uploaded module at most; 0: 64 MiB
	MaxMapped   int    // guests whose memory is mapped at a time; 0: as many as the kernel has room for
	Heap        bool   // keep memories on Go's heap, as where the kernel lacks what mapping takes
	Index       bool   // keep an index of CacheDir, which no other engine uses: for Load and Adopt
	interpret   bool   // compile to no native code
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
	mapping *mapping // nil: memories are on the heap
	why     error    // why they are
	mapped  mappedGuests
	machine string // what CacheDir is for: engine and processor; with Config.Index

	mu     sync.Mutex
	images map[*Image]bool // that are open
}

// NewEngine starts an engine, with native code where the machine allows it.
func NewEngine(ctx context.Context, c Config) (*Engine, error) {
	if c.ModuleBytes == 0 {
		c.ModuleBytes = defaultModuleBytes
	}
	e := &Engine{config: c}
	if c.Heap {
		e.why = errors.New("it was asked for")
	} else if e.mapping, e.why = newMapping(); e.why != nil {
		e.mapping = nil
	} else if e.mapped.most = c.MaxMapped; e.mapped.most == 0 {
		e.mapped.most = e.mapping.most()
	}
	rc := wazero.NewRuntimeConfig()
	if c.interpret {
		rc = wazero.NewRuntimeConfigInterpreter()
	}
	rc = rc.WithCoreFeatures(api.CoreFeaturesV2)
	if c.CacheDir != "" {
		var err error
		if e.cache, err = wazero.NewCompilationCacheWithDir(c.CacheDir); err != nil {
			return nil, fmt.Errorf("opening the compilation cache: %w", err)
		}
		rc = rc.WithCompilationCache(e.cache)
		if c.Index {
			if err := e.openIndex(ctx); err != nil {
				return nil, fmt.Errorf("opening the compilation cache: %w", err)
			}
		}
	}
	e.runtime = wazero.NewRuntimeWithConfig(ctx, rc)
	_, err := e.runtime.NewHostModuleBuilder(abi.MeterModule).NewFunctionBuilder().
		WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, _ []uint64) {
			called(ctx).outOfFuel()
		}), nil, nil).Export(abi.OutOfFuel).Instantiate(ctx)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("building the meter: %w", err), e.Close(ctx))
	}
	for name, functions := range map[string]map[string]hostFunction{abi.ImportModule: hostFunctions, abi.WASIModule: wasiFunctions(), abi.ExtismModule: extismFunctions()} {
		if err := e.offer(ctx, name, functions); err != nil {
			return nil, errors.Join(fmt.Errorf("building host module %s: %w", name, err), e.Close(ctx))
		}
	}
	return e, nil
}

// hostFunction is a function that guests import. stack holds the parameters,
// then takes the result.
type hostFunction func(i *instance, m api.Module, stack []uint64)

func (e *Engine) offer(ctx context.Context, name string, functions map[string]hostFunction) error {
	signatures := map[string]map[string]string{abi.ImportModule: abi.HostFunctions, abi.WASIModule: abi.WASIFunctions, abi.ExtismModule: abi.ExtismFunctions}[name]
	b := e.runtime.NewHostModuleBuilder(name)
	for fn, sig := range signatures {
		f := functions[fn]
		params, results := valueTypes(sig)
		b = b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, m api.Module, stack []uint64) {
			f(called(ctx), m, stack)
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

// Heap returns why guests' memories are on Go's heap, and not copy-on-write
// views of images; nil where they are those.
func (e *Engine) Heap() error { return e.why }

// Close frees the engine, its modules and their instances. Guests must be
// closed before.
func (e *Engine) Close(ctx context.Context) error {
	err := e.runtime.Close(ctx)
	if e.cache != nil {
		err = errors.Join(err, e.cache.Close(ctx))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for img := range e.images {
		err = errors.Join(err, img.close())
	}
	e.images = nil
	if e.mapping != nil {
		e.mapping.close()
		e.mapping = nil
	}
	return err
}

// Probe tries what mapping memories takes: whether writes are noted, and how
// many guests can be mapped; an error where memories are on the heap.
func Probe() (notes bool, most int, err error) {
	m, err := newMapping()
	if err != nil {
		return false, 0, err
	}
	defer m.close()
	return m.notes(), m.most(), nil
}

package sandbox

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"

	"wasmhost/abi"
)

// Module is compiled code with its image. It is safe for concurrent use.
type Module struct {
	engine    *Engine
	report    *abi.Report
	digest    [32]byte
	compiled  wazero.CompiledModule
	rewritten abi.Rewritten // without its code and data
	narrow    []bool        // which of the globals have 32 bits
	image     *Image

	mu        sync.Mutex
	instances []*instance
	most      int // how many there may be

	waiting atomic.Int32   // for an instance
	handed  chan *instance // to somebody who waits, locked
	freed   chan struct{}  // of 1: somebody who waits is to look
}

// Compile checks the module, compiles it and makes its image, which may have
// so many pages of memory (64 KiB each). A module that is not accepted is an
// *abi.Refusal.
func (e *Engine) Compile(ctx context.Context, wasm []byte, pages uint32) (*Module, error) {
	return e.compileAs(ctx, wasm, pages, false)
}

// CompileAgain is Compile of a module whose image was made once: Event.Replay holds
// for its start function and _initialize.
func (e *Engine) CompileAgain(ctx context.Context, wasm []byte, pages uint32) (*Module, error) {
	return e.compileAs(ctx, wasm, pages, true)
}

func (e *Engine) compileAs(ctx context.Context, wasm []byte, pages uint32, again bool) (*Module, error) {
	report, err := abi.Inspect(wasm, abi.Limits{ModuleBytes: e.config.ModuleBytes, MemoryPages: pages})
	if err != nil {
		return nil, err
	}
	rewritten, err := abi.Rewrite(wasm, abi.Options{Capture: true})
	if err != nil {
		return nil, err
	}
	compiled := sha256.Sum256(rewritten.Wasm)
	report.Compiled = hex.EncodeToString(compiled[:])
	m, err := e.compile(ctx, report, rewritten)
	if err != nil {
		return nil, err
	}
	if err := m.buildImage(rewritten.Data, pages, again); err != nil {
		return nil, errors.Join(&abi.Refusal{Code: abi.RefusedStart, Found: "the module fails before its first call: " + err.Error(),
			Mend: "mend its start function or _initialize; a host runs them once, at upload, without arguments, files or environment"}, m.Close(ctx))
	}
	return m, nil
}

// compile makes a module that has no image yet.
func (e *Engine) compile(ctx context.Context, report *abi.Report, rewritten *abi.Rewritten) (*Module, error) {
	compiled, err := e.runtime.CompileModule(ctx, rewritten.Wasm)
	if err != nil {
		return nil, &abi.Refusal{Code: abi.RefusedInvalid, Found: "the module does not validate: " + err.Error(),
			Mend: "build it again, without features beyond WebAssembly 2.0"}
	}
	m := &Module{engine: e, report: report, compiled: compiled, rewritten: *rewritten, most: maxInstances, handed: make(chan *instance), freed: make(chan struct{}, 1)}
	m.rewritten.Wasm, m.rewritten.Data = nil, nil
	if _, err := hex.Decode(m.digest[:], []byte(report.Digest)); err != nil {
		return nil, fmt.Errorf("reading a digest: %w", err)
	}
	return m, nil
}

// Digest returns the SHA-256 of the bytes that were compiled.
func (m *Module) Digest() [32]byte { return m.digest }

// Report returns what the module is. It is not to be changed.
func (m *Module) Report() *abi.Report { return m.report }

func (m *Module) stateless() bool { return m.report.State == abi.StateStateless }

// Close frees the code and the image. Guests must be closed before.
func (m *Module) Close(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, i := range m.instances {
		err = errors.Join(err, i.mod.Close(ctx))
	}
	m.instances = nil
	if m.image != nil {
		m.engine.mu.Lock()
		delete(m.engine.images, m.image)
		m.engine.mu.Unlock()
		err = errors.Join(err, m.image.close())
	}
	return errors.Join(err, m.compiled.Close(ctx))
}

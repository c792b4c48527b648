package sandbox

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/tetratelabs/wazero"

	"wasmhost.example/abi"
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

// Compile checks the module, compiles it in this process and makes its image,
// which may have so many pages of memory (64 KiB each). A module that is not
// accepted is an *abi.Refusal.
func (e *Engine) Compile(ctx context.Context, wasm []byte, pages uint32) (*Module, error) {
	p, err := e.Prepare(wasm, pages, false)
	if err != nil {
		return nil, err
	}
	m, err := p.Compile(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.Begin(ctx, m); err != nil {
		return nil, err
	}
	return m, nil
}

// compile makes a module that has no image yet.
func (e *Engine) compile(ctx context.Context, report *abi.Report, rewritten *abi.Rewritten) (*Module, error) {
	compiled, err := e.runtime.CompileModule(ctx, rewritten.Wasm)
	if err != nil {
		return nil, invalid(err)
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

package registry

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/lock"
	"wasmhost.example/host/internal/sandbox"
	"wasmhost.example/host/store"
)

// compiles are the modules that are being compiled. Those who want the same
// module wait for one compile, which ends when none of them waits any more.
// Modules whose native code is cached wait for no other; the others have a
// queue for each class of cost, so that none waits for one that is dearer.
type compiles struct {
	compiler Compiler // nil: in this process
	limits   CompileLimits

	mu      lock.Mutex[lock.Queue]
	flights map[flightKey]*flight
	failed  map[store.Digest]failedCompile

	light   chan struct{}                  // places for what is linear in a module's size
	images  chan struct{}                  // places for what modules do before their first call
	classes [len(classNames)]chan struct{} // places for compiling, by class

	meter compileMeter
}

// flightKey is what a compile is shared by.
type flightKey struct {
	digest  store.Digest
	memory  int64
	trusted bool
}

// flight is one compile.
type flight struct {
	cancel  context.CancelCauseFunc
	waiting int // by compiles.mu
	done    chan struct{}
	module  *sandbox.Module
	err     error
}

// failedCompile is a compile that failed, which is not tried again for a while.
type failedCompile struct {
	err error
	at  time.Time
}

const (
	maxFlights      = 128  // modules that are compiled, or wait for it
	maxFailed       = 1024 // modules that are remembered to have failed to compile
	rememberFailure = 10 * time.Minute
)

// errNobodyWaits ends a compile.
var errNobodyWaits = errors.New("nobody waits for the module any more")

// Classes of modules, by how long an engine takes at most.
var classNames = [...]string{"small", "medium", "large"}

func classOf(work time.Duration) int {
	switch {
	case work <= 2*time.Second:
		return 0
	case work <= 20*time.Second:
		return 1
	}
	return 2
}

func newCompiles(o *Config) *compiles {
	c := &compiles{compiler: o.Compiler, limits: o.CompileLimits, flights: make(map[flightKey]*flight), failed: make(map[store.Digest]failedCompile),
		light: make(chan struct{}, 2), images: make(chan struct{}, 2)}
	for i := range c.classes {
		c.classes[i] = make(chan struct{}, 1)
	}

	c.limits.Memory = cmp.Or(c.limits.Memory, DefaultCompileLimits.Memory)
	c.limits.CPU = cmp.Or(c.limits.CPU, DefaultCompileLimits.CPU)
	c.limits.Wall = cmp.Or(c.limits.Wall, DefaultCompileLimits.Wall)
	return c
}

// takeSlot takes a place, and returns what gives it back.
func takeSlot(ctx context.Context, places chan struct{}) (free func(), err error) {
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// join returns the compile of the key, which it begins where there is none. The
// caller is counted among those who wait for it, until leave.
func (r *Registry) join(key flightKey, wasm []byte) (*flight, error) {
	c := r.compiles
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[key]; f != nil {
		f.waiting++
		return f, nil
	}

	if !key.trusted {
		if past, ok := c.failed[key.digest]; ok {
			if r.env.Clock().Sub(past.at) < rememberFailure {
				c.meter.count(resultRemembered)
				return nil, past.err
			}
			delete(c.failed, key.digest)
		}
		if len(c.flights) >= maxFlights {
			return nil, fmt.Errorf("%w: %d", ErrCompileQueue, maxFlights)
		}
	}

	if !r.env.Work.Begin() {
		return nil, daemon.ErrShuttingDown
	}

	ctx, cancel := context.WithCancelCause(r.env.Context)
	f := &flight{cancel: cancel, waiting: 1, done: make(chan struct{})}
	c.flights[key] = f
	go func() {
		defer r.env.Work.Done()
		m, err := r.compile(ctx, key, wasm)
		cancel(nil)
		c.mu.Lock()
		f.module, f.err = m, err
		if c.flights[key] == f {
			delete(c.flights, key)
		}

		if err != nil && !key.trusted && isLasting(err) {
			c.remember(key.digest, failedCompile{err, r.env.Clock()})
		}
		c.mu.Unlock()
		close(f.done)
	}()

	return f, nil
}

// isLasting reports whether the same module would fail again, at a cost.
func isLasting(err error) bool {
	var refusal *abi.Refusal
	if errors.As(err, &refusal) {
		return refusal.Code == abi.RefusedStart || refusal.Code == abi.RefusedInvalid
	}
	var budget *CompileError
	return errors.As(err, &budget) && budget.Limit != CompileInProcess
}

// remember needs c.mu.
func (c *compiles) remember(digest store.Digest, f failedCompile) {
	if len(c.failed) >= maxFailed {
		var oldest store.Digest
		first := true
		for d, other := range c.failed {
			if first || other.at.Before(c.failed[oldest].at) {
				oldest, first = d, false
			}
		}

		delete(c.failed, oldest)
	}
	c.failed[digest] = f
}

// wait returns what the compile gave. Where ctx ends first the caller leaves,
// and the last one ends the compile.
func (c *compiles) wait(ctx context.Context, key flightKey, f *flight) (*sandbox.Module, error) {
	select {
	case <-f.done:
		return f.module, f.err
	case <-ctx.Done():
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if f.waiting--; f.waiting == 0 {
		f.cancel(errNobodyWaits)
		if c.flights[key] == f {
			delete(c.flights, key) // who comes now begins another
		}
	}

	return nil, context.Cause(ctx)
}

// Add compiles the module and keeps it. memory is how many bytes of it
// the module may have before its first call. trusted says that it was let in
// before: whatever bounds came since, it must open. An error of a module that is
// not accepted is an *abi.Refusal or a *CompileError.
func (r *Registry) Add(ctx context.Context, wasm []byte, memory int64, trusted bool) (*sandbox.Module, error) {
	digest := store.Digest(sha256.Sum256(wasm))
	if m := r.loaded(digest); m != nil {
		return m, nil
	}
	if err := r.MayRun(digest); err != nil { // whatever runs here comes by here
		return nil, err
	}

	key := flightKey{digest, memory, trusted}
	f, err := r.join(key, wasm)
	if err != nil {
		return nil, err
	}

	m, err := r.compiles.wait(ctx, key, f)
	if err != nil && ctx.Err() == nil && r.node.Open() != nil {
		return nil, daemon.ErrShuttingDown
	}
	return m, err
}

func (r *Registry) loaded(digest store.Digest) *sandbox.Module {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.modules[digest]
}

// compile makes the module, stores it and keeps it.
func (r *Registry) compile(ctx context.Context, key flightKey, wasm []byte) (*sandbox.Module, error) {
	m, p, err := r.native(ctx, key, wasm)
	if err != nil {
		return nil, err
	}
	if kept := r.loaded(key.digest); kept != nil { // under another limit, meanwhile
		return kept, m.Close(ctx)
	}
	if err := r.makeImage(ctx, m, p); err != nil {
		return nil, err
	}

	if r.env.Store != nil {
		if err := r.env.Store.PutModule(key.digest, wasm); err != nil {
			return nil, errors.Join(fmt.Errorf("storing module %x: %w", key.digest, err), m.Close(ctx))
		}
	}

	r.mu.Lock()
	kept := r.modules[key.digest]
	if kept == nil {
		r.modules[key.digest] = m
		if r.env.Store == nil {
			r.wasm[key.digest] = bytes.Clone(wasm)
		}
	}
	r.mu.Unlock()
	if kept != nil {
		return kept, m.Close(ctx)
	}

	return m, nil
}

// makeImage runs what the module does before its first call.
func (r *Registry) makeImage(ctx context.Context, m *sandbox.Module, p *sandbox.Prepared) error {
	done, err := takeSlot(ctx, r.compiles.images)
	if err != nil {
		return errors.Join(err, m.Close(ctx))
	}
	defer done()
	return p.Begin(ctx, m)
}

// native returns the module with its native code, and without an image.
func (r *Registry) native(ctx context.Context, key flightKey, wasm []byte) (*sandbox.Module, *sandbox.Prepared, error) {
	c := r.compiles
	m, p, err := r.load(ctx, key, wasm)
	if err == nil {
		c.meter.count(resultCached)
	}

	if !errors.Is(err, sandbox.ErrNotCached) {
		return m, p, err
	}

	report := p.Report()
	work := time.Duration(report.Shape().Work(report.Size))
	p = nil // it is large: a compile that waits for its place does not keep it
	done, err := takeSlot(ctx, c.classes[classOf(work)])
	if err != nil {
		return nil, nil, err
	}

	defer done()
	c.meter.running.Add(1)
	defer c.meter.running.Add(-1)
	inProcess := c.compiler == nil

	if !inProcess {
		err := r.compileOutside(ctx, key, wasm, report)
		switch {
		case errors.Is(err, ErrNoCompiler), errors.Is(err, sandbox.ErrNotCached): // nothing was made: this machine's engine makes no native code
			inProcess = true
		case err != nil:
			c.meter.failed(err)
			return nil, nil, err
		default:
			if m, p, err = r.load(ctx, key, wasm); !errors.Is(err, sandbox.ErrNotCached) {
				c.meter.count(resultCompiled)
				return m, p, err
			}
			return nil, nil, fmt.Errorf("loading the native code of module %x: %w", key.digest[:6], err)
		}
	}

	if !key.trusted && (report.Size > MaxInProcess || work > maxInProcessWork) {
		err := &CompileError{key.digest, CompileInProcess, fmt.Sprintf("the module has %d bytes and takes up to %v; a process to compile in cannot be had, and without one a module has at most %d bytes and takes at most %v",
			report.Size, work.Round(time.Millisecond), MaxInProcess, maxInProcessWork)}
		c.meter.failed(err)
		return nil, nil, err
	}

	if p, err = r.engine.Prepare(wasm, uint32(key.memory>>16), key.trusted); err != nil {
		return nil, nil, err
	}
	if m, err = p.Compile(ctx); err != nil {
		c.meter.failed(err)
		return nil, nil, err
	}

	c.meter.count(resultCompiled)
	return m, p, nil
}

// load prepares the module and takes its native code from the cache. Where the
// error is sandbox.ErrNotCached, what was prepared is returned with it.
func (r *Registry) load(ctx context.Context, key flightKey, wasm []byte) (*sandbox.Module, *sandbox.Prepared, error) {
	done, err := takeSlot(ctx, r.compiles.light)
	if err != nil {
		return nil, nil, err
	}

	defer done()
	p, err := r.engine.Prepare(wasm, uint32(key.memory>>16), key.trusted)
	if err != nil {
		return nil, nil, err
	}

	m, err := p.Load(ctx)
	return m, p, err
}

// compileOutside has another process put the native code into the cache.
func (r *Registry) compileOutside(ctx context.Context, key flightKey, wasm []byte, report *abi.Report) error {
	c := r.compiles
	dir, err := r.engine.Scratch()
	if err != nil {
		return fmt.Errorf("compiling module %x: %w", key.digest[:6], err)
	}

	job := CompileJob{Wasm: wasm, Dir: dir, Limits: c.limits}
	if key.trusted {
		job.Limits = CompileLimits{}
	}

	use, err := c.compiler.Compile(ctx, job)
	c.meter.used(use)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return errors.Join(err, r.engine.Discard(dir))
	}

	return r.engine.Adopt(dir, report)
}

// Results of compiles, as they are counted.
const (
	resultCompiled   = iota // its native code was made
	resultCached            // its native code was there
	resultBudget            // it went over a limit
	resultCancelled         // nobody waited any more
	resultRefused           // the module does not validate
	resultRemembered        // it failed a while ago, and was not tried again
	resultError             // something else
	resultCount
)

var resultNames = [resultCount]string{"compiled", "cached", "over-budget", "cancelled", "refused", "remembered", "error"}

type compileMeter struct {
	running atomic.Int64
	results [resultCount]atomic.Uint64
	cpu     atomic.Int64 // nanoseconds, of other processes
	memory  atomic.Int64 // the most that one of them had
}

func (m *compileMeter) count(result int) { m.results[result].Add(1) }

func (m *compileMeter) failed(err error) {
	var refusal *abi.Refusal
	switch {
	case errors.Is(err, errNobodyWaits), errors.Is(err, context.Canceled):
		m.count(resultCancelled)
	case errors.Is(err, ErrCompileBudget):
		m.count(resultBudget)
	case errors.As(err, &refusal):
		m.count(resultRefused)
	default:
		m.count(resultError)
	}
}

func (m *compileMeter) used(u CompileUse) {
	m.cpu.Add(int64(u.CPU))
	for {
		most := m.memory.Load()
		if u.Memory <= most || m.memory.CompareAndSwap(most, u.Memory) {
			return
		}
	}
}

// CompileMetrics is what compiling modules took since the start.
type CompileMetrics struct {
	Running int               // now
	Waiting int               // now, those that are running included
	Results map[string]uint64 // compiled, cached, over-budget, cancelled, refused, remembered, error
	CPU     time.Duration     // of processes that ended
	Memory  int64             // bytes: the most that a process had
}

// Compiles returns what compiling modules took. Results has all its keys.
func (r *Registry) Compiles() CompileMetrics {
	c := r.compiles
	c.mu.Lock()
	waiting := len(c.flights)
	c.mu.Unlock()
	out := CompileMetrics{Running: int(c.meter.running.Load()), Waiting: waiting, Results: make(map[string]uint64, resultCount),
		CPU: time.Duration(c.meter.cpu.Load()), Memory: c.meter.memory.Load()}
	for i, name := range resultNames {
		out.Results[name] = c.meter.results[i].Load()
	}

	return out
}

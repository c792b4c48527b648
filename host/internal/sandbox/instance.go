package sandbox

import (
	"context"
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"wasmhost.example/abi"
)

// instance is the engine's instance of a module. Guests take turns on it: it is
// pointed at a guest's memory, given the guest's registers, and called.
type instance struct {
	module *Module

	mu    sync.Mutex // let go of by unlock
	bound *Guest     // whose memory and registers are in it; nil: nobody's

	mod     api.Module
	view    view
	globals []api.MutableGlobal
	tables  []tableFunctions
	have    [][]uint32        // what the tables contain, between spilling a guest and loading another
	funcs   map[uint64]uint32 // references to functions, to their index plus 1
	fn      functions
	ctx     context.Context // of calls: a callContext
	meter   meter
	call    call
	kernel  kernel     // of a plug-in's call
	vars    *variables // of the bound guest; nil where the module has none
	stack   [2]uint64

	stoppable bool // the call may be ended by Options.Stop
}

type functions struct {
	alloc, process, init, snapshot, restore, query api.Function
}

type tableFunctions struct {
	size, grow, get, set, clear api.Function
}

// callContext leads host functions to the instance. It has no values, so that
// the engine, which asks for some at each call, is answered at once.
type callContext struct {
	context.Context
	of *instance
}

// Value implements context.Context.
func (callContext) Value(any) any { return nil }

// called returns which instance a host function is called by.
func called(ctx context.Context) *instance { return ctx.(callContext).of }

// view is the memory that the engine sees. It follows the guest that is bound.
type view struct {
	of      *Guest
	moved   bool // the next Reallocate is not for growth
	asked   bool // for by the engine: the module has a memory
	refused bool // growth was refused since the call began
}

// Allocate implements experimental.MemoryAllocator.
func (v *view) Allocate(_, _ uint64) experimental.LinearMemory {
	v.asked = true
	return v
}

// Reallocate implements experimental.LinearMemory. The engine takes whatever
// memory it returns for its own from then on.
func (v *view) Reallocate(size uint64) []byte {
	if v.moved {
		v.moved = false
		return v.of.space.bytes()
	}
	if size > v.of.limit() || !v.of.space.resize(size) {
		v.refused = true
		return nil
	}
	return v.of.space.bytes()
}

// Free implements experimental.LinearMemory. The memory is the guest's.
func (v *view) Free() {}

// newInstance makes an instance that sees g's memory. It is locked.
func (m *Module) newInstance(g *Guest) (*instance, error) {
	i := &instance{module: m}
	i.view = view{of: g, moved: true}
	i.ctx = callContext{context.Background(), i}
	var err error
	i.mod, err = m.engine.runtime.InstantiateModule(experimental.WithMemoryAllocator(context.Background(), &i.view), m.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		return nil, fmt.Errorf("making an instance: %w", err)
	}
	global := func(name string) api.MutableGlobal {
		mutable, ok := i.mod.ExportedGlobal(name).(api.MutableGlobal)
		if !ok && err == nil {
			err = fmt.Errorf("making an instance: it has no mutable global %s", name)
		}
		return mutable
	}
	i.meter.nested = true
	i.meter.fuel, i.meter.depth, i.meter.pace = global(abi.FuelGlobal), global(abi.DepthGlobal), global(abi.PaceGlobal)
	for _, name := range m.rewritten.Globals {
		i.globals = append(i.globals, global(name))
	}
	if err != nil {
		return nil, err
	}
	i.fn = functions{
		alloc: i.mod.ExportedFunction(abi.ExportAlloc), process: i.mod.ExportedFunction(abi.ExportProcess),
		init: i.mod.ExportedFunction(abi.ExportInit), snapshot: i.mod.ExportedFunction(abi.ExportSnapshot),
		restore: i.mod.ExportedFunction(abi.ExportRestore), query: i.mod.ExportedFunction(abi.ExportQuery),
	}
	if f := m.report.Foreign; f != nil {
		i.fn.process = i.mod.ExportedFunction(f.Call)
	}
	if m.keepsVariables() {
		i.vars = &variables{}
	}
	if err := i.findTables(); err != nil {
		return nil, err
	}
	i.mu.Lock()
	return i, nil
}

// maxInstances bounds how many guests of a module run at a time.
const maxInstances = 64

// instance returns an instance that nobody uses, locked. It may be bound. Where
// all of them are used it waits for whichever is free first.
func (m *Module) instance(g *Guest) (*instance, error) {
	if i, err := m.free(g); i != nil || err != nil {
		return i, err
	}
	m.waiting.Add(1) // before the next look: who lets go of one after that says so
	defer m.waiting.Add(-1)
	for {
		if i, err := m.free(g); i != nil || err != nil {
			m.tell() // two may have become free, and only one was told of
			return i, err
		}
		select {
		case i := <-m.handed:
			return i, nil
		case <-m.freed:
		}
	}
}

// free returns an instance that nobody uses, locked, or makes one; nil where
// there are as many as there may be.
func (m *Module) free(g *Guest) (*instance, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range m.instances {
		if i.mu.TryLock() {
			return i, nil
		}
	}
	if len(m.instances) >= m.most {
		return nil, nil
	}
	i, err := m.newInstance(g)
	if err != nil {
		return nil, err
	}
	m.instances = append(m.instances, i)
	return i, nil
}

// unlock lets go of the instance. Who waits for one gets it as it is, locked, or
// guests that are called again and again would take it first each time.
func (i *instance) unlock() {
	m := i.module
	if m == nil {
		i.mu.Unlock()
		return
	}
	if m.waiting.Load() > 0 {
		select {
		case m.handed <- i:
			return
		default: // nobody waits yet, or any more
		}
	}
	i.mu.Unlock()
	if m.waiting.Load() > 0 {
		m.tell()
	}
}

// tell has somebody who waits for an instance look again.
func (m *Module) tell() {
	select {
	case m.freed <- struct{}{}:
	default: // somebody is told already
	}
}

// discard takes an instance that cannot be put right out of the pool. It needs
// i.mu, and lets go of it.
func (m *Module) discard(i *instance) {
	m.mu.Lock()
	for k, other := range m.instances {
		if other == i {
			m.instances = append(m.instances[:k], m.instances[k+1:]...)
			break
		}
	}
	_ = i.mod.Close(context.Background()) // memory is the guests'; there is nothing that closing could lose
	m.mu.Unlock()
	i.mu.Unlock()
	m.tell() // there is room for another
}

// bind points the instance at g and gives it g's registers. It needs i.mu and
// g.mu.
func (i *instance) bind(g *Guest) error {
	if i.bound == g {
		return nil
	}
	spilled := i.bound != nil
	if spilled {
		if err := i.spill(); err != nil {
			return err
		}
		i.keepTables(i.bound.regs.tables)
		i.bound.at.Store(nil) // from here on its registers are its own
		i.bound = nil
	}
	if err := i.point(g); err != nil {
		return err
	}
	if err := i.load(&g.regs, spilled); err != nil {
		return err
	}
	i.bound = g
	g.at.Store(i)
	return nil
}

// point makes the engine see g's memory, whatever its size.
func (i *instance) point(g *Guest) error {
	i.view.of = g
	if !i.view.asked {
		return nil
	}
	i.view.moved = true
	if _, ok := i.mod.Memory().Grow(1); !ok {
		i.view.moved = false
		return fmt.Errorf("the engine does not take another memory")
	}
	return nil
}

// load sets the registers. spilled is as for loadTables.
func (i *instance) load(r *registers, spilled bool) error {
	for k, g := range i.globals {
		g.Set(r.globals[k])
	}
	tables := r.tables
	if i.vars != nil {
		last := len(tables) - 1
		var err error
		if i.vars, err = readVariables(tables[last]); err != nil {
			return err
		}
		tables = tables[:last]
	}
	return i.loadTables(tables, spilled)
}

// spill copies the registers into the bound guest's.
func (i *instance) spill() error {
	r := &i.bound.regs
	r.globals = r.globals[:0]
	for _, g := range i.globals {
		r.globals = append(r.globals, g.Get())
	}
	var err error
	r.tables, err = i.spillTables(r.tables)
	if i.vars != nil {
		r.tables = append(r.tables, i.vars.words())
	}
	return err
}

package sandbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"wasmhost/abi"
)

// ErrSpoiled is the error of a call into an instance that failed before and
// was not Reset since.
var ErrSpoiled = errors.New("the instance failed and was not put back")

// Options say how a module is instantiated.
type Options struct {
	Name   string // for stack traces
	Limits Limits
	Log    func(level int, text string) // gets the guest's log lines; nil drops them
}

// Event is what a guest can learn of the call it answers. Time and randomness
// follow from it alone.
type Event struct {
	Self, Sender [32]byte
	Origin       uint64 // the sender's, 0 when anonymous
	Sequence     uint64
	Time         int64 // Unix nanoseconds, above 0
	Channel      string
	Seed         [32]byte // of the call's random stream
}

// Instance is one live memory of a module. It is not safe for concurrent use.
type Instance struct {
	module  *Module
	options Options

	mod      api.Module
	mem      *memory
	globals  []api.MutableGlobal
	fn       functions
	buf, cap uint32 // the guest's input buffer
	spoiled  bool

	ctx   context.Context // of calls: leads host functions to the instance
	meter meter
	call  call
	stack [2]uint64
}

type functions struct {
	alloc, process, init, snapshot, restore api.Function
}

type instanceKey struct{}

// imageTime is the clock while a module starts: the same everywhere, so that
// what starts is the same everywhere. 2024-01-01T00:00:00Z.
const imageTime = 1704067200_000000000

// Instantiate makes an instance: memory, start function and _initialize, under
// a fixed clock and randomness that follows from the module's digest.
func (m *Module) Instantiate(ctx context.Context, o Options) (*Instance, error) {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.Log == nil {
		o.Log = func(int, string) {}
	}
	if m.report.Memory.Min > o.Limits.MemoryPages {
		return nil, &abi.Fault{Kind: abi.FaultLimit, Call: "instantiation", Limit: abi.LimitMemory,
			Text: fmt.Sprintf("the module needs %d pages of 64 KiB at start, the limit is %d", m.report.Memory.Min, o.Limits.MemoryPages)}
	}
	i := &Instance{module: m, options: o}
	i.ctx = context.WithValue(context.Background(), instanceKey{}, i)
	if err := i.build(true); err != nil {
		return nil, err
	}
	return i, nil
}

// build makes the wazero instance afresh, with or without running _initialize.
func (i *Instance) build(initialize bool) error {
	i.mem = &memory{limit: uint64(i.options.Limits.MemoryPages) * pageSize}
	ctx := experimental.WithMemoryAllocator(i.ctx, experimental.MemoryAllocatorFunc(
		func(_, _ uint64) experimental.LinearMemory { return i.mem }))
	i.meter = meter{}
	i.begin("instantiation", &Event{Time: imageTime, Seed: i.module.digest})
	var err error
	i.mod, err = i.module.engine.runtime.InstantiateModule(ctx, i.module.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err == nil {
		i.meter.fuel = i.mod.ExportedGlobal(abi.FuelGlobal).(api.MutableGlobal)
		i.meter.depth = i.mod.ExportedGlobal(abi.DepthGlobal).(api.MutableGlobal)
	}
	if err == nil && initialize {
		if f := i.mod.ExportedFunction(abi.ExportInitialize); f != nil {
			_, err = f.Call(ctx)
		}
	}
	if err != nil {
		return i.fault(err)
	}
	i.buf, i.cap, i.spoiled = 0, 0, false
	i.fn = functions{
		alloc: i.mod.ExportedFunction(abi.ExportAlloc), process: i.mod.ExportedFunction(abi.ExportProcess),
		init: i.mod.ExportedFunction(abi.ExportInit), snapshot: i.mod.ExportedFunction(abi.ExportSnapshot),
		restore: i.mod.ExportedFunction(abi.ExportRestore),
	}
	i.globals = i.globals[:0]
	for _, name := range i.module.globals {
		g, ok := i.mod.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			return fmt.Errorf("the module has no mutable global %s", name)
		}
		i.globals = append(i.globals, g)
	}
	return nil
}

// Init gives the guest its configuration. Without wasmhost_init, configuration
// that is not empty is an error.
func (i *Instance) Init(ev *Event, config []byte) error {
	if i.fn.init == nil {
		if len(config) != 0 {
			return &abi.Fault{Kind: abi.FaultAnswer, Call: abi.ExportInit, Text: "the module takes no configuration: it does not export wasmhost_init"}
		}
		return nil
	}
	_, err := i.input(i.fn.init, abi.ExportInit, ev, config)
	return err
}

// Process gives the guest one event. The outputs are the instance's and valid
// until its next call.
func (i *Instance) Process(ev *Event, payload []byte) ([][]byte, error) {
	if _, err := i.input(i.fn.process, abi.ExportProcess, ev, payload); err != nil {
		return nil, err
	}
	return i.call.outputs(), nil
}

// Restore gives the guest's hook the state of an earlier Snapshot.
func (i *Instance) Restore(ev *Event, state []byte) error {
	if i.fn.restore == nil {
		return &abi.Fault{Kind: abi.FaultAnswer, Call: abi.ExportRestore, Text: "the module does not export it"}
	}
	_, err := i.input(i.fn.restore, abi.ExportRestore, ev, state)
	return err
}

// Snapshot returns a copy of the state that the guest's hook gives.
func (i *Instance) Snapshot(ev *Event) ([]byte, error) {
	if i.fn.snapshot == nil {
		return nil, &abi.Fault{Kind: abi.FaultAnswer, Call: abi.ExportSnapshot, Text: "the module does not export it"}
	}
	if i.spoiled {
		return nil, ErrSpoiled
	}
	i.begin(abi.ExportSnapshot, ev)
	if err := i.run(i.fn.snapshot, i.stack[:1]); err != nil {
		return nil, err
	}
	r := i.stack[0]
	if r == abi.SnapshotFailed {
		return nil, i.broke(abi.FaultError, -1, i.call.text())
	}
	b, ok := i.mod.Memory().Read(uint32(r>>32), uint32(r))
	if !ok {
		return nil, i.broke(abi.FaultAnswer, 0, fmt.Sprintf("it returned %d bytes at %#x, outside its memory", uint32(r), uint32(r>>32)))
	}
	return append(make([]byte, 0, len(b)), b...), nil
}

// input puts data into the guest's buffer and calls f with it.
func (i *Instance) input(f api.Function, name string, ev *Event, data []byte) (uint32, error) {
	if i.spoiled {
		return 0, ErrSpoiled
	}
	i.begin(name, ev)
	n := uint32(len(data))
	if n > i.cap || i.cap == 0 {
		if err := i.alloc(max(n, 1024)); err != nil {
			return 0, err
		}
	}
	if !i.mod.Memory().Write(i.buf, data) {
		return 0, i.broke(abi.FaultAnswer, 0, fmt.Sprintf("its input buffer at %#x is outside its memory", i.buf))
	}
	i.stack[0], i.stack[1] = uint64(i.buf), uint64(n)
	if err := i.run(f, i.stack[:]); err != nil {
		return 0, err
	}
	if code := int32(i.stack[0]); code != 0 {
		return 0, i.broke(abi.FaultError, code, i.call.text())
	}
	return 0, nil
}

// alloc has the guest make an input buffer of n bytes.
func (i *Instance) alloc(n uint32) error {
	name := i.call.name
	i.call.name = abi.ExportAlloc
	i.stack[0] = uint64(n)
	if err := i.run(i.fn.alloc, i.stack[:1]); err != nil {
		return err
	}
	ptr := uint32(i.stack[0])
	if ptr == 0 {
		if i.mem.refused {
			return i.overLimit(abi.LimitMemory, fmt.Sprintf("it has no room for an input of %d bytes", n))
		}
		return i.broke(abi.FaultAnswer, 0, fmt.Sprintf("it returned 0 for an input buffer of %d bytes", n))
	}
	if uint64(ptr)+uint64(n) > uint64(i.mod.Memory().Size()) {
		return i.broke(abi.FaultAnswer, 0, fmt.Sprintf("it returned an input buffer of %d bytes at %#x, outside its memory", n, ptr))
	}
	i.buf, i.cap, i.call.name = ptr, n, name
	return nil
}

// run calls f within the limits. stack holds parameters, then results.
func (i *Instance) run(f api.Function, stack []uint64) error {
	err := f.CallWithStack(i.ctx, stack)
	if i.call.over != "" || err != nil {
		return i.fault(err)
	}
	return nil
}

// Fuel returns what the last call took.
func (i *Instance) Fuel() uint64 { return i.meter.used() }

// MemoryBytes returns the size of the linear memory.
func (i *Instance) MemoryBytes() int { return len(i.mem.buf) }

// Close frees the instance.
func (i *Instance) Close(ctx context.Context) error {
	i.spoiled = true
	if i.mod == nil {
		return nil
	}
	return i.mod.Close(ctx)
}

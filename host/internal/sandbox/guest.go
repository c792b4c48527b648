package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"wasmhost.example/abi"
)

// ErrBroken says that a guest could not be put back as it was before a failed
// call. It is of no more use.
var ErrBroken = errors.New("the guest could not be put back as it was before the failed call")

// Options say how a guest runs.
type Options struct {
	Self   [32]byte // whom the guest is told that it is
	Limits Limits
	Log    func(level int, text string) // gets the guest's log lines; nil drops them
	Rules  Rules                        // of its effects; nil: it may have none
	Stop   func() bool                  // asked while an event is processed: whether to end that with ErrStopped; nil: never

	// Pause is called now and then while an event is processed that takes long, by the
	// goroutine of Process. It may call ViewBefore. nil: nothing is.
	Pause func()
}

// Event is what a guest can learn of the call it answers. Time and randomness
// follow from it alone.
type Event struct {
	Sender   [32]byte
	Origin   uint64 // follows from Sender; 0 when anonymous
	Epoch    uint64
	Sequence uint64
	Time     int64 // Unix nanoseconds, above 0
	Channel  string
	Kind     uint32 // as abi.ImportEventKind
	Call     uint64 // as abi.ImportEventCall
	Status   uint32 // as abi.ImportEventStatus

	// Replay says that the call succeeded once, on this host or another, perhaps
	// under version 1 of abi.FuelVersion: its fuel is bounded by replayFuel more than
	// the limit, its time on the clock is not.
	Replay bool
}

// seed is that of the call's random stream: it follows from who the daemon is,
// its epoch and the event's sequence. It is not secret.
func (e *Event) seed(self [32]byte) [32]byte {
	s := self
	binary.LittleEndian.PutUint64(s[8:], binary.LittleEndian.Uint64(s[8:])^e.Epoch)
	binary.LittleEndian.PutUint64(s[16:], binary.LittleEndian.Uint64(s[16:])^e.Sequence)
	return s
}

// Guest is one state of a module: a memory and registers. It begins as the
// module's image and costs what it changes. Its methods must not be called
// concurrently; different guests of a module may run concurrently.
type Guest struct {
	module  *Module
	options Options
	image   *Image

	at   atomic.Pointer[instance] // the instance that has the registers; nil: regs has them
	used atomic.Bool              // since the last look for one to pack

	frozen atomic.Bool // views of it are being taken: it is not packed

	mu     sync.Mutex // held while space, packed or regs are looked at, but by a call while at is set
	space  space      // nil while packed
	packed *packed
	regs   registers
	closed bool
	broken bool // it is not what it was before a failed call

	filling bool // it is becoming another, see Fill

	trackers []*Tracker // of changes; held as space is

	undo undo
	fuel uint64 // taken by the last call
	out  []byte // the outputs of the last call, one after the other
	ends []int
	list [][]byte

	effects *effects // nil until it has had any
	silent  bool     // while calls are replayed
	asking  bool     // while a query is answered

	arguments []string // of a program
}

// NewGuest makes a guest that is as the image, and takes no memory yet. A
// module that needs more memory than the limit is an *abi.Fault.
func (m *Module) NewGuest(o Options) (*Guest, error) {
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	if o.Log == nil {
		o.Log = func(int, string) {}
	}
	if need := m.image.size / pageSize; need > uint64(o.Limits.MemoryPages) {
		return nil, &abi.Fault{Kind: abi.FaultLimit, Call: "instantiation", Limit: abi.LimitMemory,
			Text: fmt.Sprintf("the module needs %d pages of 64 KiB at start, the limit is %d", need, o.Limits.MemoryPages)}
	}
	g := &Guest{module: m, options: o, image: m.image, packed: &packed{size: m.image.size}}
	g.regs.set(&m.image.regs)
	g.undo.begin(g)
	return g, nil
}

// limit returns how many bytes of memory the guest may have.
func (g *Guest) limit() uint64 {
	pages := min(g.options.Limits.MemoryPages, maxPages)
	if m := g.module.report.Memory; m.HasMax {
		pages = min(pages, m.Max)
	}
	return uint64(pages) * pageSize
}

// maxPages leaves one page of the address space, for pointing an instance at
// another memory looks like growth to the engine.
const maxPages = 1<<16 - 1

// take returns an instance that is bound to g, locked.
func (g *Guest) take() (*instance, error) {
	g.used.Store(true)
	for {
		i := g.at.Load()
		if i == nil {
			break
		}
		if i.mu.TryLock() {
			if i.bound == g {
				return i, nil
			}
			i.unlock()
		}
		runtime.Gosched() // another guest is about to take the instance over
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.usable(); err != nil {
		return nil, err
	}
	if err := g.unpack(); err != nil {
		return nil, err
	}
	return g.attach()
}

// usable returns why the guest can no longer be called. It needs g.mu.
func (g *Guest) usable() error {
	switch {
	case g.closed:
		return fmt.Errorf("%w: it is closed", ErrBroken)
	case g.broken:
		return ErrBroken
	}
	return nil
}

// attach binds g to an instance, which it returns locked. It needs g.mu, and g
// to have a space and no instance.
func (g *Guest) attach() (*instance, error) {
	for {
		i, err := g.module.instance(g)
		if err != nil {
			return nil, err
		}
		err = i.bind(g)
		if err == nil {
			return i, nil
		}
		g.module.discard(i)
		if !errors.Is(err, errTable) {
			return nil, fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
}

// hold makes sure that nobody else looks at g, whose registers are in g.regs.
// The caller calls what it returns.
func (g *Guest) hold() (release func(), err error) {
	i := g.at.Load()
	for i != nil && !i.mu.TryLock() {
		runtime.Gosched()
		i = g.at.Load()
	}
	if i == nil {
		g.mu.Lock()
		return g.mu.Unlock, nil
	}
	if i.bound != g {
		i.unlock()
		return g.hold()
	}
	g.mu.Lock()
	if err := i.spill(); err != nil {
		i.unlock()
		g.mu.Unlock()
		return nil, err
	}
	return func() { i.unlock(); g.mu.Unlock() }, nil
}

// Init gives the guest its configuration. Without wasmhost_init, configuration
// that is not empty is an error.
func (g *Guest) Init(ev *Event, config []byte) error {
	if !g.module.report.HasInit {
		if len(config) != 0 {
			return &abi.Fault{Kind: abi.FaultAnswer, Call: abi.ExportInit, Text: "the module takes no configuration: it does not export wasmhost_init"}
		}
		return nil
	}
	if g.module.command() {
		g.arguments = arguments(config)
		return nil
	}
	_, err := g.do(callInit, ev, config)
	return err
}

// Process gives the guest one event. A call that fails leaves no trace. The
// outputs are the guest's and valid until its next call.
func (g *Guest) Process(ev *Event, payload []byte) ([][]byte, error) {
	return g.do(callProcess, ev, payload)
}

// Restore gives the guest's hook the state of an earlier Snapshot.
func (g *Guest) Restore(ev *Event, state []byte) error {
	if g.module.report.State != abi.StateHooks {
		return &abi.Fault{Kind: abi.FaultAnswer, Call: abi.ExportRestore, Text: "the module does not export it"}
	}
	_, err := g.do(callRestore, ev, state)
	return err
}

// do runs one of the calls that can be replayed, and returns its outputs.
func (g *Guest) do(c callKind, ev *Event, data []byte) ([][]byte, error) {
	i, err := g.take()
	if err != nil {
		return nil, err
	}
	defer func() { i.unlock() }()
	err = i.input(c, ev, data)
	g.fuel = i.meter.used()
	if err != nil {
		var undoErr error
		if i, undoErr = g.undo.roll(g, i); undoErr != nil {
			g.spoil(i)
			return nil, fmt.Errorf("%w: %w; the failure was: %w", ErrBroken, undoErr, err)
		}
		return nil, err
	}
	if g.module.command() { // what it leaves behind is no state
		i, err = g.undo.roll(g, i)
	} else {
		err = g.undo.note(g, i, c, ev, data)
	}
	if err != nil {
		g.spoil(i)
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	return g.outputs(), nil
}

// spoil makes g of no more use. It needs i.mu.
func (g *Guest) spoil(i *instance) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.broken = true
	if i.bound == g {
		g.letGo()
	}
}

// Snapshot returns a copy of the state that the guest's hook gives. Whatever the
// hook changes is undone; one that emits or has effects is a fault.
func (g *Guest) Snapshot(ev *Event) ([]byte, error) {
	if g.module.report.State != abi.StateHooks {
		return nil, &abi.Fault{Kind: abi.FaultAnswer, Call: abi.ExportSnapshot, Text: "the module does not export it"}
	}
	i, err := g.take()
	if err != nil {
		return nil, err
	}
	defer func() { i.unlock() }()
	state, err := i.snapshot(ev)
	g.fuel = i.meter.used()
	var undoErr error
	if i, undoErr = g.undo.roll(g, i); undoErr != nil {
		g.spoil(i)
		return nil, fmt.Errorf("%w: %w", ErrBroken, undoErr)
	}
	return state, err
}

// outputs cuts the emitted bytes apart. It needs what do has: the guest may be
// packed, by another goroutine, as soon as its instance is free.
func (g *Guest) outputs() [][]byte {
	g.list = g.list[:0]
	start := 0
	for _, end := range g.ends {
		g.list = append(g.list, g.out[start:end:end])
		start = end
	}
	return g.list
}

// Fuel returns what the last call took.
func (g *Guest) Fuel() uint64 { return g.fuel }

// MemoryBytes returns the size of the linear memory.
func (g *Guest) MemoryBytes() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.space != nil:
		return len(g.space.bytes())
	case g.packed != nil:
		return int(g.packed.size)
	}
	return 0
}

// Close frees the guest.
func (g *Guest) Close() error {
	release, err := g.hold()
	if err != nil {
		return err
	}
	defer release()
	g.letGo()
	if g.space != nil {
		g.space.free()
		g.module.engine.mapped.remove(g)
	}
	g.space, g.packed, g.closed = nil, nil, true
	g.untrack()
	g.undo = undo{}
	return nil
}

// letGo parts g from the instance that has its registers. It needs what hold
// gives.
func (g *Guest) letGo() {
	if i := g.at.Load(); i != nil {
		i.bound = nil
		g.at.Store(nil)
	}
}

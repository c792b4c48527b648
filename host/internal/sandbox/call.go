package sandbox

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

// keptOutput is how many bytes of room for outputs a guest keeps.
const keptOutput = 64 << 10

func (g *Guest) clearOutputs() {
	if cap(g.out) > keptOutput {
		g.out = nil
	}
	g.out, g.ends = g.out[:0], g.ends[:0]
}

// call is what belongs to the call in progress. It is reused.
type call struct {
	name string
	ev   *Event

	failText   string // from fail
	lastError  string // the last line logged at error level, or written to stderr
	logged     int
	dropped    bool
	clock      int64 // nanoseconds by which the virtual clock is ahead of the event
	random     rand.ChaCha8
	seeded     bool
	over       string // the limit that was exceeded
	overText   string
	badPointer string
	exited     bool
	exitCode   int32
	partial    [2][]byte // unfinished lines of stdout and stderr
	input      []byte    // of a program, what it has not read yet
}

// input puts data into the guest's buffer and makes the call with it.
func (i *instance) input(kind callKind, ev *Event, data []byte) error {
	i.stoppable = kind == callProcess
	f, name := i.fn.process, abi.ExportProcess
	switch kind {
	case callInit:
		f, name = i.fn.init, abi.ExportInit
	case callRestore:
		f, name = i.fn.restore, abi.ExportRestore
	}
	if i.module.report.Foreign != nil {
		return i.foreign(kind, ev, data)
	}
	i.begin(name, ev)
	if err := i.give(data); err != nil {
		return err
	}
	if err := i.run(f, i.stack[:]); err != nil {
		return err
	}
	if code := int32(i.stack[0]); code != 0 {
		fault := i.broke(abi.FaultError, code, i.call.text())
		if i.view.refused { // it may be why
			fault.Limit = abi.LimitMemory
			fault.Text = strings.TrimSpace(fault.Text + fmt.Sprintf(" (it asked for more memory than its limit of %d bytes)", i.bound.limit()))
		}
		return fault
	}
	return nil
}

// give puts data into the guest's buffer, and where it is on the stack.
func (i *instance) give(data []byte) error {
	r, n := &i.bound.regs, uint32(len(data))
	if n > r.cap || r.cap == 0 {
		if err := i.alloc(max(n, 1024)); err != nil {
			return err
		}
	}
	if !i.mod.Memory().Write(r.buf, data) {
		return i.broke(abi.FaultAnswer, 0, fmt.Sprintf("its input buffer at %#x is outside its memory", r.buf))
	}
	i.stack[0], i.stack[1] = uint64(r.buf), uint64(n)
	return nil
}

// alloc has the guest make an input buffer of n bytes.
func (i *instance) alloc(n uint32) error {
	name := i.call.name
	i.call.name = abi.ExportAlloc
	i.stack[0] = uint64(n)
	if err := i.run(i.fn.alloc, i.stack[:1]); err != nil {
		return err
	}
	ptr := uint32(i.stack[0])
	if ptr == 0 {
		if i.view.refused {
			return i.overLimit(abi.LimitMemory, fmt.Sprintf("it has no room for an input of %d bytes", n))
		}
		return i.broke(abi.FaultAnswer, 0, fmt.Sprintf("it returned 0 for an input buffer of %d bytes", n))
	}
	if uint64(ptr)+uint64(n) > uint64(i.mod.Memory().Size()) {
		return i.broke(abi.FaultAnswer, 0, fmt.Sprintf("it returned an input buffer of %d bytes at %#x, outside its memory", n, ptr))
	}
	i.bound.regs.buf, i.bound.regs.cap, i.call.name = ptr, n, name
	return nil
}

// snapshot asks the guest's hook for its state.
func (i *instance) snapshot(ev *Event) ([]byte, error) {
	i.stoppable = false
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

// run calls f within the limits. stack holds parameters, then results.
func (i *instance) run(f api.Function, stack []uint64) error {
	err := f.CallWithStack(i.ctx, stack)
	if i.call.over != "" || err != nil {
		i.meter.nested = true
		return i.fault(err)
	}
	if i.outOfLimit() { // by what was paid last
		return i.overLimit(i.call.over, i.call.overText)
	}
	return nil
}

func (i *instance) begin(name string, ev *Event) {
	c := &i.call
	c.name, c.ev = name, ev
	i.bound.clearOutputs()
	if i.bound.effects != nil {
		i.bound.beginEffects()
	}
	c.failText, c.lastError, c.over, c.overText, c.badPointer = "", "", "", "", ""
	c.logged, c.clock = 0, 0
	c.dropped, c.seeded, c.exited = false, false, false
	c.partial[0], c.partial[1] = c.partial[0][:0], c.partial[1][:0]
	i.view.refused = false
	if i.vars != nil {
		i.kernel.reset()
	}
	fuel := i.bound.options.Limits.Fuel
	if i.replayed() {
		fuel += replayFuel
	}
	i.meter.begin(fuel)
}

// text is what the guest said of its failure.
func (c *call) text() string {
	if c.failText != "" {
		return c.failText
	}
	if c.lastError != "" {
		return c.lastError
	}
	return strings.TrimSpace(string(c.partial[1]))
}

// maxText bounds a failure's text and a log line, in bytes.
const maxText = 4096

func clip(b []byte) string {
	if len(b) > maxText {
		return strings.ToValidUTF8(string(b[:maxText]), "") + "…"
	}
	return strings.ToValidUTF8(string(b), "\uFFFD")
}

// logFlood is how many times as much as is kept a call may log: more is no
// longer chatter, and ends it.
const logFlood = 16

func (i *instance) log(level int, text string) {
	if level >= abi.LogError {
		i.call.lastError = text
	}
	g := i.bound
	i.call.logged += len(text) + 1
	if most := g.options.Limits.LogBytes; i.call.logged > logFlood*most {
		i.call.over, i.call.overText = abi.LimitLogBytes, fmt.Sprintf("it logged more than %d times the %d bytes that are kept", logFlood, most)
		panic(errOverLimit)
	}
	if g.silent {
		return
	}
	if i.call.logged > g.options.Limits.LogBytes {
		if !i.call.dropped {
			i.call.dropped = true
			g.options.Log(abi.LogWarn, fmt.Sprintf("more than %d bytes of log in one event: the rest is dropped", g.options.Limits.LogBytes))
		}
		return
	}
	g.options.Log(level, text)
}

// read returns the guest's bytes, or ends the call when they are not in its
// memory. They are valid until the guest runs on.
func (i *instance) read(m api.Module, fn string, ptr, n uint64) []byte {
	b, ok := m.Memory().Read(uint32(ptr), uint32(n))
	if !ok {
		i.call.badPointer = fmt.Sprintf("it called %s with %d bytes at %#x, outside its memory", fn, uint32(n), uint32(ptr))
		panic(errBadPointer)
	}
	i.spend(uint64(len(b)))
	return b
}

var errBadPointer = fmt.Errorf("a pointer outside the guest's memory")

// hostFunctions answer abi.HostFunctions.
var hostFunctions = map[string]hostFunction{
	abi.ImportEmit: func(i *instance, m api.Module, s []uint64) {
		if i.bound.asking || i.call.name == abi.ExportSnapshot && !i.replayed() {
			i.call.badPointer = "it called emit in " + i.call.name + ": outputs belong to events"
			panic(errBadPointer)
		}
		b := i.read(m, abi.ImportEmit, s[0], s[1])
		c, g, l := &i.call, i.bound, &i.bound.options.Limits
		if len(g.out)+len(b) > l.OutputBytes-g.spentOnEffects() {
			c.over, c.overText = abi.LimitOutputBytes, fmt.Sprintf("it emitted more than %d bytes", l.OutputBytes)
			panic(errOverLimit)
		}
		if len(g.ends) >= l.OutputCount-g.hadEffects() {
			c.over, c.overText = abi.LimitOutputCount, fmt.Sprintf("it emitted more than %d outputs", l.OutputCount)
			panic(errOverLimit)
		}
		g.out = append(g.out, b...)
		g.ends = append(g.ends, len(g.out))
	},
	abi.ImportFail: func(i *instance, m api.Module, s []uint64) {
		i.call.failText = clip(i.read(m, abi.ImportFail, s[0], s[1]))
	},
	abi.ImportLog: func(i *instance, m api.Module, s []uint64) {
		i.log(int(int32(s[0])), clip(i.read(m, abi.ImportLog, s[1], s[2])))
	},
	abi.ImportEventOrigin:   func(i *instance, _ api.Module, s []uint64) { s[0] = i.call.ev.Origin },
	abi.ImportEventSequence: func(i *instance, _ api.Module, s []uint64) { s[0] = i.call.ev.Sequence },
	abi.ImportEventTime:     func(i *instance, _ api.Module, s []uint64) { s[0] = uint64(i.call.ev.Time) },
	abi.ImportNow:           func(i *instance, _ api.Module, s []uint64) { s[0] = uint64(i.call.ev.Time) },
	abi.ImportEventSender: func(i *instance, m api.Module, s []uint64) {
		copy(i.read(m, abi.ImportEventSender, s[0], 32), i.call.ev.Sender[:])
	},
	abi.ImportDaemonID: func(i *instance, m api.Module, s []uint64) {
		copy(i.read(m, abi.ImportDaemonID, s[0], 32), i.bound.options.Self[:])
	},
	abi.ImportEventChannel: func(i *instance, m api.Module, s []uint64) {
		copy(i.read(m, abi.ImportEventChannel, s[0], s[1]), i.call.ev.Channel)
		s[0] = uint64(len(i.call.ev.Channel))
	},
	abi.ImportEventCall:   func(i *instance, _ api.Module, s []uint64) { s[0] = i.call.ev.Call },
	abi.ImportEventStatus: func(i *instance, _ api.Module, s []uint64) { s[0] = uint64(i.call.ev.Status) },
	abi.ImportEventKind:   func(i *instance, _ api.Module, s []uint64) { s[0] = uint64(i.call.ev.Kind) },
	abi.ImportRandom: func(i *instance, m api.Module, s []uint64) {
		i.fillRandom(i.read(m, abi.ImportRandom, s[0], s[1]))
	},
}

// fillRandom draws from the call's stream: ChaCha8 of its seed.
func (i *instance) fillRandom(b []byte) {
	c := &i.call
	if !c.seeded {
		c.random.Seed(c.ev.seed(i.bound.options.Self))
		c.seeded = true
	}
	if _, err := c.random.Read(b); err != nil {
		panic(err) // ChaCha8 never fails
	}
}

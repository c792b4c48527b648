package sandbox

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"wasmhost/abi"
)

// call is what belongs to the call in progress. It is reused.
type call struct {
	name string
	ev   *Event

	out  []byte // the outputs, one after the other
	ends []int
	list [][]byte

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
}

func (i *Instance) begin(name string, ev *Event) {
	c := &i.call
	c.name, c.ev = name, ev
	c.out, c.ends = c.out[:0], c.ends[:0]
	c.failText, c.lastError, c.over, c.overText, c.badPointer = "", "", "", "", ""
	c.logged, c.clock = 0, 0
	c.dropped, c.seeded, c.exited = false, false, false
	c.partial[0], c.partial[1] = c.partial[0][:0], c.partial[1][:0]
	i.mem.refused = false
	i.meter.begin(i.options.Limits.Fuel)
}

// outputs cuts the emitted bytes apart.
func (c *call) outputs() [][]byte {
	c.list = c.list[:0]
	start := 0
	for _, end := range c.ends {
		c.list = append(c.list, c.out[start:end:end])
		start = end
	}
	return c.list
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

func (i *Instance) log(level int, text string) {
	if level >= abi.LogError {
		i.call.lastError = text
	}
	if i.call.logged += len(text) + 1; i.call.logged > i.options.Limits.LogBytes {
		if !i.call.dropped {
			i.call.dropped = true
			i.options.Log(abi.LogWarn, fmt.Sprintf("more than %d bytes of log in one event: the rest is dropped", i.options.Limits.LogBytes))
		}
		return
	}
	i.options.Log(level, text)
}

// read returns the guest's bytes, or ends the call when they are not in its
// memory. They are valid until the guest runs on.
func (i *Instance) read(m api.Module, fn string, ptr, n uint64) []byte {
	b, ok := m.Memory().Read(uint32(ptr), uint32(n))
	if !ok {
		i.call.badPointer = fmt.Sprintf("it called %s with %d bytes at %#x, outside its memory", fn, uint32(n), uint32(ptr))
		panic(errBadPointer)
	}
	i.spend(m, uint64(len(b)))
	return b
}

var errBadPointer = fmt.Errorf("a pointer outside the guest's memory")

// hostFunctions answer abi.HostFunctions.
var hostFunctions = map[string]hostFunction{
	abi.ImportEmit: func(i *Instance, m api.Module, s []uint64) {
		b := i.read(m, abi.ImportEmit, s[0], s[1])
		c, l := &i.call, &i.options.Limits
		if len(c.out)+len(b) > l.OutputBytes {
			c.over, c.overText = abi.LimitOutputBytes, fmt.Sprintf("it emitted more than %d bytes", l.OutputBytes)
			panic(errOverLimit)
		}
		if len(c.ends) >= l.OutputCount {
			c.over, c.overText = abi.LimitOutputCount, fmt.Sprintf("it emitted more than %d outputs", l.OutputCount)
			panic(errOverLimit)
		}
		c.out = append(c.out, b...)
		c.ends = append(c.ends, len(c.out))
	},
	abi.ImportFail: func(i *Instance, m api.Module, s []uint64) {
		i.call.failText = clip(i.read(m, abi.ImportFail, s[0], s[1]))
	},
	abi.ImportLog: func(i *Instance, m api.Module, s []uint64) {
		i.log(int(int32(s[0])), clip(i.read(m, abi.ImportLog, s[1], s[2])))
	},
	abi.ImportEventOrigin:   func(i *Instance, _ api.Module, s []uint64) { s[0] = i.call.ev.Origin },
	abi.ImportEventSequence: func(i *Instance, _ api.Module, s []uint64) { s[0] = i.call.ev.Sequence },
	abi.ImportEventTime:     func(i *Instance, _ api.Module, s []uint64) { s[0] = uint64(i.call.ev.Time) },
	abi.ImportNow:           func(i *Instance, _ api.Module, s []uint64) { s[0] = uint64(i.call.ev.Time) },
	abi.ImportEventSender: func(i *Instance, m api.Module, s []uint64) {
		copy(i.read(m, abi.ImportEventSender, s[0], 32), i.call.ev.Sender[:])
	},
	abi.ImportDaemonID: func(i *Instance, m api.Module, s []uint64) {
		copy(i.read(m, abi.ImportDaemonID, s[0], 32), i.call.ev.Self[:])
	},
	abi.ImportEventChannel: func(i *Instance, m api.Module, s []uint64) {
		copy(i.read(m, abi.ImportEventChannel, s[0], s[1]), i.call.ev.Channel)
		s[0] = uint64(len(i.call.ev.Channel))
	},
	abi.ImportRandom: func(i *Instance, m api.Module, s []uint64) {
		i.fillRandom(i.read(m, abi.ImportRandom, s[0], s[1]))
	},
}

// fillRandom draws from the call's stream: ChaCha8 of its seed.
func (i *Instance) fillRandom(b []byte) {
	c := &i.call
	if !c.seeded {
		c.random.Seed(c.ev.Seed)
		c.seeded = true
	}
	if _, err := c.random.Read(b); err != nil {
		panic(err) // ChaCha8 never fails
	}
}

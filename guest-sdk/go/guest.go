package sdk

import (
	"errors"
	"runtime"
	"strconv"
	"time"
	"unsafe"
)

var (
	daemon Daemon
	input  = make([]byte, 4096) // one buffer, reused
)

// Register makes d the module's daemon. It is called once, in an init function.
func Register(d Daemon) { daemon = d }

// Emit emits one output.
func Emit(data []byte) { emit(unsafe.Pointer(unsafe.SliceData(data)), uint32(len(data))) }

// EmitText emits one output of text.
func EmitText(text string) { emit(unsafe.Pointer(unsafe.StringData(text)), uint32(len(text))) }

// Log writes a line to the daemon's log.
func Log(level Level, text string) {
	logLine(int32(level), unsafe.Pointer(unsafe.StringData(text)), uint32(len(text)))
}

// Text returns the event's bytes as text.
func (e Event) Text() string { return string(e.Data) }

// Sequence returns which event this is: 1 for the first that the daemon applies.
func (Event) Sequence() uint64 { return eventSequence() }

// Time returns when the event was recorded. time.Now is that time as well, and a
// little more with each reading.
func (Event) Time() time.Time { return time.Unix(0, eventTime()).UTC() }

// Sender returns the sender's identity; zeros when the event is anonymous.
func (Event) Sender() (id ID) {
	eventSender(unsafe.Pointer(&id))
	return id
}

// Origin returns the sender's origin hash; 0 when the event is anonymous.
func (Event) Origin() uint64 { return eventOrigin() }

// Channel returns the channel that the event came by; empty for a direct event.
func (Event) Channel() string {
	name := make([]byte, 255)
	return string(name[:min(eventChannel(unsafe.Pointer(&name[0]), 255), 255)])
}

// DaemonID returns the daemon's own identity.
func DaemonID() (id ID) {
	daemonID(unsafe.Pointer(&id))
	return id
}

// Random fills out from the event's random stream: the same again on a replay.
func Random(out []byte) { random(unsafe.Pointer(unsafe.SliceData(out)), uint32(len(out))) }

// Answer runs one call of the host's: it makes an error of a panic before the
// call traps, and lets the collector have its turn.
func Answer(call func() error) (code int32) {
	defer func() {
		if p := recover(); p != nil {
			fail("panic: " + textOf(p))
			panic(p)
		}
	}()
	err := call()
	runtime.Gosched()
	if err == nil {
		return 0
	}
	fail(err.Error())
	var f *Failure
	if errors.As(err, &f) && f.Code != 0 {
		return f.Code
	}
	return 1
}

// textOf writes what was panicked with, without the weight of package fmt.
func textOf(p any) string {
	switch v := p.(type) {
	case error:
		return v.Error()
	case interface{ String() string }:
		return v.String()
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	}
	return "a value that is neither an error nor text"
}

func fail(text string) { failText(unsafe.Pointer(unsafe.StringData(text)), uint32(len(text))) }

// Input returns the n bytes that the host has put into the input buffer.
func Input(n uint32) []byte { return input[:n:n] }

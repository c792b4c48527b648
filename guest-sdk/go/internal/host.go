//go:build !wasip1

// Package internal has the host that the SDK asks where a program is no daemon but a
// test of one.
package internal

// Host is what the SDK imports from a host. Package sdktest has one.
type Host interface {
	Emit(data []byte)
	Fail(text string)
	Log(level int32, text string)
	Kind() uint32
	Origin() uint64
	Sequence() uint64
	Time() int64 // Unix nanoseconds
	Sender() [32]byte
	Channel() string
	DaemonID() [32]byte
	Random(out []byte)
	Publish(channel string, data []byte) int32
	Send(to [32]byte, data []byte) int32
	Timer(at int64, data []byte) int64
	TimerCancel(timer int64)
	Ask(to [32]byte, data []byte, deadline int64) int64
	Answer(call uint64, data []byte) int32
	Refuse(call uint64, data []byte) int32
	Call() uint64
	Status() uint32
}

// Current is the host of the event that is processed now; nil: none is. Whoever runs
// one sets it, and sees to it that nobody else does.
var Current Host

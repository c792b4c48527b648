//go:build !wasip1

package sdk

import (
	"unsafe"

	"wasmhost.example/guest-sdk/go/internal"
)

// host returns the host that a test runs the daemon under.
func host() internal.Host {
	if internal.Current == nil {
		panic("sdk: there is no host: a daemon runs under wasmhost, or in a test under package sdktest")
	}
	return internal.Current
}

func bytesAt(ptr unsafe.Pointer, n uint32) []byte { return unsafe.Slice((*byte)(ptr), n) }

func emit(ptr unsafe.Pointer, n uint32)     { host().Emit(bytesAt(ptr, n)) }
func failText(ptr unsafe.Pointer, n uint32) { host().Fail(string(bytesAt(ptr, n))) }
func logLine(level int32, ptr unsafe.Pointer, n uint32) {
	host().Log(level, string(bytesAt(ptr, n)))
}
func eventKind() uint32              { return host().Kind() }
func eventOrigin() uint64            { return host().Origin() }
func eventSequence() uint64          { return host().Sequence() }
func eventTime() int64               { return host().Time() }
func eventSender(ptr unsafe.Pointer) { *(*[32]byte)(ptr) = host().Sender() }
func eventChannel(ptr unsafe.Pointer, n uint32) uint32 {
	name := host().Channel()
	copy(bytesAt(ptr, n), name)
	return uint32(len(name))
}
func daemonID(ptr unsafe.Pointer)         { *(*[32]byte)(ptr) = host().DaemonID() }
func random(ptr unsafe.Pointer, n uint32) { host().Random(bytesAt(ptr, n)) }
func publish(channel unsafe.Pointer, size uint32, ptr unsafe.Pointer, n uint32) int32 {
	return host().Publish(string(bytesAt(channel, size)), bytesAt(ptr, n))
}
func send(id, ptr unsafe.Pointer, n uint32) int32 {
	return host().Send(*(*[32]byte)(id), bytesAt(ptr, n))
}
func timer(at int64, ptr unsafe.Pointer, n uint32) int64 { return host().Timer(at, bytesAt(ptr, n)) }
func timerCancel(number int64)                           { host().TimerCancel(number) }
func ask(id, ptr unsafe.Pointer, n uint32, deadline int64) int64 {
	return host().Ask(*(*[32]byte)(id), bytesAt(ptr, n), deadline)
}
func answerCall(call uint64, ptr unsafe.Pointer, n uint32) int32 {
	return host().Answer(call, bytesAt(ptr, n))
}
func refuseCall(call uint64, ptr unsafe.Pointer, n uint32) int32 {
	return host().Refuse(call, bytesAt(ptr, n))
}
func eventCall() uint64   { return host().Call() }
func eventStatus() uint32 { return host().Status() }

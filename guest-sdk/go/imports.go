//go:build wasip1

package sdk

import "unsafe"

//go:wasmimport wasmhost emit
func emit(ptr unsafe.Pointer, n uint32)

//go:wasmimport wasmhost fail
func failText(ptr unsafe.Pointer, n uint32)

//go:wasmimport wasmhost log
func logLine(level int32, ptr unsafe.Pointer, n uint32)

//go:wasmimport wasmhost event_origin
func eventOrigin() uint64

//go:wasmimport wasmhost event_sequence
func eventSequence() uint64

//go:wasmimport wasmhost event_time
func eventTime() int64

//go:wasmimport wasmhost event_sender
func eventSender(ptr unsafe.Pointer)

//go:wasmimport wasmhost event_channel
func eventChannel(ptr unsafe.Pointer, n uint32) uint32

//go:wasmimport wasmhost daemon_id
func daemonID(ptr unsafe.Pointer)

//go:wasmimport wasmhost random
func random(ptr unsafe.Pointer, n uint32)

//go:wasmimport wasmhost publish
func publish(channel unsafe.Pointer, size uint32, ptr unsafe.Pointer, n uint32) int32

//go:wasmimport wasmhost send
func send(id, ptr unsafe.Pointer, n uint32) int32

//go:wasmimport wasmhost timer
func timer(at int64, ptr unsafe.Pointer, n uint32) int64

//go:wasmimport wasmhost timer_cancel
func timerCancel(timer int64)

//go:wasmimport wasmhost event_kind
func eventKind() uint32

//go:wasmimport wasmhost ask
func ask(id, ptr unsafe.Pointer, n uint32, deadline int64) int64

//go:wasmimport wasmhost answer
func answerCall(call uint64, ptr unsafe.Pointer, n uint32) int32

//go:wasmimport wasmhost refuse
func refuseCall(call uint64, ptr unsafe.Pointer, n uint32) int32

//go:wasmimport wasmhost event_call
func eventCall() uint64

//go:wasmimport wasmhost event_status
func eventStatus() uint32

//go:build !wasip1

package sdktest

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"time"

	sdk "wasmhost.example/guest-sdk/go"
	"wasmhost.example/guest-sdk/go/internal"
)

// What effects answer, as abi/SPEC.md has it.
const (
	done     = 0
	denied   = 1
	invalid  = 2
	tooLarge = 3

	maxPayload = 1 << 20
)

// running is held while a host is the current one: one is at a time.
var running sync.Mutex

// host is what one call is answered by.
type host struct {
	daemon *Daemon
	*call
	answer        Answer
	again         bool // the call was applied before: it is answered as then
	effects       int  // so far
	random        *rand.ChaCha8
	deniesPublish func(string) bool
	deniesSend    func(sdk.ID) bool
}

// run runs a call of the daemon's.
func (h *host) run(call func() error) (err error) {
	running.Lock()
	defer running.Unlock()
	internal.Current = h
	defer func() {
		internal.Current = nil
		if p := recover(); p != nil {
			err = &Panic{p}
		}
	}()
	return call()
}

func (h *host) Emit(data []byte) {
	h.answer.Outputs = append(h.answer.Outputs, append([]byte{}, data...))
}

func (h *host) Fail(string) {} // the error itself is returned

func (h *host) Log(_ int32, text string) { h.answer.Logs = append(h.answer.Logs, text) }
func (h *host) Kind() uint32             { return uint32(h.kind) }

func (h *host) Origin() uint64 {
	if h.sender == (sdk.ID{}) {
		return 0
	}
	return binary.LittleEndian.Uint64(h.sender[:]) | 1
}

func (h *host) Sequence() uint64   { return h.sequence }
func (h *host) Time() int64        { return h.at.UnixNano() }
func (h *host) Sender() [32]byte   { return h.sender }
func (h *host) Channel() string    { return h.channel }
func (h *host) DaemonID() [32]byte { return Self }

// Random fills out from a stream that follows from the event's number.
func (h *host) Random(out []byte) {
	if h.random == nil {
		var seed [32]byte
		binary.LittleEndian.PutUint64(seed[:], h.sequence)
		h.random = rand.NewChaCha8(seed)
	}
	if _, err := h.random.Read(out); err != nil {
		panic(err) // it has no errors
	}
}

func (h *host) Publish(channel string, data []byte) int32 {
	return h.effect(Effect{Channel: channel, Data: string(data)}, channel == "" || len(channel) > 255, h.deniesPublish != nil && h.deniesPublish(channel))
}

func (h *host) Send(to [32]byte, data []byte) int32 {
	return h.effect(Effect{To: to, Data: string(data)}, to == [32]byte{}, h.deniesSend != nil && h.deniesSend(to))
}

func (h *host) Ask(to [32]byte, data []byte, deadline int64) int64 {
	e := Effect{To: to, Call: sdk.Call(h.sequence)<<12 | sdk.Call(len(h.answer.Effects)) + 1, Data: string(data)}
	if deadline > 0 {
		e.At = time.Unix(0, deadline).UTC()
	}
	if code := h.effect(e, to == [32]byte{} || deadline < 0, h.deniesSend != nil && h.deniesSend(to)); code != done {
		return -int64(code)
	}
	return int64(e.Call)
}

func (h *host) Answer(call uint64, data []byte) int32 {
	return h.effect(Effect{Answers: sdk.Call(call), Data: string(data)}, call == 0 || call > h.sequence, false)
}

func (h *host) Refuse(call uint64, data []byte) int32 {
	return h.effect(Effect{Answers: sdk.Call(call), Refused: true, Data: string(data)}, call == 0 || call > h.sequence, false)
}

func (h *host) Status() uint32 { return uint32(h.status) }

func (h *host) Call() uint64 {
	if h.kind == sdk.Asked {
		return h.sequence
	}
	return uint64(h.ended)
}

// effect takes an effect, unless it is refused.
func (h *host) effect(e Effect, bad, isDenied bool) int32 {
	if h.again {
		code := h.said[h.effects]
		h.effects++
		if code == done {
			h.answer.Effects = append(h.answer.Effects, e) // timers are numbered by them
		}
		return code
	}
	code := int32(done)
	switch {
	case bad:
		code = invalid
	case len(e.Data) > maxPayload:
		code = tooLarge
	case isDenied:
		code = denied
	default:
		h.answer.Effects = append(h.answer.Effects, e)
	}
	h.said = append(h.said, code)
	return code
}

func (h *host) Timer(at int64, data []byte) int64 {
	switch {
	case at <= 0:
		return -invalid
	case len(data) > maxPayload:
		return -tooLarge
	}
	id := int64(h.sequence)<<12 | int64(len(h.answer.Effects)) + 1
	h.answer.Effects = append(h.answer.Effects, Effect{Timer: sdk.TimerID(id), At: time.Unix(0, at).UTC(), Data: string(data)})
	return id
}

func (h *host) TimerCancel(timer int64) {
	h.answer.Effects = append(h.answer.Effects, Effect{Timer: sdk.TimerID(timer)})
}

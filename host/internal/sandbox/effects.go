package sandbox

import (
	"fmt"

	"github.com/tetratelabs/wazero/api"

	"wasmhost.example/abi"
)

// Effect is what a guest asked for in a call, beside its outputs.
type Effect struct {
	Kind    EffectKind
	Channel string
	To      [32]byte
	At      int64  // of a timer and of an ask
	ID      uint64 // of what is cancelled or answered
	Payload []byte // whoever takes the effects owns it
}

// EffectKind is what an effect is.
type EffectKind uint8

// The kinds.
const (
	EffectPublish EffectKind = 1
	EffectSend    EffectKind = 2
	EffectTimer   EffectKind = 3
	EffectCancel  EffectKind = 4
	EffectAsk     EffectKind = 5
	EffectAnswer  EffectKind = 6
	EffectRefuse  EffectKind = 7
)

// Rules say which effects a guest may have. What Publish and Send answer is the
// same for as long as the guest lives: a call that is made again must have the
// same answers. They are asked during the guest's calls.
type Rules interface {
	Publish(channel string) (answer int32) // one of abi's
	Send(to [32]byte) (answer int32)
	// Room is for what there is room.
	Room() abi.EffectRoom
	// Cost is what an effect counts for, bytes.
	Cost(payload int) int
}

// effects are a guest's, of its last call.
type effects struct {
	list  []Effect
	spent int  // bytes of their payloads
	asked bool // room is known
	room  abi.EffectRoom
}

// Effects returns what the last call asked for, which succeeded. They are the
// caller's.
func (g *Guest) Effects() []Effect {
	if g.effects == nil || len(g.effects.list) == 0 {
		return nil
	}
	out := g.effects.list
	g.effects.list = nil
	return out
}

// spentOnEffects is how many bytes of its outputs' limit effects have taken, and
// hadEffects how many of their number.
func (g *Guest) spentOnEffects() int {
	if g.effects == nil {
		return 0
	}
	return g.effects.spent
}

func (g *Guest) hadEffects() int {
	if g.effects == nil {
		return 0
	}
	return len(g.effects.list)
}

// effect notes one, within the limits. What they are was checked.
func (i *instance) effect(e Effect, payload []byte) (index int) {
	c, g := &i.call, i.bound
	limit := func(name, format string, args ...any) {
		c.over, c.overText = name, fmt.Sprintf(format, args...)
		panic(errOverLimit)
	}
	f := g.effects
	if len(f.list) >= min(g.options.Limits.OutputCount-len(g.ends), abi.MaxEffects) {
		limit(abi.LimitOutputCount, "it had more than %d effects, or more than %d together with its outputs", abi.MaxEffects, g.options.Limits.OutputCount)
	}
	if f.spent += len(payload); f.spent+len(g.out) > g.options.Limits.OutputBytes {
		limit(abi.LimitOutputBytes, "its outputs and effects have more than %d bytes", g.options.Limits.OutputBytes)
	}
	if !g.silent {
		if !f.asked {
			f.asked = true
			f.room = g.options.Rules.Room()
		}
		cost := g.options.Rules.Cost(len(payload))
		switch e.Kind {
		case EffectPublish, EffectSend, EffectAnswer, EffectRefuse:
			f.room.Pending, f.room.Bytes = f.room.Pending-1, f.room.Bytes-cost
		case EffectAsk:
			f.room.Pending, f.room.Bytes, f.room.Calls = f.room.Pending-1, f.room.Bytes-cost, f.room.Calls-1
		case EffectTimer:
			f.room.Timers, f.room.TimerBytes = f.room.Timers-1, f.room.TimerBytes-cost
		}
		if f.room.Pending < 0 || f.room.Bytes < 0 {
			limit(abi.LimitPending, "too much that it sent and published before has not arrived yet")
		}
		if f.room.Timers < 0 || f.room.TimerBytes < 0 {
			limit(abi.LimitTimers, "it has as many timers as a daemon may")
		}
		if f.room.Calls < 0 {
			limit(abi.LimitCalls, "it waits for as many answers as a daemon may")
		}
	}
	e.Payload = append(make([]byte, 0, len(payload)), payload...)
	f.list = append(f.list, e)
	return len(f.list) - 1
}

// inEvent ends the call unless it is an event's, and takes what an effect costs.
func (i *instance) inEvent(fn string) {
	if i.call.name != abi.ExportProcess {
		i.call.badPointer = fmt.Sprintf("it called %s in %s: effects belong to events, in %s", fn, i.call.name, abi.ExportProcess)
		panic(errBadPointer)
	}
	if i.bound.effects == nil {
		i.bound.effects = &effects{}
	}
	i.charge(abi.EffectFuel)
}

// answer notes the answer to a call. Whether one is owed decides the host, after the
// event: a call that is made again must have the same answers.
func (i *instance) answer(m api.Module, fn string, kind EffectKind, s []uint64) {
	i.inEvent(fn)
	id := s[0]
	payload := i.read(m, fn, s[1], s[2])
	code := int32(abi.EffectDone)
	switch {
	case id == 0 || id > i.call.ev.Sequence:
		code = abi.EffectInvalid
	case len(payload) > abi.MaxEffectBytes:
		code = abi.EffectTooLarge
	case i.bound.options.Rules == nil:
		code = abi.EffectDenied
	default:
		i.effect(Effect{Kind: kind, ID: id}, payload)
	}
	s[0] = api.EncodeI32(code)
}

// beginEffects forgets those of the call before.
func (g *Guest) beginEffects() {
	if g.effects != nil {
		g.effects.list, g.effects.asked, g.effects.spent = nil, false, 0
	}
}

func init() {
	for name, f := range map[string]hostFunction{
		abi.ImportPublish: func(i *instance, m api.Module, s []uint64) {
			i.inEvent(abi.ImportPublish)
			name := i.read(m, abi.ImportPublish, s[0], s[1])
			payload := i.read(m, abi.ImportPublish, s[2], s[3])
			answer := int32(abi.EffectDenied)
			switch rules := i.bound.options.Rules; {
			case len(name) > 255:
				answer = abi.EffectInvalid
			case len(payload) > abi.MaxEffectBytes:
				answer = abi.EffectTooLarge
			case rules != nil:
				answer = rules.Publish(string(name))
			}
			if answer == abi.EffectDone {
				i.effect(Effect{Kind: EffectPublish, Channel: string(name)}, payload)
			}
			s[0] = api.EncodeI32(answer)
		},
		abi.ImportSend: func(i *instance, m api.Module, s []uint64) {
			i.inEvent(abi.ImportSend)
			to := [32]byte(i.read(m, abi.ImportSend, s[0], 32))
			payload := i.read(m, abi.ImportSend, s[1], s[2])
			answer := int32(abi.EffectDenied)
			switch rules := i.bound.options.Rules; {
			case to == [32]byte{}:
				answer = abi.EffectInvalid
			case len(payload) > abi.MaxEffectBytes:
				answer = abi.EffectTooLarge
			case rules != nil:
				answer = rules.Send(to)
			}
			if answer == abi.EffectDone {
				i.effect(Effect{Kind: EffectSend, To: to}, payload)
			}
			s[0] = api.EncodeI32(answer)
		},
		abi.ImportAsk: func(i *instance, m api.Module, s []uint64) {
			i.inEvent(abi.ImportAsk)
			to := [32]byte(i.read(m, abi.ImportAsk, s[0], 32))
			payload := i.read(m, abi.ImportAsk, s[1], s[2])
			deadline := int64(s[3])
			answer := int64(-abi.EffectDenied)
			switch rules := i.bound.options.Rules; {
			case to == [32]byte{} || deadline < 0:
				answer = -abi.EffectInvalid
			case len(payload) > abi.MaxEffectBytes:
				answer = -abi.EffectTooLarge
			case rules == nil:
			default:
				if may := rules.Send(to); may != abi.EffectDone {
					answer = -int64(may)
					break
				}
				index := i.effect(Effect{Kind: EffectAsk, To: to, At: deadline}, payload)
				answer = int64(i.call.ev.Sequence)*abi.MaxEffects + int64(index)
			}
			s[0] = uint64(answer)
		},
		abi.ImportAnswer: func(i *instance, m api.Module, s []uint64) { i.answer(m, abi.ImportAnswer, EffectAnswer, s) },
		abi.ImportRefuse: func(i *instance, m api.Module, s []uint64) { i.answer(m, abi.ImportRefuse, EffectRefuse, s) },
		abi.ImportTimer: func(i *instance, m api.Module, s []uint64) {
			i.inEvent(abi.ImportTimer)
			at := int64(s[0])
			payload := i.read(m, abi.ImportTimer, s[1], s[2])
			answer := int64(-abi.EffectDenied)
			switch {
			case at <= 0:
				answer = -abi.EffectInvalid
			case len(payload) > abi.MaxEffectBytes:
				answer = -abi.EffectTooLarge
			case i.bound.options.Rules != nil:
				index := i.effect(Effect{Kind: EffectTimer, At: at}, payload)
				answer = int64(i.call.ev.Sequence)*abi.MaxEffects + int64(index)
			}
			s[0] = uint64(answer)
		},
		abi.ImportTimerCancel: func(i *instance, _ api.Module, s []uint64) {
			i.inEvent(abi.ImportTimerCancel)
			if id := s[0]; i.bound.options.Rules != nil && int64(id) > 0 {
				i.effect(Effect{Kind: EffectCancel, ID: id}, nil)
			}
		},
	} {
		hostFunctions[name] = f
	}
}

package daemon

import (
	"fmt"
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// Publish publishes an event on a channel that the daemon may publish on, once the
// event that it answers is durable. The payload is copied. It is for native
// daemons, during Process. Errors: ErrNotGranted, ErrBadEffect, ErrTooLarge, and a
// *GuestError of a limit, which the daemon should return.
func (c *Call) Publish(name string, payload []byte) error {
	if c.Rules == nil {
		return fmt.Errorf("%w outside an event", ErrBadEffect)
	}
	if err := answered(c.Rules.Publish(name)); err != nil {
		return fmt.Errorf("publishing on %q: %w", name, err)
	}
	return c.act(effect.Effect{Kind: effect.Publish, Channel: name}, payload)
}

// Send sends an event to a daemon, wherever it is; as Publish.
func (c *Call) Send(to identity.EntityID, payload []byte) error {
	if c.Rules == nil || to.IsZero() {
		return fmt.Errorf("%w: to send to %s", ErrBadEffect, to)
	}
	if err := answered(c.Rules.Send(to)); err != nil {
		return fmt.Errorf("sending to %s: %w", to.Origin(), err)
	}
	return c.act(effect.Effect{Kind: effect.Send, To: to}, payload)
}

// Ask sends an event to a daemon, which answers it: as Send, under the same grant. How the
// call ends comes as an event of EventReply whose Call is the number. A zero deadline
// never passes.
func (c *Call) Ask(to identity.EntityID, payload []byte, deadline time.Time) (number uint64, err error) {
	at := int64(0)
	if !deadline.IsZero() {
		at = deadline.UnixNano()
	}

	if c.Rules == nil || to.IsZero() || at < 0 || !deadline.IsZero() && at == 0 {
		return 0, fmt.Errorf("%w: to ask %s until %v", ErrBadEffect, to, deadline)
	}
	if err := answered(c.Rules.Send(to)); err != nil {
		return 0, fmt.Errorf("asking %s: %w", to.Origin(), err)
	}

	number = effect.Number(c.Sequence, len(c.Effects))
	return number, c.act(effect.Effect{Kind: effect.Ask, To: to, At: at}, payload)
}

// Answer answers a call that came as an event of EventAsk, in that event or in a later
// one; as Publish. The first answer counts; of a call that is not open nothing comes.
func (c *Call) Answer(call uint64, payload []byte) error {
	return c.reply(effect.Answer, call, payload)
}

// Refuse is Answer with the reason why there is none.
func (c *Call) Refuse(call uint64, reason string) error {
	return c.reply(effect.Refuse, call, []byte(reason))
}

func (c *Call) reply(kind effect.Kind, call uint64, payload []byte) error {
	if c.Rules == nil || call == 0 || call > c.Sequence {
		return fmt.Errorf("%w: to answer call %d", ErrBadEffect, call)
	}
	return c.act(effect.Effect{Kind: kind, ID: call}, payload)
}

// SetTimer has the daemon get the payload as an event of EventTimer at that time, or
// later where it cannot be then. The number is the timer's, and the event's. As
// Publish.
func (c *Call) SetTimer(at time.Time, payload []byte) (number uint64, err error) {
	if c.Rules == nil || at.UnixNano() <= 0 {
		return 0, fmt.Errorf("%w: a timer at %v", ErrBadEffect, at)
	}
	number = effect.Number(c.Sequence, len(c.Effects))
	return number, c.act(effect.Effect{Kind: effect.Timer, At: at.UnixNano()}, payload)
}

// CancelTimer makes a timer not fire. One that is not there is no error.
func (c *Call) CancelTimer(number uint64) error {
	if c.Rules == nil || number == 0 {
		return fmt.Errorf("%w: to cancel timer %d", ErrBadEffect, number)
	}
	return c.act(effect.Effect{Kind: effect.Cancel, ID: number}, nil)
}

func answered(answer int32) error {
	switch answer {
	case abi.EffectDone:
		return nil
	case abi.EffectDenied:
		return ErrNotGranted
	}
	return ErrBadEffect
}

// act notes an effect, within the limits.
func (c *Call) act(e effect.Effect, payload []byte) error {
	if len(payload) > effect.MaxPayload {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(payload), effect.MaxPayload)
	}

	over := func(limit string) error {
		return &GuestError{Kind: abi.FaultLimit, Call: "process", Limit: limit, Text: "more effects than a daemon may have"}
	}
	room := c.Rules.Room()

	for i := range append(c.Effects, e) {
		cost, p := 0, &e
		if i < len(c.Effects) {
			p, cost = &c.Effects[i], effect.Cost(len(c.Effects[i].Payload))
		} else {
			cost = effect.Cost(len(payload))
		}

		switch p.Kind {
		case effect.Publish, effect.Send, effect.Answer, effect.Refuse:
			room.Pending, room.Bytes = room.Pending-1, room.Bytes-cost
		case effect.Ask:
			room.Pending, room.Bytes, room.Calls = room.Pending-1, room.Bytes-cost, room.Calls-1
		case effect.Timer:
			room.Timers, room.TimerBytes = room.Timers-1, room.TimerBytes-cost
		}
	}

	switch {
	case len(c.Effects) >= effect.MaxPerEvent:
		return over(abi.LimitOutputCount)
	case room.Pending < 0 || room.Bytes < 0:
		return over(abi.LimitPending)
	case room.Timers < 0 || room.TimerBytes < 0:
		return over(abi.LimitTimers)
	case room.Calls < 0:
		return over(abi.LimitCalls)
	}

	e.Payload = append(make([]byte, 0, len(payload)), payload...)
	c.Effects = append(c.Effects, e)
	return nil
}

// Effects is what a daemon may do, and what of it is still to come.
type Effects struct {
	Grants  effect.Grants
	Pending []PendingEffects
	Timers  []effect.Alarm
	Calls   []effect.Call  // that it made and that have not ended
	Owes    []effect.Owed  // what it was asked and has not answered
	Replies []effect.Reply // its answers on their way, without their payloads

	// Since the daemon came here, or the node began.
	PassedOver uint64 // events of timers, daemons and channels that it failed on: nobody tries them again
	Lost       uint64 // events that it sent or published and that were passed over, or given up
	Late       uint64 // replies to calls of its own that had ended
}

// PendingEffects is what has still to arrive at a place.
type PendingEffects struct {
	Place  effect.Place
	Events int
	Bytes  int64
	Reason string // why it has not, as far as is known
}

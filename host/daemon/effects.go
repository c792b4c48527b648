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
	pending, bytes, timers, timerBytes := c.Rules.Room()
	for i := range append(c.Effects, e) {
		cost, p := 0, &e
		if i < len(c.Effects) {
			p, cost = &c.Effects[i], effect.Cost(len(c.Effects[i].Payload))
		} else {
			cost = effect.Cost(len(payload))
		}
		switch p.Kind {
		case effect.Publish, effect.Send:
			pending, bytes = pending-1, bytes-cost
		case effect.Timer:
			timers, timerBytes = timers-1, timerBytes-cost
		}
	}
	switch {
	case len(c.Effects) >= effect.MaxPerEvent:
		return over(abi.LimitOutputCount)
	case pending < 0 || bytes < 0:
		return over(abi.LimitPending)
	case timers < 0 || timerBytes < 0:
		return over(abi.LimitTimers)
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

	// Since the daemon came here, or the node began.
	PassedOver uint64 // events of timers, daemons and channels that it failed on: nobody tries them again
	Lost       uint64 // events that it sent or published and that were passed over, or given up
}

// PendingEffects is what has still to arrive at a place.
type PendingEffects struct {
	Place  effect.Place
	Events int
	Bytes  int64
	Reason string // why it has not, as far as is known
}

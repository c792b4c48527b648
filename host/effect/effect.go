// Package effect is what a daemon does to the world beside its outputs: it
// publishes on channels, sends to other daemons, and sets timers. Effects are
// part of the event that caused them and wait in the daemon's state until they
// are carried out. It does no I/O.
package effect

import (
	"errors"
	"fmt"

	"wasmhost.example/identity"
)

// Kind is what an effect is. The numbers are part of the history's format.
type Kind uint8

// The kinds.
const (
	Publish Kind = 1 // an event on a channel
	Send    Kind = 2 // an event to a daemon
	Timer   Kind = 3 // an event to the daemon itself, later
	Cancel  Kind = 4 // of a timer
	Ask     Kind = 5 // a call: an event to a daemon, which answers it
	Answer  Kind = 6 // to what another daemon asked
	Refuse  Kind = 7 // to answer it
)

// Effect is what a daemon asked for in one event, as its history keeps it.
type Effect struct {
	_       struct{} `cbor:",toarray"`
	Kind    Kind
	Channel string            // Publish
	To      identity.EntityID // Send, Ask
	At      int64             // Timer: when it is due; Ask: when it times out, 0: never; Unix nanoseconds
	ID      uint64            // Cancel: the timer's number; Answer, Refuse: the sequence of the event that asked
	Payload []byte
}

// Bounds of effects.
const (
	MaxPerEvent     = 1 << perEvent // effects of one event
	MaxPending      = 4096          // effects of one daemon that are not carried out yet
	MaxPendingBytes = 16 << 20      // bytes of their payloads
	MaxTimers       = 1024          // timers of one daemon
	MaxTimerBytes   = 1 << 20       // bytes of their payloads
	MaxPayload      = 1 << 20       // bytes of one effect's payload

	perEvent = 12
	overhead = 128 // what an effect without a payload counts for, bytes
)

// Errors of effects.
var (
	ErrBadGrant  = errors.New("not a grant")
	ErrBadState  = errors.New("the effects are damaged, or were tampered with")
	errBadEffect = errors.New("no such effect can be")
)

// Number is the number of the effect that was the index-th, from 0, of the
// daemon's event of that sequence: with the epoch it names it for ever, and grows
// along the chain. It is the number of a timer as well.
func Number(sequence uint64, index int) uint64 { return sequence<<perEvent | uint64(index) }

// numberLimit is what no number reaches.
const numberLimit = 1 << 62

// Check says what is wrong with an effect that was read.
func (e *Effect) Check() error {
	switch {
	case len(e.Payload) > MaxPayload:
		return fmt.Errorf("%w: a payload of %d bytes", errBadEffect, len(e.Payload))
	case e.Kind == Publish:
		return identity.ValidChannel(e.Channel)
	case e.Channel != "":
		return fmt.Errorf("%w: kind %d with a channel", errBadEffect, e.Kind)
	case e.Kind == Send && !e.To.IsZero(), e.Kind == Timer && e.At > 0, e.Kind == Cancel && e.ID > 0 && len(e.Payload) == 0,
		e.Kind == Ask && !e.To.IsZero() && e.At >= 0, e.Kind == Answer && e.ID > 0, e.Kind == Refuse && e.ID > 0:
		return nil
	}
	return fmt.Errorf("%w: kind %d", errBadEffect, e.Kind)
}

// Same reports whether two events had the same effects.
func Same(a, b []Effect) bool {
	if len(a) != len(b) {
		return false
	}

	for i := range a {
		x, y := &a[i], &b[i]
		if x.Kind != y.Kind || x.Channel != y.Channel || x.To != y.To || x.At != y.At || x.ID != y.ID || string(x.Payload) != string(y.Payload) {
			return false
		}
	}

	return true
}

package daemon

import (
	"time"

	"wasmhost.example/abi"
	"wasmhost.example/host/budget"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
)

// Event is what a daemon is asked to process.
type Event struct {
	// Sender and Number name the event: the same pair is applied at most once.
	// A sender's numbers must grow; gaps are allowed. An event with a zero
	// Sender is anonymous and never taken for a repeat. The guest does not see the
	// Sender: nothing proves it.
	Sender identity.EntityID
	Number uint64 // 1 to MaxEventNumber, unless Sender is zero

	// Via is the peer that passed a direct event on; 0: none. It is not recorded.
	Via identity.NodeID

	// Channel is the channel the event came by; empty for a direct event.
	Channel string

	// Kind is what the event is: EventDirect for what is delivered.
	Kind EventKind

	// From is whom the guest sees as the sender: who published a channel's event, and
	// Sender is then the channel; the daemon that sent an event of EventDaemon. Zero: the
	// node's owner, or nobody who proved a key. A direct event has none.
	From identity.EntityID

	// Payload is the event's content. It belongs to the caller, who must not
	// change it until the delivery has returned.
	Payload []byte

	// Answers is where the bytes of the event's result count until Pending.Release; an
	// event for whose result there is no room waits and is not processed meanwhile.
	// nil: they count nowhere, and Release is not needed.
	Answers *budget.Budget
}

// MaxEventNumber is the highest number of an event.
const MaxEventNumber = 1<<63 - 1

// EventKind is what an event is to its daemon. The numbers are part of the guest
// contract.
type EventKind uint8

// The kinds.
const (
	EventDirect  EventKind = abi.EventDirect
	EventChannel EventKind = abi.EventChannel
	EventGap     EventKind = abi.EventGap // lost events of a channel
	EventTimer   EventKind = abi.EventTimer
	EventDaemon  EventKind = abi.EventDaemon // another daemon sent it
	EventAsk     EventKind = abi.EventAsk    // another daemon asks, and waits for an answer
	EventReply   EventKind = abi.EventReply  // a call of the daemon's own has ended, with effect.Answered; see ReplyKind
)

// EventKinds is how many kinds there are: those of replies are one for each status.
const EventKinds = int(EventReply) + effect.Statuses

// ReplyKind returns the kind of the event by which a daemon learns that a call ended so.
// Guests see EventReply, and the status.
func ReplyKind(s effect.Status) EventKind { return EventReply + EventKind(s) }

// Reply returns how the call ended that an event of kind k is the reply to; false: it is
// no reply.
func (k EventKind) Reply() (effect.Status, bool) {
	if k < EventReply || int(k) >= EventKinds {
		return 0, false
	}
	return effect.Status(k - EventReply), true
}

// Result is what became of one accepted event.
type Result struct {
	Outputs []chain.Output

	// Duplicate says that the event had been applied before: Outputs are those
	// recorded then, nothing was applied now.
	Duplicate bool
}

// Answer is what a query found, and of which state of the daemon.
type Answer struct {
	Payload []byte // the caller's

	Applied  uint64 // events that the daemon had applied
	Sequence uint64 // of its last output
	Epoch    uint64
}

// Moved says where a daemon went.
type Moved struct {
	Entity identity.EntityID
	Node   identity.NodeID
	Epoch  uint64 // the epoch under which Node owns it
	Time   time.Time
}

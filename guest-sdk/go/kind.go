package sdk

// Kind is what an event is to its daemon.
type Kind uint32

// The kinds.
const (
	Direct  Kind = 0 // sent to the daemon
	Channel Kind = 1 // of a channel that it is subscribed to
	Gap     Kind = 2 // lost events of a channel: 16 bytes, sequences of the first and the last, little-endian; zeros where they are not known
	Timer   Kind = 3 // a timer of its own is due
	Peer    Kind = 4 // another daemon sent it, which is proven
	Asked   Kind = 5 // another daemon asks, which is proven, and waits for an answer: see Event.Call
	Reply   Kind = 6 // a call of its own has ended: see Event.Reply
)

// Kind returns what the event is. A module that calls it gets gaps of channels as
// events of kind Gap.
func (Event) Kind() Kind { return EventKind() }

// EventKind is Kind of the event that is processed now.
func EventKind() Kind { return Kind(eventKind()) }

// Query is what Event.Kind gives while a question is answered, which is no event: see package
// query.
const Query Kind = 7

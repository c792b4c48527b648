package channel

import (
	"errors"

	"wasmhost.example/identity"
)

// Version is the version of the messages below. A stream that opens with
// another is refused.
const Version = 1

// Bounds on what one message may carry.
const (
	MaxMessage  = 2 << 20 // bytes of one encoded message
	MaxText     = 4096    // bytes of a refusal's text
	MaxCursors  = 4096    // in one message
	MaxPublish  = 4096    // payloads in one message
	MaxRevoke   = 1024    // revocations in one message
	MaxCarry    = 256     // effects in one message
	maxResident = 512     // bytes of a residence
)

// Message is one of the structs below. A stream begins with Open, Fetch,
// Publish, Carry or Revocations.
type Message interface{ kind() uint8 }

// Open begins a feed: all events of one channel that a node's daemons hear of.
// The subscribing node opens it; it lasts while anybody there is subscribed.
type Open struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Channel string
}

// Subscribe asks that a daemon of the node be among those for whom the feed is.
// It may be repeated, with another token or another After. Subscriber to
// publisher.
type Subscribe struct {
	_         struct{} `cbor:",toarray"`
	Entity    identity.EntityID
	Token     []byte
	Residence []byte            // the daemon's word that it is on the node; may be empty where no token is asked for
	Source    identity.EntityID // as it was accepted before; zero: it is new, and begins with the next event
	After     uint64            // the last event that the daemon has
}

// Accepted answers Subscribe. Publisher to subscriber.
type Accepted struct {
	_       struct{} `cbor:",toarray"`
	Entity  identity.EntityID
	Source  identity.EntityID
	After   uint64 // the daemon's events are those after it; of another Source than asked for: what it missed before is not known
	Next    uint64 // the event that the feed sends next: those between are to be fetched
	Expires int64  // when the token expires, Unix seconds; 0: never
}

// Refused answers Subscribe, or ends what was accepted; with a zero Entity it
// ends the stream. Publisher to subscriber.
type Refused struct {
	_      struct{} `cbor:",toarray"`
	Entity identity.EntityID
	Code   Code
	Text   string
}

// Unsubscribe takes a daemon off the feed. Subscriber to publisher.
type Unsubscribe struct {
	_      struct{} `cbor:",toarray"`
	Entity identity.EntityID
}

// Released answers Unsubscribe. Publisher to subscriber.
type Released struct {
	_      struct{} `cbor:",toarray"`
	Entity identity.EntityID
}

// Events carries events that follow one another. Those that the receiver has
// are passed over. Publisher to subscriber.
type Events struct {
	First uint64
	Head  uint64 // sequence of the channel's newest event
	Bytes []byte // as of Chunk
}

// Gap says that events are lost: the log has dropped them before they were
// read. Publisher to subscriber.
type Gap struct {
	_        struct{} `cbor:",toarray"`
	From, To uint64   // the first and the last of them
}

// Moved ends a feed of a daemon's outputs, which are published elsewhere now.
type Moved struct {
	_    struct{} `cbor:",toarray"`
	Node identity.NodeID
}

// Cursors says how far daemons are. Subscriber to publisher.
type Cursors struct {
	_    struct{} `cbor:",toarray"`
	List []Cursor
}

// Cursor is how far one daemon is.
type Cursor struct {
	_        struct{} `cbor:",toarray"`
	Entity   identity.EntityID
	Sequence uint64
}

// WindowBytes is how many bytes of events a publisher sends before the subscriber has said
// that it has room for more.
const WindowBytes = 4 << 20

// Window says that the subscriber has room for so many more bytes of Events. A
// stream begins with room for WindowBytes, and never has more. Subscriber to publisher.
type Window struct {
	_     struct{} `cbor:",toarray"`
	Bytes uint64
}

// Fetch asks for past events, for a daemon that the node has on a feed of the
// channel. It is answered by Events and Gap, then Released.
type Fetch struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Channel string
	Entity  identity.EntityID
	After   uint64
	Until   uint64 // the last event that is wanted
}

// Publish asks to publish on a channel, as a daemon of the node, or as the node.
type Publish struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	Channel   string
	From      identity.EntityID // zero: the node
	Token     []byte
	Residence []byte
	Payloads  [][]byte
}

// Published answers Publish once the events are durable.
type Published struct {
	_     struct{} `cbor:",toarray"`
	First uint64   // sequence of the first
}

// Revocations carries revocations that the sender knows. It is answered by those
// that the answerer knows.
type Revocations struct {
	_    struct{} `cbor:",toarray"`
	List [][]byte
}

// Carry brings effects of a daemon on the sending node: to a channel of the
// receiving node, or to a daemon that is believed to be there. It is answered by
// Carried, Moved or Refused, and another may follow on the stream.
type Carry struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	From      identity.EntityID // the daemon
	Residence []byte            // its word that it is on the node; may be empty within a node
	To        identity.EntityID // zero: they go to the channel
	Channel   string            // empty: they go to the daemon
	Token     []byte            // for the channel
	Effects   []Carriage        // in order
}

// Carriage is one effect. Whoever has got it, or a later one of the daemon, takes
// it no more.
type Carriage struct {
	_       struct{} `cbor:",toarray"`
	Epoch   uint64   // under which it came about
	Number  uint64
	Payload []byte

	Call  bool   `cbor:"-"` // of a Calls: the receiver answers it
	Reply *Reply `cbor:"-"` // of a Replies; else nil
}

// Carried answers Carry once what it names, and all before, is durable.
type Carried struct {
	_      struct{} `cbor:",toarray"`
	Epoch  uint64
	Number uint64
}

func (*Carry) kind() uint8   { return 16 }
func (*Carried) kind() uint8 { return 17 }

func (*Open) kind() uint8        { return 1 }
func (*Subscribe) kind() uint8   { return 2 }
func (*Accepted) kind() uint8    { return 3 }
func (*Refused) kind() uint8     { return 4 }
func (*Unsubscribe) kind() uint8 { return 5 }
func (*Released) kind() uint8    { return 6 }
func (*Events) kind() uint8      { return 7 }
func (*Gap) kind() uint8         { return 8 }
func (*Moved) kind() uint8       { return 9 }
func (*Cursors) kind() uint8     { return 10 }
func (*Fetch) kind() uint8       { return 11 }
func (*Publish) kind() uint8     { return 12 }
func (*Published) kind() uint8   { return 13 }
func (*Revocations) kind() uint8 { return 14 }
func (*Window) kind() uint8      { return 15 }

// Conn carries messages between two nodes, in order. One goroutine may send
// while another receives.
type Conn interface {
	// Send may keep the message back until Flush; it blocks for back-pressure.
	Send(Message) error
	Flush() error
	// Recv returns the next message, or an error when the other side is gone.
	Recv() (Message, error)
	// Close releases the connection. Messages that were flushed still arrive.
	Close() error
	// Abort cuts the connection: a blocked Send or Recv, on either side, fails.
	Abort()
}

// ErrClosed is the error of a connection that is closed or was cut.
var ErrClosed = errors.New("the connection is closed")

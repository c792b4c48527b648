package migration

import (
	"fmt"
	"time"

	"wasmhost.example/identity"
)

// Version is the version of the messages below, and of an Order. An Offer may be of a
// later one: see Lasting. An Offer of an unknown version is refused.
const Version = 2

// Bounds on what one message may carry.
const (
	MaxChunk      = 256 << 10 // bytes of module, or of snapshot, in one message
	MaxBlocks     = 128       // blocks of memory in one message
	BlockBytes    = 4096      // of one block
	MaxBatchBytes = 1 << 20   // bytes of history records after which a batch is sent
	MaxMessage    = 40 << 20  // bytes of one encoded message: the largest single record and then some
	MaxOpening    = 128 << 10 // bytes of the first message of a stream, which comes before anybody's right to it is known
	MaxText       = 4096      // bytes of a failure's text; longer text is cut by the sender, refused by the receiver

	MaxRounds   = 1000 // that may be asked for
	MaxUnbound  = 1024 // subscriptions in one message
	MaxReceipts = 64   // receipts that travel with a daemon
	MaxReceipt  = 4096 // bytes of one receipt

	MaxRetryNotReady = 24 * time.Hour // for which an Order may have a target asked

	// Patience is how long one side does nothing for another that keeps the
	// connection and says nothing: a target that has announced what it waits for,
	// and a source that holds its daemon's events.
	Patience = 5 * time.Minute
)

// ID names one attempt to move one daemon. The source draws it at random.
type ID [16]byte

// MarshalBinary returns the 16 bytes.
func (id ID) MarshalBinary() ([]byte, error) { return id[:], nil }

// UnmarshalBinary takes exactly 16 bytes.
func (id *ID) UnmarshalBinary(b []byte) error {
	if len(b) != len(id) {
		return fmt.Errorf("a migration id has %d bytes, not %d", len(id), len(b))
	}
	copy(id[:], b)
	return nil
}

// Message is one of the structs below.
type Message interface{ kind() uint8 }

// Offer opens a migration: what comes, and what it needs. Source to target.
type Offer struct {
	_          struct{} `cbor:",toarray"`
	Version    uint8
	Migration  ID
	Entity     identity.EntityID
	Name       string
	Kind       string
	Module     []byte // SHA-256 of the module, 32 bytes; empty for a native daemon
	ModuleSize uint64
	Epoch      uint64 // the source's; the target will own Epoch+1
	Identity   bool   // whether the daemon's key will come along
	History    uint64 // index after the source's last history record; 0 when it keeps none
	Memory     bool   // whether its memory comes in Blocks, before the snapshot
	Resumed    bool   // the same migration over another connection: it goes on where the target stands

	Limits map[string]int64 // of the daemon's own, by name
}

// Accept says that the target can take the daemon. Target to source.
type Accept struct {
	_          struct{} `cbor:",toarray"`
	NeedModule bool
	Seal       identity.SealKey // the target's: identities are sealed to it

	// What came before the connection broke, of a migration that is resumed.
	HaveModule  uint64 // bytes
	HaveHistory uint64 // index after the last record
	HaveBlocks  uint64 // messages
}

// Refuse ends the migration before Replay. Either side. An orchestrator cancels
// by it what it ordered.
type Refuse struct {
	_    struct{} `cbor:",toarray"`
	Code Code
	Text string
}

// ModuleChunk carries the next bytes of the module. Source to target.
type ModuleChunk struct {
	_     struct{} `cbor:",toarray"`
	Bytes []byte
}

// HistoryBatch carries the next history records, whole. Source to target.
type HistoryBatch struct {
	_       struct{} `cbor:",toarray"`
	From    uint64   // index of the first record
	Records [][]byte
}

// SnapshotChunk carries the next bytes of the snapshot. Source to target.
type SnapshotChunk struct {
	_     struct{} `cbor:",toarray"`
	Bytes []byte
	Last  bool
}

// Blocks carries blocks of the daemon's memory that differ from its module's
// image or, later, that were written since the ones before. Source to target.
type Blocks struct {
	_     struct{} `cbor:",toarray"`
	Index []byte   // of each block, 4 bytes, little-endian, rising; 1 to MaxBlocks of them
	Bytes []byte   // the blocks, BlockBytes each
	S2    bool     // whether Bytes is compressed, as one S2 block (an extension of Snappy)
}

// Memory ends the blocks of a round: what else the daemon's memory is after it.
// Source to target.
type Memory struct {
	_     struct{} `cbor:",toarray"`
	State []byte   // registers and size, as host encodes them
	Last  bool     // as in Tail
}

// Arrived says that the target has module, history and snapshot. Target to
// source.
type Arrived struct {
	_ struct{} `cbor:",toarray"`
}

// Ready says that the target's daemon stands at the snapshot. Target to source.
type Ready struct {
	_        struct{} `cbor:",toarray"`
	Sequence uint64
	Head     []byte // hash of the head, 32 bytes
	Root     []byte // hash of the memory, 32 bytes; empty where it did not come in Blocks
}

// Tail carries history records made since the snapshot, for the target to
// apply. They come in rounds while the source still serves; the round with Last
// set comes after it has paused the daemon. Where Adopt is set, the records of a
// round are not to be replayed: what they changed in memory follows in Blocks,
// and a Memory ends the round. Source to target.
type Tail struct {
	_       struct{} `cbor:",toarray"`
	From    uint64
	Records [][]byte
	Adopt   bool
	More    bool // more of the round follows
	Last    bool
}

// Caught says that the target has applied a round that was not the last. Target
// to source.
type Caught struct {
	_ struct{} `cbor:",toarray"`
}

// Prepared says that the target has applied the last Tail and holds the daemon
// durably, not serving it. Target to source.
type Prepared struct {
	_        struct{} `cbor:",toarray"`
	Sequence uint64
	Applied  uint64
	Head     []byte
	Root     []byte // as in Ready
}

// Release hands the daemon over. The source has written it durably and will
// repeat it until it hears Done. Source to target.
type Release struct {
	_          struct{} `cbor:",toarray"`
	Migration  ID
	Entity     identity.EntityID
	Epoch      uint64 // the target's: the source's plus 1
	Sequence   uint64
	Head       []byte
	Checkpoint []byte // the daemon's signature over the head at the hand-over; empty when it cannot sign
	Envelope   []byte // the sealed identity; empty when it does not travel
}

// Done says that the target serves the daemon. It may be repeated. Target to
// source.
type Done struct {
	_       struct{} `cbor:",toarray"`
	Epoch   uint64
	Receipt []byte // what the target has signed of it; empty where it does not know any more
}

// Receipts carries what was signed of the daemon's earlier moves. Source to
// target, once.
type Receipts struct {
	_   struct{} `cbor:",toarray"`
	All [][]byte
}

// Receipt carries what both have signed. Source to target, after Done.
type Receipt struct {
	_     struct{} `cbor:",toarray"`
	Bytes []byte
}

// Ask is what a target in doubt asks the source. Target to source, on a stream
// of its own; answered by Release or by Refuse.
type Ask struct {
	_         struct{} `cbor:",toarray"`
	Migration ID
	Entity    identity.EntityID
}

// Hold answers Ask while the source has not decided. The target goes on
// waiting.
type Hold struct {
	_ struct{} `cbor:",toarray"`
}

// Order asks a node to move a daemon that it has to a third one. Orchestrator
// to source, on a stream of its own, which then carries Steps and at its end an
// Outcome, or a Refuse where nothing was begun. A Refuse from the orchestrator
// cancels.
type Order struct {
	_             struct{} `cbor:",toarray"`
	Version       uint8
	Entity        identity.EntityID
	Target        identity.NodeID
	OmitIdentity  bool
	RetryNotReady uint64 // nanoseconds
	Bounds        Bounds
}

// Bounds are what a migration is to keep to. A zero leaves it to the source.
type Bounds struct {
	_        struct{} `cbor:",toarray"`
	Downtime uint64   // nanoseconds: for how long senders may wait at the end
	Rounds   uint64   // at most so many before the pause
	Deadline uint64   // nanoseconds from the beginning, by which the daemon is released or stays
	Rate     uint64   // bytes per second that may be sent
}

// Step says in which phase an ordered migration is now. Source to orchestrator.
type Step struct {
	_      struct{} `cbor:",toarray"`
	Phase  Phase    // none in which a migration ends: that is Outcome's
	Bytes  uint64   // sent so far
	Done   uint64   // of Whole
	Whole  uint64
	Rounds []Pass // one that has ended just now, or none
}

// Pass is a round of an ordered migration. Times are nanoseconds.
type Pass struct {
	_       struct{} `cbor:",toarray"`
	Number  uint64
	How     string
	Records uint64
	Blocks  uint64
	Bytes   uint64
	Took    uint64
	Left    uint64
	Slowed  uint64
}

// Outcome says how an ordered migration went. Source to orchestrator.
type Outcome struct {
	_        struct{} `cbor:",toarray"`
	Epoch    uint64   // under which the target owns the daemon; 0 when it failed
	Bytes    uint64
	Downtime uint64 // nanoseconds
	Took     []Span
	Failures []Failure // why it failed, one; none when the daemon moved
	Rounds   []Pass
	Receipt  []byte // what both sides signed; empty where there is none
	Unbound  []Unbound
}

// Bound says, of a daemon with subscriptions, which of them the target could not
// bind yet; it goes on trying. Target to source, after Done.
type Bound struct {
	_       struct{} `cbor:",toarray"`
	Unbound []Unbound
}

// Unbound is a subscription that is not bound, and why.
type Unbound struct {
	_         struct{} `cbor:",toarray"`
	Publisher identity.NodeID
	Channel   string
	Code      uint16 // of package channel
	Text      string
}

// Span is how long a phase took.
type Span struct {
	_     struct{} `cbor:",toarray"`
	Phase Phase
	Took  uint64 // nanoseconds
}

// Failure is an Error as it crosses the wire.
type Failure struct {
	_        struct{} `cbor:",toarray"`
	Code     Code
	Text     string
	Attempts uint64
}

func (*Offer) kind() uint8         { return 1 }
func (*Accept) kind() uint8        { return 2 }
func (*Refuse) kind() uint8        { return 3 }
func (*ModuleChunk) kind() uint8   { return 4 }
func (*HistoryBatch) kind() uint8  { return 5 }
func (*SnapshotChunk) kind() uint8 { return 6 }
func (*Ready) kind() uint8         { return 7 }
func (*Tail) kind() uint8          { return 8 }
func (*Prepared) kind() uint8      { return 9 }
func (*Release) kind() uint8       { return 10 }
func (*Done) kind() uint8          { return 11 }
func (*Ask) kind() uint8           { return 12 }
func (*Hold) kind() uint8          { return 13 }
func (*Arrived) kind() uint8       { return 14 }
func (*Order) kind() uint8         { return 15 }
func (*Step) kind() uint8          { return 16 }
func (*Outcome) kind() uint8       { return 17 }
func (*Blocks) kind() uint8        { return 18 }
func (*Memory) kind() uint8        { return 19 }
func (*Caught) kind() uint8        { return 20 }
func (*Receipts) kind() uint8      { return 21 }
func (*Receipt) kind() uint8       { return 22 }
func (*Bound) kind() uint8         { return 23 }

// Conn carries the messages of one migration between its two ends, in order.
// One goroutine may send while another receives.
type Conn interface {
	// Send returns when the message is on its way; it blocks for back-pressure.
	Send(Message) error
	// Recv returns the next message, or an error when the other side is gone. The
	// message is the caller's, with all that it refers to.
	Recv() (Message, error)
	// Close releases the connection. Messages sent before it still arrive.
	Close() error
	// Abort cuts the connection: a blocked Send or Recv, on either side, fails.
	Abort()
}

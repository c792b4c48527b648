// Package standby is what the owner of a daemon and its standbys say to each
// other: the owner sends all that its store comes to keep of the daemon, and the
// standby says what it holds.
//
//	owner                      standby
//	Follow                 →
//	                       ←   Have, or Refuse
//	Module …               →                    where it lacks the code
//	Reset                  →                    where what it has is not the beginning of what the owner has
//	Batch (number 0) …     →                    what it lacks, up to now
//	Record                 →                    what the daemon is, its key sealed to the standby
//	Batch (number n)       →                    what comes, from here on; the first is empty
//	                       ←   Held (n)         it has all up to batch n
//
// From version 3 on, Facts follow each Record; a standby that lacks the module before the
// daemon's last upgrade answers them by Need, and Earlier messages bring it, among Batches.
// From version 4 on, State comes after Have, and the owner sends of the daemon's state
// only what the standby does not have.
//
// From version 2 on, a Proof of how far the owner's history reaches comes before Reset:
// a standby whose copy has something does not throw it away for less. And before the
// owner serves, it compares itself with each standby in sync, on a stream of its own:
//
//	owner                      standby
//	Compare                →
//	                       ←   Stands, or Refuse
package standby

import (
	"errors"
	"fmt"
	"strings"

	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Versions of the protocol.
const (
	Version = 1 // the first
	Proving = 2 // in which an owner proves its history before Reset, and may Compare
	Lasting = 3 // in which it tells what the daemon keeps for life
	Keeping = 4 // in which the standby says what it has of the daemon's state
)

// Speaks reports whether this program speaks the version.
func Speaks(v uint8) bool { return v >= Version && v <= Keeping }

// Refused is the text of a Refuse by which a node refuses a version that it does not
// speak. Those that do read its beginning: it stays as it is.
func Refused(v uint8) string {
	return fmt.Sprintf("version %d of the standby protocol, this node speaks %d", v, Keeping)
}

// IsRefused reports whether the text of a Refuse refuses the version.
func IsRefused(text string, v uint8) bool {
	return strings.HasPrefix(text, fmt.Sprintf("version %d of the standby protocol", v))
}

// Bounds on messages.
const (
	MaxMessage  = 80 << 20 // bytes of one message: a state of the largest size that is kept whole, with its header
	Chunk       = 1 << 20  // what is gathered into one message
	MaxProof    = 1 << 10  // bytes of a signed statement
	MaxFacts    = 8 << 10  // of what a daemon keeps for life, encoded
	MaxReceipts = 64       // of moves
	MaxReceipt  = 4 << 10  // of one, encoded
	NonceSize   = 16
	MaxHeld     = 64 // parts of a state; a daemon has a snapshot and a few deltas
	maxKey      = 16 // of a part, behind the daemon's id
)

// Message is one of the structs below.
type Message interface{ kind() uint8 }

// Follow is the owner's first word.
type Follow struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Entity  identity.EntityID
	Epoch   uint64
	Disk    bool   // Held says that the standby's disk has it
	Module  []byte // digest of the code; empty: native
}

// Have answers it: where the standby's history of the daemon ends.
type Have struct {
	_          struct{} `cbor:",toarray"`
	Next       uint64   // index after the last record; 0: there is none
	Sum        []byte   // SHA-256 of the last record; empty: there is none
	NeedModule bool
}

// State follows Have: what the standby's store has of the daemon's state.
type State struct {
	_     struct{} `cbor:",toarray"`
	Parts []HeldPart
}

// HeldPart is the record under one key, by its digest. What a file has is in that, too.
type HeldPart struct {
	_     struct{} `cbor:",toarray"`
	Table byte     // as of a store.Part
	Key   []byte
	Sum   []byte // SHA-256 of the record
}

// Refuse answers it otherwise.
type Refuse struct {
	_     struct{} `cbor:",toarray"`
	Epoch uint64   // that the standby knows of; 0: that is not why
	Text  string
}

// Module is a piece of the code.
type Module struct {
	_     struct{} `cbor:",toarray"`
	Bytes []byte
	Last  bool
}

// Reset says that nothing that the standby has of the daemon is of use.
type Reset struct {
	_ struct{} `cbor:",toarray"`
}

// Record is what the daemon is, as the owner's store keeps it, but for the key.
type Record struct {
	_     struct{} `cbor:",toarray"`
	Bytes []byte
}

// Batch is what the owner's store came to keep of the daemon.
type Batch struct {
	_      struct{} `cbor:",toarray"`
	Number uint64   // counts those that are to be acknowledged, on this stream; 0: it is not
	Parts  []store.Part
}

// File is a piece of a state that the owner keeps in a file of its own. It comes before
// the Batch whose part speaks of it.
type File struct {
	_      struct{} `cbor:",toarray"`
	Digest []byte   // of the whole, SHA-256
	Bytes  []byte   // up to Chunk
	Last   bool
}

// Held says that the standby has all up to a batch.
type Held struct {
	_      struct{} `cbor:",toarray"`
	Number uint64
}

// Compare asks how far the standby's copy reaches. It ends the stream by which an earlier
// owner feeds that, so that the answer does not grow old.
type Compare struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Entity  identity.EntityID
	Epoch   uint64 // under which the directory says that the asker owns the daemon
	Next    uint64 // index after the owner's last record; 0: it has none
	Sum     []byte // SHA-256 of that record; empty: there is none
	Nonce   []byte // drawn by the owner: it is in the standby's signature
}

// Stands answers it.
type Stands struct {
	_     struct{} `cbor:",toarray"`
	Epoch uint64   // of the copy's last record; 0: it has none
	Next  uint64   // index after the copy's last record; 0: there is none
	Sum   []byte   // SHA-256 of that record; empty: there is none
	At    []byte   // SHA-256 of the copy's record where the owner's last one stands; empty: it has none there
	Sound bool     // the copy had caught up once: a daemon can be made of it
	Whole bool     // it has all that it acknowledged
	Proof []byte   // the daemon's signature over it; empty: the standby does not have its key
}

// Proof is the owner's signed statement of how far its history reaches, before Reset.
type Proof struct {
	_     struct{} `cbor:",toarray"`
	Bytes []byte
}

// Facts is what the daemon keeps for life, as the owner has it now.
type Facts struct {
	_        struct{} `cbor:",toarray"`
	Bytes    []byte   // as host encodes them
	Receipts [][]byte // of the daemon's moves, the last MaxReceipts
}

// Need asks the owner for the module before the daemon's last upgrade, as Facts name it.
type Need struct {
	_      struct{} `cbor:",toarray"`
	Module []byte   // digest
}

// Earlier is a piece of that module.
type Earlier struct {
	_      struct{} `cbor:",toarray"`
	Module []byte   // digest of the whole
	Bytes  []byte   // up to Chunk
	Last   bool
}

func (*Follow) kind() uint8 { return 1 }
func (*Have) kind() uint8   { return 2 }
func (*Refuse) kind() uint8 { return 3 }
func (*Module) kind() uint8 { return 4 }
func (*Reset) kind() uint8  { return 5 }
func (*Record) kind() uint8 { return 6 }
func (*Batch) kind() uint8  { return 7 }
func (*Held) kind() uint8   { return 8 }
func (*File) kind() uint8   { return 9 }

func (*Compare) kind() uint8 { return 10 }
func (*Stands) kind() uint8  { return 11 }
func (*Proof) kind() uint8   { return 12 }
func (*Facts) kind() uint8   { return 13 }
func (*Need) kind() uint8    { return 14 }
func (*Earlier) kind() uint8 { return 15 }
func (*State) kind() uint8   { return 16 }

// ErrBadMessage is wrapped by every error of Decode.
var ErrBadMessage = errors.New("malformed message of a standby")

// Encode appends m to dst: one byte that tells the message, then its canonical
// CBOR.
func Encode(dst []byte, m Message) ([]byte, error) {
	out, err := canon.Append(append(dst, m.kind()), m)
	if err != nil {
		return dst, fmt.Errorf("encoding a %T: %w", m, err)
	}
	return out, nil
}

var variants = canon.VariantsOf[Message](Message.kind, &Follow{}, &Have{}, &Refuse{}, &Module{}, &Reset{}, &Record{}, &Batch{}, &Held{}, &File{}, &Compare{}, &Stands{}, &Proof{}, &Facts{}, &Need{}, &Earlier{}, &State{})

// Decode reads what Encode wrote.
func Decode(b []byte) (Message, error) {
	if len(b) == 0 || len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBadMessage, len(b), MaxMessage)
	}

	m, known := variants.New(b[0])
	if !known {
		return nil, fmt.Errorf("%w: unknown kind %d", ErrBadMessage, b[0])
	}
	if err := canon.Unmarshal(b[1:], m); err != nil {
		return nil, fmt.Errorf("%w: %T: %w", ErrBadMessage, m, err)
	}
	if err := check(m); err != nil {
		return nil, fmt.Errorf("%w: %T: %w", ErrBadMessage, m, err)
	}

	return m, nil
}

func check(m Message) error {
	switch m := m.(type) {
	case *Follow:
		if m.Entity.IsZero() || m.Epoch == 0 || len(m.Module) != 0 && len(m.Module) != 32 {
			return fmt.Errorf("epoch %d, a digest of %d bytes", m.Epoch, len(m.Module))
		}

	case *Have:
		if (m.Next == 0) != (len(m.Sum) == 0) || len(m.Sum) != 0 && len(m.Sum) != 32 {
			return fmt.Errorf("%d records, a sum of %d bytes", m.Next, len(m.Sum))
		}

	case *State:
		if len(m.Parts) > MaxHeld {
			return fmt.Errorf("%d parts of a state", len(m.Parts))
		}
		for i := range m.Parts {
			p := &m.Parts[i]
			if t := store.Table(p.Table); t != store.Snapshots && t != store.Deltas || len(p.Key) > maxKey || len(p.Sum) != 32 {
				return fmt.Errorf("a record of table %q, a key of %d bytes, a sum of %d", p.Table, len(p.Key), len(p.Sum))
			}
		}

	case *File:
		if len(m.Digest) != 32 || len(m.Bytes) > Chunk {
			return fmt.Errorf("%d bytes of a file, a digest of %d", len(m.Bytes), len(m.Digest))
		}

	case *Compare:
		if m.Entity.IsZero() || m.Epoch == 0 || len(m.Nonce) != NonceSize {
			return fmt.Errorf("epoch %d, a nonce of %d bytes", m.Epoch, len(m.Nonce))
		}
		return checkEnd(m.Next, m.Sum)

	case *Stands:
		if len(m.At) != 0 && len(m.At) != 32 || len(m.Proof) > MaxProof || (m.Next == 0) != (m.Epoch == 0) {
			return fmt.Errorf("epoch %d, a sum of %d bytes, a proof of %d", m.Epoch, len(m.At), len(m.Proof))
		}
		return checkEnd(m.Next, m.Sum)

	case *Proof:
		if len(m.Bytes) > MaxProof {
			return fmt.Errorf("a proof of %d bytes", len(m.Bytes))
		}

	case *Facts:
		if len(m.Bytes) > MaxFacts || len(m.Receipts) > MaxReceipts {
			return fmt.Errorf("%d bytes of facts, %d receipts", len(m.Bytes), len(m.Receipts))
		}
		for _, b := range m.Receipts {
			if len(b) > MaxReceipt {
				return fmt.Errorf("a receipt of %d bytes", len(b))
			}
		}

	case *Need:
		if len(m.Module) != 32 {
			return fmt.Errorf("a digest of %d bytes", len(m.Module))
		}

	case *Earlier:
		if len(m.Module) != 32 || len(m.Bytes) > Chunk {
			return fmt.Errorf("%d bytes of a module, a digest of %d", len(m.Bytes), len(m.Module))
		}

	case *Refuse:
		if len(m.Text) > 4096 {
			return fmt.Errorf("a text of %d bytes", len(m.Text))
		}
	}
	return nil
}

// checkEnd checks where a history ends: its last record has a sum.
func checkEnd(next uint64, sum []byte) error {
	if (next == 0) != (len(sum) == 0) || len(sum) != 0 && len(sum) != 32 {
		return fmt.Errorf("%d records, a sum of %d bytes", next, len(sum))
	}
	return nil
}

// Conn carries messages between two nodes, in order. One goroutine may send
// while another receives.
type Conn interface {
	// Send may keep the message back until Flush; it blocks for back-pressure.
	Send(Message) error
	Flush() error
	// Recv returns the next message, or an error when the other side is gone.
	Recv() (Message, error)
	// More reports whether some of what Recv returns next is here already.
	More() bool
	// Close releases the connection. Messages that were flushed still arrive.
	Close() error
	// Abort cuts the connection: a blocked Send or Recv, on either side, fails.
	Abort()
}

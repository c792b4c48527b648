package host

import (
	"errors"
	"fmt"

	"wasmhost/identity"
	"wasmhost/wire/canon"
)

// A daemon's history is a list of records: all that it applied, in order, and
// all that it emitted. Replaying it gives the daemon again. It is kept by the
// store under the daemon's identity, one record per index from 0, and it moves
// with the daemon.

// errBadRecord is wrapped by every error of decodeRecord.
var errBadRecord = errors.New("malformed history record")

// record is one of the structs below.
type record interface{ tag() byte }

// beginRecord is the first record: how the daemon came to be. A daemon spawned
// afresh begins at genesis; one restored from a snapshot begins at the
// snapshot's head, which Checkpoint signs.
type beginRecord struct {
	_           struct{} `cbor:",toarray"`
	Kind        string
	Module      []byte
	Config      []byte
	Time        int64
	Epoch       uint64
	Head        Link
	HeadPayload []byte
	Applied     uint64
	Checkpoint  Checkpoint // PurposeRestart at Head
}

// eventRecord is one applied event with what the daemon emitted.
type eventRecord struct {
	_       struct{} `cbor:",toarray"`
	Sender  identity.EntityID
	Number  uint64
	Time    int64
	Channel string
	Payload []byte
	Applied uint64 // which of the daemon's events it was: 1 for the first
	Before  Link   // the head that the first output follows
	Parent  Hash   // that head's hash, with its payload
	Epoch   uint64 // of the outputs
	Outputs [][]byte
}

// links returns the outputs with their links.
func (e *eventRecord) links() []Output {
	c := Chain{head: e.Before, headHash: e.Parent}
	out := make([]Output, len(e.Outputs))
	for i, payload := range e.Outputs {
		out[i] = Output{Link: c.Append(e.Epoch, e.Applied, payload), Payload: payload}
	}
	return out
}

// failureRecord is one numbered event that the daemon failed on. It changed
// nothing but the sender's mark.
type failureRecord struct {
	_      struct{} `cbor:",toarray"`
	Sender identity.EntityID
	Number uint64
	Time   int64
	Kind   string
	Call   string
	Code   int32
	Limit  string
	Text   string

	Channel string // the event's, so that it can be tried again
	Payload []byte
}

// checkpointRecord is a checkpoint that the daemon signed on its way.
type checkpointRecord struct {
	_          struct{} `cbor:",toarray"`
	Checkpoint Checkpoint
}

// moveRecord is a change of owner. What follows is of Epoch.
type moveRecord struct {
	_          struct{} `cbor:",toarray"`
	From, To   identity.NodeID
	Epoch      uint64
	Time       int64
	Checkpoint Checkpoint // PurposeHandover: the source's signature
}

// upgradeRecord is a change of code. The state went from the old code to the
// new through their hooks; a snapshot of it was stored with the record.
type upgradeRecord struct {
	_          struct{} `cbor:",toarray"`
	From, To   []byte   // SHA-256 of the modules
	Time       int64
	Checkpoint Checkpoint // PurposeUpgrade
}

// settledRecord says that an operator has dealt with a failed event.
type settledRecord struct {
	_     struct{} `cbor:",toarray"`
	Index uint64   // of its failureRecord
	Retry bool     // it was tried again and succeeded; false: it is to be skipped
}

func (*beginRecord) tag() byte      { return 1 }
func (*eventRecord) tag() byte      { return 2 }
func (*failureRecord) tag() byte    { return 3 }
func (*checkpointRecord) tag() byte { return 4 }
func (*moveRecord) tag() byte       { return 5 }
func (*upgradeRecord) tag() byte    { return 6 }
func (*settledRecord) tag() byte    { return 7 }
func (*mendRecord) tag() byte       { return 8 }

// encodeRecord returns one byte that tells the record, then its canonical CBOR.
func encodeRecord(r record) ([]byte, error) {
	if e, ok := r.(*eventRecord); ok {
		return e.encode(), nil
	}
	b, err := canon.Append([]byte{r.tag()}, r)
	if err != nil {
		return nil, fmt.Errorf("encoding a %T: %w", r, err)
	}
	return b, nil
}

// encode writes what canon.Append would, without reflection: it is on the path
// of every event.
func (e *eventRecord) encode() []byte {
	n := 256 + len(e.Channel) + len(e.Payload)
	for _, o := range e.Outputs {
		n += 9 + len(o)
	}
	b := append(make([]byte, 0, n), e.tag(), 0x8a, 0x58, 32)
	b = append(b, e.Sender[:]...)
	b = appendHead(b, 0, e.Number)
	if e.Time >= 0 {
		b = appendHead(b, 0, uint64(e.Time))
	} else {
		b = appendHead(b, 1, uint64(-1-e.Time))
	}
	b = append(appendHead(b, 3, uint64(len(e.Channel))), e.Channel...)
	b = append(appendHead(b, 2, uint64(len(e.Payload))), e.Payload...)
	b = appendHead(b, 0, e.Applied)
	b = e.Before.appendLink(b)
	b = append(append(b, 0x58, 32), e.Parent[:]...)
	b = appendHead(b, 0, e.Epoch)
	b = appendHead(b, 4, uint64(len(e.Outputs)))
	for _, o := range e.Outputs {
		b = append(appendHead(b, 2, uint64(len(o))), o...)
	}
	return b
}

func decodeRecord(b []byte) (record, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: empty", errBadRecord)
	}
	if e, ok := readEvent(b); ok {
		return e, nil
	}
	r := recordOf(b[0])
	if r == nil {
		return nil, fmt.Errorf("%w: unknown tag %d", errBadRecord, b[0])
	}
	if err := canon.Unmarshal(b[1:], r); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRecord, err)
	}
	return r, nil
}

func recordOf(tag byte) record {
	for _, r := range []record{&eventRecord{}, &failureRecord{}, &checkpointRecord{}, &moveRecord{}, &beginRecord{}, &upgradeRecord{}, &settledRecord{}, &mendRecord{}} {
		if r.tag() == tag {
			return r
		}
	}
	return nil
}

// fault rebuilds the error that the event had.
func (f *failureRecord) fault() *GuestError {
	return &GuestError{Kind: faultKind(f.Kind), Call: f.Call, Code: f.Code, Limit: f.Limit, Text: f.Text}
}

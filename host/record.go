package host

import (
	"errors"
	"fmt"

	"wasmhost.example/abi"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
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
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64
	Checkpoint  chain.Checkpoint // PurposeRestart at Head
}

// eventRecord is one applied event with what the daemon emitted.
type eventRecord struct {
	_       struct{} `cbor:",toarray"`
	Sender  identity.EntityID
	Number  uint64
	Time    int64
	Channel string
	Payload []byte
	Applied uint64     // which of the daemon's events it was: 1 for the first
	Before  chain.Link // the head that the first output follows
	Parent  chain.Hash // that head's hash, with its payload
	Epoch   uint64     // of the outputs
	Outputs [][]byte

	Kind daemon.EventKind  `cbor:"-"` // of a channelRecord, and of an effectRecord
	From identity.EntityID `cbor:"-"`

	SenderEpoch uint64          `cbor:"-"` // of an effectRecord
	Effects     []effect.Effect `cbor:"-"`

	Retry uint64 `cbor:"-"` // of a retryRecord
}

// channelRecord is an eventRecord of an event that came by a channel: Sender and
// Number are the channel and the event's sequence there. It is encoded and read
// as an eventRecord with the fields that follow.
type channelRecord struct {
	_       struct{} `cbor:",toarray"`
	Sender  identity.EntityID
	Number  uint64
	Time    int64
	Channel string
	Payload []byte
	Applied uint64
	Before  chain.Link
	Parent  chain.Hash
	Epoch   uint64
	Outputs [][]byte
	Kind    daemon.EventKind
	From    []byte // who published it, 32 bytes; empty: the node's owner
}

func (c *channelRecord) event() (*eventRecord, error) {
	e := &eventRecord{Sender: c.Sender, Number: c.Number, Time: c.Time, Channel: c.Channel, Payload: c.Payload, Applied: c.Applied,
		Before: c.Before, Parent: c.Parent, Epoch: c.Epoch, Outputs: c.Outputs, Kind: c.Kind}
	if c.Kind == daemon.EventDirect {
		return nil, errors.New("a channel's event of another kind")
	}
	if len(c.From) == 0 {
		return e, nil
	}
	if err := e.From.UnmarshalBinary(c.From); err != nil {
		return nil, err
	}
	if e.From.IsZero() {
		return nil, errors.New("a publisher of zeros")
	}
	return e, nil
}

// effectRecord is an eventRecord of an event that had effects, or came of
// another daemon's or of a timer. It is encoded and read as an eventRecord with the
// fields that follow.
type effectRecord struct {
	_           struct{} `cbor:",toarray"`
	Sender      identity.EntityID
	Number      uint64
	Time        int64
	Channel     string
	Payload     []byte
	Applied     uint64
	Before      chain.Link
	Parent      chain.Hash
	Epoch       uint64
	Outputs     [][]byte
	Kind        daemon.EventKind
	From        identity.EntityID
	SenderEpoch uint64 // of a daemon's event: under which it came about
	Effects     []effect.Effect
}

func (e *eventRecord) withEffects() *effectRecord {
	return &effectRecord{Sender: e.Sender, Number: e.Number, Time: e.Time, Channel: e.Channel, Payload: e.Payload, Applied: e.Applied,
		Before: e.Before, Parent: e.Parent, Epoch: e.Epoch, Outputs: e.Outputs, Kind: e.Kind, From: e.From, SenderEpoch: e.SenderEpoch, Effects: e.Effects}
}

func (c *effectRecord) event() (*eventRecord, error) {
	if len(c.Effects) == 0 && c.Kind < daemon.EventTimer || c.Kind > daemon.EventDaemon {
		return nil, fmt.Errorf("%d effects of an event of kind %d", len(c.Effects), c.Kind)
	}
	if err := checkEffects(c.Effects); err != nil {
		return nil, err
	}
	return &eventRecord{Sender: c.Sender, Number: c.Number, Time: c.Time, Channel: c.Channel, Payload: c.Payload, Applied: c.Applied,
		Before: c.Before, Parent: c.Parent, Epoch: c.Epoch, Outputs: c.Outputs, Kind: c.Kind, From: c.From, SenderEpoch: c.SenderEpoch, Effects: c.Effects}, nil
}

// retryRecord is an eventRecord of an event that the daemon failed on before, which it
// settles: who sent it has had its number counted then. It is encoded and read as an
// eventRecord with the fields that follow.
type retryRecord struct {
	_           struct{} `cbor:",toarray"`
	Sender      identity.EntityID
	Number      uint64
	Time        int64
	Channel     string
	Payload     []byte
	Applied     uint64
	Before      chain.Link
	Parent      chain.Hash
	Epoch       uint64
	Outputs     [][]byte
	Kind        daemon.EventKind
	From        identity.EntityID
	SenderEpoch uint64
	Effects     []effect.Effect
	Retry       uint64 // the index of its failureRecord
}

func (e *eventRecord) asRetry() *retryRecord {
	return &retryRecord{Sender: e.Sender, Number: e.Number, Time: e.Time, Channel: e.Channel, Payload: e.Payload, Applied: e.Applied,
		Before: e.Before, Parent: e.Parent, Epoch: e.Epoch, Outputs: e.Outputs, Kind: e.Kind, From: e.From, SenderEpoch: e.SenderEpoch,
		Effects: e.Effects, Retry: e.Retry}
}

func (c *retryRecord) event() (*eventRecord, error) {
	if c.Retry == 0 || c.Kind > daemon.EventDaemon {
		return nil, fmt.Errorf("an event of kind %d is tried again, for the failure %d", c.Kind, c.Retry)
	}
	if err := checkEffects(c.Effects); err != nil {
		return nil, err
	}
	return &eventRecord{Sender: c.Sender, Number: c.Number, Time: c.Time, Channel: c.Channel, Payload: c.Payload, Applied: c.Applied,
		Before: c.Before, Parent: c.Parent, Epoch: c.Epoch, Outputs: c.Outputs, Kind: c.Kind, From: c.From, SenderEpoch: c.SenderEpoch,
		Effects: c.Effects, Retry: c.Retry}, nil
}

func checkEffects(list []effect.Effect) error {
	if len(list) > effect.MaxPerEvent {
		return fmt.Errorf("%d effects of an event", len(list))
	}
	for i := range list {
		if err := list[i].Check(); err != nil {
			return err
		}
	}
	return nil
}

// grantRecord is what the daemon may do from here on.
type grantRecord struct {
	_      struct{} `cbor:",toarray"`
	Grants effect.Grants
	Time   int64
}

// sentRecord says that what went to a place was taken there, up to the effect of
// that name, or is given up.
type sentRecord struct {
	_      struct{} `cbor:",toarray"`
	Place  effect.Place
	Epoch  uint64
	Number uint64
	Lost   string // why it is given up; empty: it was taken
	Time   int64
}

// bindRecord is a subscription that began, or was given another token or source.
type bindRecord struct {
	_       struct{} `cbor:",toarray"`
	Binding channel.Binding
	Time    int64
}

// unbindRecord is a subscription that ended.
type unbindRecord struct {
	_         struct{} `cbor:",toarray"`
	Publisher identity.NodeID
	Channel   string
	Time      int64
}

// links returns the outputs with their links.
func (e *eventRecord) links() []chain.Output {
	c := chain.At(e.Before, e.Parent)
	out := make([]chain.Output, len(e.Outputs))
	for i, payload := range e.Outputs {
		out[i] = chain.Output{Link: c.Append(e.Epoch, e.Applied, payload), Payload: payload}
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

	Event       daemon.EventKind  `cbor:"-"` // of a sentFailureRecord, and of a channelFailureRecord
	SenderEpoch uint64            `cbor:"-"`
	From        identity.EntityID `cbor:"-"` // of a channelFailureRecord
}

// sentFailureRecord is a failureRecord of a timer, or of another daemon's event.
// It is encoded and read as a failureRecord with the fields that follow.
type sentFailureRecord struct {
	_           struct{} `cbor:",toarray"`
	Sender      identity.EntityID
	Number      uint64
	Time        int64
	Kind        string
	Call        string
	Code        int32
	Limit       string
	Text        string
	Channel     string
	Payload     []byte
	Event       daemon.EventKind
	SenderEpoch uint64
}

func (f *failureRecord) ofEffect() *sentFailureRecord {
	return &sentFailureRecord{Sender: f.Sender, Number: f.Number, Time: f.Time, Kind: f.Kind, Call: f.Call, Code: f.Code, Limit: f.Limit,
		Text: f.Text, Channel: f.Channel, Payload: f.Payload, Event: f.Event, SenderEpoch: f.SenderEpoch}
}

func (s *sentFailureRecord) failure() (*failureRecord, error) {
	if s.Event < daemon.EventTimer || s.Event > daemon.EventDaemon {
		return nil, fmt.Errorf("a failed event of kind %d", s.Event)
	}
	return &failureRecord{Sender: s.Sender, Number: s.Number, Time: s.Time, Kind: s.Kind, Call: s.Call, Code: s.Code, Limit: s.Limit,
		Text: s.Text, Channel: s.Channel, Payload: s.Payload, Event: s.Event, SenderEpoch: s.SenderEpoch}, nil
}

// channelFailureRecord is a failureRecord of an event that came by a channel. It is
// encoded and read as a failureRecord with the fields that follow. Before there were any,
// a failureRecord with a channel was of such an event, and did not say who published it.
type channelFailureRecord struct {
	_       struct{} `cbor:",toarray"`
	Sender  identity.EntityID
	Number  uint64
	Time    int64
	Kind    string
	Call    string
	Code    int32
	Limit   string
	Text    string
	Channel string
	Payload []byte
	Event   daemon.EventKind
	From    identity.EntityID
}

func (f *failureRecord) ofChannel() *channelFailureRecord {
	return &channelFailureRecord{Sender: f.Sender, Number: f.Number, Time: f.Time, Kind: f.Kind, Call: f.Call, Code: f.Code, Limit: f.Limit,
		Text: f.Text, Channel: f.Channel, Payload: f.Payload, Event: f.Event, From: f.From}
}

func (s *channelFailureRecord) failure() (*failureRecord, error) {
	if s.Event != daemon.EventChannel && s.Event != daemon.EventGap {
		return nil, fmt.Errorf("a failed event of a channel, of kind %d", s.Event)
	}
	return &failureRecord{Sender: s.Sender, Number: s.Number, Time: s.Time, Kind: s.Kind, Call: s.Call, Code: s.Code, Limit: s.Limit,
		Text: s.Text, Channel: s.Channel, Payload: s.Payload, Event: s.Event, From: s.From}, nil
}

// checkpointRecord is a checkpoint that the daemon signed on its way.
type checkpointRecord struct {
	_          struct{} `cbor:",toarray"`
	Checkpoint chain.Checkpoint
}

// moveRecord is a change of owner. What follows is of Epoch.
type moveRecord struct {
	_          struct{} `cbor:",toarray"`
	From, To   identity.NodeID
	Epoch      uint64
	Time       int64
	Checkpoint chain.Checkpoint // PurposeHandover: the source's signature
}

// upgradeRecord is a change of code. The state went from the old code to the
// new through their hooks; a snapshot of it was stored with the record.
type upgradeRecord struct {
	_          struct{} `cbor:",toarray"`
	From, To   []byte   // SHA-256 of the modules
	Time       int64
	Checkpoint chain.Checkpoint // PurposeUpgrade
}

// settledRecord says that an operator has dealt with a failed event.
type settledRecord struct {
	_     struct{} `cbor:",toarray"`
	Index uint64   // of its failureRecord
	Retry bool     // it was tried again and succeeded, before there was a retryRecord; false: it is to be skipped
}

func (*beginRecord) tag() byte { return 1 }
func (e *eventRecord) tag() byte {
	if e.Retry != 0 {
		return 17
	}
	if e.Kind >= daemon.EventTimer || len(e.Effects) > 0 {
		return 12
	}
	if e.Kind != daemon.EventDirect {
		return 9
	}
	return 2
}
func (f *failureRecord) tag() byte {
	switch {
	case f.Event >= daemon.EventTimer:
		return 13
	case f.Event != daemon.EventDirect:
		return 18
	}
	return 3
}
func (*checkpointRecord) tag() byte { return 4 }
func (*moveRecord) tag() byte       { return 5 }
func (*upgradeRecord) tag() byte    { return 6 }
func (*settledRecord) tag() byte    { return 7 }
func (*mendRecord) tag() byte       { return 8 }
func (*channelRecord) tag() byte    { return 9 }
func (*bindRecord) tag() byte       { return 10 }
func (*unbindRecord) tag() byte     { return 11 }

func (*effectRecord) tag() byte      { return 12 }
func (*sentFailureRecord) tag() byte { return 13 }
func (*grantRecord) tag() byte       { return 14 }
func (*sentRecord) tag() byte        { return 15 }

func (*retryRecord) tag() byte          { return 17 }
func (*channelFailureRecord) tag() byte { return 18 }

// encodeRecord returns one byte that tells the record, then its canonical CBOR.
func encodeRecord(r record) ([]byte, error) {
	switch full := r.(type) {
	case *eventRecord:
		switch full.tag() {
		case (*retryRecord)(nil).tag():
			r = full.asRetry()
		case (*effectRecord)(nil).tag():
			r = full.withEffects()
		default:
			return full.encode(), nil
		}
	case *failureRecord:
		switch full.tag() {
		case (*sentFailureRecord)(nil).tag():
			r = full.ofEffect()
		case (*channelFailureRecord)(nil).tag():
			r = full.ofChannel()
		}
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
	if e.Kind != daemon.EventDirect {
		b[1] = 0x8c
	}
	b = append(b, e.Sender[:]...)
	b = canon.AppendHead(b, 0, e.Number)
	if e.Time >= 0 {
		b = canon.AppendHead(b, 0, uint64(e.Time))
	} else {
		b = canon.AppendHead(b, 1, uint64(-1-e.Time))
	}
	b = append(canon.AppendHead(b, 3, uint64(len(e.Channel))), e.Channel...)
	b = append(canon.AppendHead(b, 2, uint64(len(e.Payload))), e.Payload...)
	b = canon.AppendHead(b, 0, e.Applied)
	b = e.Before.Append(b)
	b = append(append(b, 0x58, 32), e.Parent[:]...)
	b = canon.AppendHead(b, 0, e.Epoch)
	b = canon.AppendHead(b, 4, uint64(len(e.Outputs)))
	for _, o := range e.Outputs {
		b = append(canon.AppendHead(b, 2, uint64(len(o))), o...)
	}
	if e.Kind != daemon.EventDirect {
		b = canon.AppendHead(b, 0, uint64(e.Kind))
		if e.From.IsZero() {
			return append(b, 0x40)
		}
		b = append(append(b, 0x58, 32), e.From[:]...)
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
	r, known := recordVariants.New(b[0])
	if !known {
		return nil, fmt.Errorf("%w: unknown tag %d", errBadRecord, b[0])
	}
	if err := canon.Unmarshal(b[1:], r); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRecord, err)
	}
	var err error
	switch c := r.(type) {
	case *channelRecord:
		r, err = c.event()
	case *effectRecord:
		r, err = c.event()
	case *retryRecord:
		r, err = c.event()
	case *sentFailureRecord:
		r, err = c.failure()
	case *channelFailureRecord:
		r, err = c.failure()
	case *grantRecord:
		err = c.Grants.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errBadRecord, err)
	}
	return r, nil
}

var recordVariants = canon.VariantsOf[record](record.tag, &eventRecord{}, &failureRecord{}, &checkpointRecord{}, &moveRecord{}, &beginRecord{}, &upgradeRecord{},
	&settledRecord{}, &mendRecord{}, &channelRecord{}, &bindRecord{}, &unbindRecord{}, &effectRecord{}, &sentFailureRecord{}, &grantRecord{}, &sentRecord{}, &haltRecord{},
	&retryRecord{}, &channelFailureRecord{})

// fault rebuilds the error that the event had.
func (f *failureRecord) fault() *daemon.GuestError {
	return &daemon.GuestError{Kind: abi.FaultKind(f.Kind), Call: f.Call, Code: f.Code, Limit: f.Limit, Text: f.Text}
}

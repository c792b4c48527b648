package journal

import (
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Event is one applied event with what the daemon emitted.
type Event struct {
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

	Kind daemon.EventKind  `cbor:"-"` // of a channelEvent, and of an effectEvent
	From identity.EntityID `cbor:"-"`

	SenderEpoch uint64          `cbor:"-"` // of an effectEvent
	Effects     []effect.Effect `cbor:"-"`

	Retry uint64 `cbor:"-"` // of a retriedEvent
}

// channelEvent is an Event of an event that came by a channel: Sender and
// Number are the channel and the event's sequence there. It is encoded and read
// as an Event with the fields that follow.
type channelEvent struct {
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

func (c *channelEvent) event() (*Event, error) {
	e := &Event{Sender: c.Sender, Number: c.Number, Time: c.Time, Channel: c.Channel, Payload: c.Payload, Applied: c.Applied,
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

// effectEvent is an Event of an event that had effects, or came of
// another daemon's or of a timer. It is encoded and read as an Event with the
// fields that follow.
type effectEvent struct {
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

func (e *Event) withEffects() *effectEvent {
	return &effectEvent{Sender: e.Sender, Number: e.Number, Time: e.Time, Channel: e.Channel, Payload: e.Payload, Applied: e.Applied,
		Before: e.Before, Parent: e.Parent, Epoch: e.Epoch, Outputs: e.Outputs, Kind: e.Kind, From: e.From, SenderEpoch: e.SenderEpoch, Effects: e.Effects}
}

func (c *effectEvent) event() (*Event, error) {
	if len(c.Effects) == 0 && c.Kind < daemon.EventTimer || int(c.Kind) >= daemon.EventKinds {
		return nil, fmt.Errorf("%d effects of an event of kind %d", len(c.Effects), c.Kind)
	}
	if err := checkEffects(c.Effects); err != nil {
		return nil, err
	}
	return &Event{Sender: c.Sender, Number: c.Number, Time: c.Time, Channel: c.Channel, Payload: c.Payload, Applied: c.Applied,
		Before: c.Before, Parent: c.Parent, Epoch: c.Epoch, Outputs: c.Outputs, Kind: c.Kind, From: c.From, SenderEpoch: c.SenderEpoch, Effects: c.Effects}, nil
}

// retriedEvent is an Event of an event that the daemon failed on before, which it
// settles: who sent it has had its number counted then. It is encoded and read as an
// Event with the fields that follow.
type retriedEvent struct {
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
	Retry       uint64 // the index of its Failure
}

func (e *Event) asRetry() *retriedEvent {
	return &retriedEvent{Sender: e.Sender, Number: e.Number, Time: e.Time, Channel: e.Channel, Payload: e.Payload, Applied: e.Applied,
		Before: e.Before, Parent: e.Parent, Epoch: e.Epoch, Outputs: e.Outputs, Kind: e.Kind, From: e.From, SenderEpoch: e.SenderEpoch,
		Effects: e.Effects, Retry: e.Retry}
}

func (c *retriedEvent) event() (*Event, error) {
	if c.Retry == 0 || int(c.Kind) >= daemon.EventKinds {
		return nil, fmt.Errorf("an event of kind %d is tried again, for the failure %d", c.Kind, c.Retry)
	}
	if err := checkEffects(c.Effects); err != nil {
		return nil, err
	}
	return &Event{Sender: c.Sender, Number: c.Number, Time: c.Time, Channel: c.Channel, Payload: c.Payload, Applied: c.Applied,
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

// Links returns the outputs with their links.
func (e *Event) Links() []chain.Output {
	c := chain.At(e.Before, e.Parent)
	out := make([]chain.Output, len(e.Outputs))
	for i, payload := range e.Outputs {
		out[i] = chain.Output{Link: c.Append(e.Epoch, e.Applied, payload), Payload: payload}
	}
	return out
}

func (e *Event) tag() byte {
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

func (*channelEvent) tag() byte { return 9 }

func (*effectEvent) tag() byte { return 12 }

func (*retriedEvent) tag() byte { return 17 }

// Encode writes what canon.Append would, without reflection: it is on the path
// of every event.
func (e *Event) Encode() []byte {
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

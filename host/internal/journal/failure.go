package journal

import (
	"fmt"

	"wasmhost.example/abi"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
)

// Failure is one numbered event that the daemon failed on. It changed
// nothing but the sender's mark.
type Failure struct {
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

	Event       daemon.EventKind  `cbor:"-"` // of a effectFailure, and of a channelFailure
	SenderEpoch uint64            `cbor:"-"`
	From        identity.EntityID `cbor:"-"` // of a channelFailure
}

// effectFailure is a Failure of a timer, or of another daemon's event.
// It is encoded and read as a Failure with the fields that follow.
type effectFailure struct {
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

func (f *Failure) ofEffect() *effectFailure {
	return &effectFailure{Sender: f.Sender, Number: f.Number, Time: f.Time, Kind: f.Kind, Call: f.Call, Code: f.Code, Limit: f.Limit,
		Text: f.Text, Channel: f.Channel, Payload: f.Payload, Event: f.Event, SenderEpoch: f.SenderEpoch}
}

func (s *effectFailure) failure() (*Failure, error) {
	if s.Event < daemon.EventTimer || int(s.Event) >= daemon.EventKinds {
		return nil, fmt.Errorf("a failed event of kind %d", s.Event)
	}
	return &Failure{Sender: s.Sender, Number: s.Number, Time: s.Time, Kind: s.Kind, Call: s.Call, Code: s.Code, Limit: s.Limit,
		Text: s.Text, Channel: s.Channel, Payload: s.Payload, Event: s.Event, SenderEpoch: s.SenderEpoch}, nil
}

// channelFailure is a Failure of an event that came by a channel. It is
// encoded and read as a Failure with the fields that follow. Before there were any,
// a Failure with a channel was of such an event, and did not say who published it.
type channelFailure struct {
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

func (f *Failure) ofChannel() *channelFailure {
	return &channelFailure{Sender: f.Sender, Number: f.Number, Time: f.Time, Kind: f.Kind, Call: f.Call, Code: f.Code, Limit: f.Limit,
		Text: f.Text, Channel: f.Channel, Payload: f.Payload, Event: f.Event, From: f.From}
}

func (s *channelFailure) failure() (*Failure, error) {
	if s.Event != daemon.EventChannel && s.Event != daemon.EventGap {
		return nil, fmt.Errorf("a failed event of a channel, of kind %d", s.Event)
	}
	return &Failure{Sender: s.Sender, Number: s.Number, Time: s.Time, Kind: s.Kind, Call: s.Call, Code: s.Code, Limit: s.Limit,
		Text: s.Text, Channel: s.Channel, Payload: s.Payload, Event: s.Event, From: s.From}, nil
}

// Settled says that an operator has dealt with a failed event.
type Settled struct {
	_     struct{} `cbor:",toarray"`
	Index uint64   // of its Failure
	Retry bool     // it was tried again and succeeded, before there was a retriedEvent; false: it is to be skipped
}

func (f *Failure) tag() byte {
	switch {
	case f.Event >= daemon.EventTimer:
		return 13
	case f.Event != daemon.EventDirect:
		return 18
	}
	return 3
}

func (*Settled) tag() byte { return 7 }

func (*effectFailure) tag() byte { return 13 }

func (*channelFailure) tag() byte { return 18 }

// Fault rebuilds the error that the event had.
func (f *Failure) Fault() *daemon.GuestError {
	return &daemon.GuestError{Kind: abi.FaultKind(f.Kind), Call: f.Call, Code: f.Code, Limit: f.Limit, Text: f.Text}
}

package channel

import (
	"cmp"
	"errors"
	"fmt"

	"wasmhost.example/identity"
)

// Calls is a Carry among whose effects are calls: the daemon that gets one answers it.
// A node that knows no calls ends the stream.
type Calls struct {
	_     struct{} `cbor:",toarray"`
	Carry Carry    // to a daemon
	Calls []uint16 // which of the effects are calls, in order, from 0
}

// Replies brings how calls ended from a daemon on the sending node, which answered them,
// to the daemon that made them. It is answered as Carry is, and another may follow.
type Replies struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	From      identity.EntityID // the daemon that answers
	Residence []byte            // its word that it is on the node; may be empty within a node
	To        identity.EntityID // the daemon that asked
	List      []Reply           // in order
}

// Reply says how a call ended.
type Reply struct {
	_         struct{} `cbor:",toarray"`
	Epoch     uint64   // of the daemon that answers; with Number it names the reply
	Number    uint64
	CallEpoch uint64 // the call's name: the epoch of the daemon that asked
	Call      uint64 // and the number of the effect
	Status    uint8  // as package effect has it
	Payload   []byte
}

// MaxReplyStatus is the highest status that one daemon may tell another.
const MaxReplyStatus = 3

func (*Calls) kind() uint8   { return 24 }
func (*Replies) kind() uint8 { return 25 }

func (m *Calls) check() error {
	if m.Carry.Channel != "" || len(m.Calls) == 0 {
		return fmt.Errorf("%d calls to the channel %q", len(m.Calls), m.Carry.Channel)
	}

	for i, at := range m.Calls {
		if int(at) >= len(m.Carry.Effects) || i > 0 && m.Calls[i-1] >= at {
			return fmt.Errorf("call %d of %d effects", at, len(m.Carry.Effects))
		}
	}
	return m.Carry.check()
}

func (m *Replies) check() error {
	switch {
	case m.Version != Version:
		return fmt.Errorf("version %d, this node speaks %d", m.Version, Version)
	case m.From.IsZero() || m.To.IsZero() || len(m.List) == 0 || len(m.List) > MaxCarry:
		return fmt.Errorf("%d replies of %s to %s", len(m.List), m.From, m.To)
	}

	for i, r := range m.List {
		if len(r.Payload) > MaxPayload || max(r.Epoch, r.Number, r.CallEpoch, r.Call) >= sequenceLimit || r.Number == 0 || r.Call == 0 || r.Status > MaxReplyStatus {
			return fmt.Errorf("reply %d of %d bytes, with status %d", r.Number, len(r.Payload), r.Status)
		}
		if i > 0 && cmp.Or(cmp.Compare(m.List[i-1].Epoch, r.Epoch), cmp.Compare(m.List[i-1].Number, r.Number)) >= 0 {
			return errors.New("the replies are not in order")
		}
	}

	return credentials(nil, m.Residence)
}

// Brought returns what a message brings as a Carry whose effects say which of them are
// calls and which are replies; false where it is another message. The Carry shares the
// message's memory.
func Brought(m Message) (*Carry, bool) {
	switch m := m.(type) {
	case *Carry:
		return m, true
	case *Calls:
		for _, at := range m.Calls {
			m.Carry.Effects[at].Call = true
		}
		return &m.Carry, true

	case *Replies:
		c := &Carry{Version: m.Version, From: m.From, Residence: m.Residence, To: m.To, Effects: make([]Carriage, len(m.List))}
		for i := range m.List {
			r := &m.List[i]
			c.Effects[i] = Carriage{Epoch: r.Epoch, Number: r.Number, Payload: r.Payload, Reply: r}
		}
		return c, true
	}
	return nil, false
}

// Message returns the message that brings c: effects, with calls or without, or replies
// alone.
func (m *Carry) Message() Message {
	var calls []uint16
	for i := range m.Effects {
		if m.Effects[i].Call {
			calls = append(calls, uint16(i))
		}
	}

	switch {
	case len(calls) > 0:
		return &Calls{Carry: *m, Calls: calls}
	case len(m.Effects) > 0 && m.Effects[0].Reply != nil:
		out := &Replies{Version: m.Version, From: m.From, Residence: m.Residence, To: m.To, List: make([]Reply, len(m.Effects))}
		for i := range m.Effects {
			out.List[i] = *m.Effects[i].Reply
		}
		return out
	}

	return m
}

package channel

import (
	"cmp"
	"errors"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// ErrBadMessage is wrapped by every error of Decode.
var ErrBadMessage = errors.New("malformed channel message")

// Encode appends m to dst: one byte that tells the message, then its canonical
// CBOR.
func Encode(dst []byte, m Message) ([]byte, error) {
	if e, ok := m.(*Events); ok { // the one that there are many of
		dst = canon.AppendHead(canon.AppendHead(append(dst, e.kind(), 0x83), 0, e.First), 0, e.Head)
		return append(canon.AppendHead(dst, 2, uint64(len(e.Bytes))), e.Bytes...), nil
	}

	out, err := canon.Append(append(dst, m.kind()), m)
	if err != nil {
		return dst, fmt.Errorf("encoding a %T: %w", m, err)
	}
	return out, nil
}

// Decode reads what Encode wrote. The Bytes of Events are part of b; no other
// message aliases it.
func Decode(b []byte) (Message, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrBadMessage)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBadMessage, len(b), MaxMessage)
	}

	m, known := variants.New(b[0])
	if !known {
		return nil, fmt.Errorf("%w: unknown kind %d", ErrBadMessage, b[0])
	}

	var err error
	if e, ok := m.(*Events); ok {
		err = e.decode(b[1:])
	} else if err = canon.Unmarshal(b[1:], m); err == nil {
		if c, ok := m.(interface{ check() error }); ok {
			err = c.check()
		}
	}

	if err != nil {
		return nil, fmt.Errorf("%w: %T: %w", ErrBadMessage, m, err)
	}
	return m, nil
}

var variants = canon.VariantsOf[Message](Message.kind, &Events{}, &Open{}, &Subscribe{}, &Accepted{}, &Refused{}, &Unsubscribe{}, &Released{}, &Gap{}, &Moved{},
	&Cursors{}, &Fetch{}, &Publish{}, &Published{}, &Revocations{}, &Window{}, &Carry{}, &Carried{}, &Locate{}, &Located{}, &Standings{}, &Further{}, &Testify{}, &Testified{}, &Calls{}, &Replies{})

func (e *Events) decode(b []byte) error {
	if len(b) == 0 || b[0] != 0x83 {
		return errors.New("not an array of three")
	}

	b = b[1:]
	var fields [3]uint64
	for i, major := range []byte{0, 0, 2} {
		n, size, ok := head(b, major)
		if !ok {
			return fmt.Errorf("field %d", i)
		}
		fields[i], b = n, b[size:]
	}

	switch {
	case fields[2] != uint64(len(b)):
		return fmt.Errorf("%d bytes of events, %d announced", len(b), fields[2])
	case fields[0] == 0 || max(fields[0], fields[1]) >= sequenceLimit:
		return fmt.Errorf("event %d of %d", fields[0], fields[1])
	}

	e.First, e.Head, e.Bytes = fields[0], fields[1], b
	return nil
}

// sequenceLimit is what no sequence reaches.
const sequenceLimit = 1 << 62

var errSequence = errors.New("no channel has so many events")

func (m *Open) check() error { return nameAndVersion(m.Channel, m.Version) }

func nameAndVersion(name string, version uint8) error {
	if version != Version {
		return fmt.Errorf("version %d, this node speaks %d", version, Version)
	}
	return identity.ValidChannel(name)
}

func (m *Subscribe) check() error {
	if m.After >= sequenceLimit {
		return errSequence
	}
	return credentials(m.Token, m.Residence)
}

func credentials(token, residence []byte) error {
	if len(token) > MaxTokenBytes || len(residence) > maxResident {
		return fmt.Errorf("a token of %d bytes, a residence of %d", len(token), len(residence))
	}
	return nil
}

func (m *Accepted) check() error {
	if m.After >= sequenceLimit || m.Next == 0 || m.Next > sequenceLimit || m.Source.IsZero() {
		return errSequence
	}
	return nil
}

func (m *Refused) check() error {
	if !m.Code.Valid() || len(m.Text) > MaxText {
		return fmt.Errorf("code %d, %d bytes of text", m.Code, len(m.Text))
	}
	return nil
}

func (m *Gap) check() error {
	if m.From == 0 || m.To < m.From || m.To >= sequenceLimit {
		return fmt.Errorf("from %d to %d", m.From, m.To)
	}
	return nil
}

func (m *Cursors) check() error {
	if len(m.List) > MaxCursors {
		return fmt.Errorf("%d of them", len(m.List))
	}
	return nil
}

func (m *Window) check() error {
	if m.Bytes > 1<<32 {
		return fmt.Errorf("%d bytes", m.Bytes)
	}
	return nil
}

func (m *Fetch) check() error {
	if m.After >= m.Until || m.Until >= sequenceLimit {
		return fmt.Errorf("after %d until %d", m.After, m.Until)
	}
	return nameAndVersion(m.Channel, m.Version)
}

func (m *Publish) check() error {
	if len(m.Payloads) == 0 || len(m.Payloads) > MaxPublish {
		return fmt.Errorf("%d payloads", len(m.Payloads))
	}

	for _, p := range m.Payloads {
		if len(p) > MaxPayload {
			return fmt.Errorf("a payload of %d bytes", len(p))
		}
	}

	if err := credentials(m.Token, m.Residence); err != nil {
		return err
	}
	return nameAndVersion(m.Channel, m.Version)
}

func (m *Carry) check() error {
	if m.Version != Version {
		return fmt.Errorf("version %d, this node speaks %d", m.Version, Version)
	}
	if m.From.IsZero() || len(m.Effects) == 0 || len(m.Effects) > MaxCarry || m.To.IsZero() == (m.Channel == "") {
		return fmt.Errorf("%d effects of %s to %q and %s", len(m.Effects), m.From, m.Channel, m.To)
	}

	for i, e := range m.Effects {
		if len(e.Payload) > MaxPayload || e.Epoch >= sequenceLimit || e.Number >= sequenceLimit {
			return fmt.Errorf("effect %d of %d bytes", e.Number, len(e.Payload))
		}
		if i > 0 && cmp.Or(cmp.Compare(m.Effects[i-1].Epoch, e.Epoch), cmp.Compare(m.Effects[i-1].Number, e.Number)) >= 0 {
			return errors.New("the effects are not in order")
		}
	}

	if m.Channel != "" {
		if err := identity.ValidChannel(m.Channel); err != nil {
			return err
		}
	}
	return credentials(m.Token, m.Residence)
}

func (m *Carried) check() error {
	if m.Epoch >= sequenceLimit || m.Number >= sequenceLimit {
		return errSequence
	}
	return nil
}

func (m *Published) check() error {
	if m.First == 0 || m.First >= sequenceLimit {
		return errSequence
	}
	return nil
}

func (m *Revocations) check() error {
	if len(m.List) > MaxRevoke {
		return fmt.Errorf("%d of them", len(m.List))
	}
	return nil
}

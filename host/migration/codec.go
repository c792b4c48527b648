package migration

import (
	"errors"
	"fmt"

	"wasmhost/wire/canon"
)

// ErrBadMessage is wrapped by every error of Decode.
var ErrBadMessage = errors.New("malformed migration message")

// Encode appends m to dst: one byte that tells the message, then its canonical
// CBOR.
func Encode(dst []byte, m Message) ([]byte, error) {
	out, err := canon.Append(append(dst, m.kind()), m)
	if err != nil {
		return dst, fmt.Errorf("encoding a %T: %w", m, err)
	}
	return out, nil
}

// Decode reads what Encode wrote. The message does not alias b.
func Decode(b []byte) (Message, error) {
	if len(b) == 0 {
		return nil, fmt.Errorf("%w: empty", ErrBadMessage)
	}
	if len(b) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrBadMessage, len(b), MaxMessage)
	}
	m := blank(b[0])
	if m == nil {
		return nil, fmt.Errorf("%w: unknown kind %d", ErrBadMessage, b[0])
	}
	if err := canon.Unmarshal(b[1:], m); err != nil {
		return nil, fmt.Errorf("%w: %T: %w", ErrBadMessage, m, err)
	}
	if c, ok := m.(interface{ check() error }); ok {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("%w: %T: %w", ErrBadMessage, m, err)
		}
	}
	return m, nil
}

func blank(kind byte) Message {
	for _, m := range []Message{&Offer{}, &Accept{}, &Refuse{}, &ModuleChunk{}, &HistoryBatch{}, &SnapshotChunk{},
		&Ready{}, &Tail{}, &Prepared{}, &Release{}, &Done{}, &Ask{}, &Hold{}, &Arrived{}} {
		if m.kind() == kind {
			return m
		}
	}
	return nil
}

func (m *Offer) check() error {
	if n := len(m.Module); n != 0 && n != 32 {
		return fmt.Errorf("module digest of %d bytes", n)
	}
	if len(m.Name) > 255 || len(m.Kind) > 255 {
		return errors.New("name or kind longer than 255 bytes")
	}
	if m.Epoch == 0 || m.Epoch == ^uint64(0) {
		return fmt.Errorf("epoch %d", m.Epoch)
	}
	return nil
}

func (m *Refuse) check() error {
	if !m.Code.Valid() {
		return fmt.Errorf("unknown reason code %d", uint16(m.Code))
	}
	if len(m.Text) > MaxText {
		return fmt.Errorf("text of %d bytes", len(m.Text))
	}
	return nil
}

func (m *ModuleChunk) check() error   { return chunkLen(len(m.Bytes)) }
func (m *SnapshotChunk) check() error { return chunkLen(len(m.Bytes)) }

func chunkLen(n int) error {
	if n > MaxChunk {
		return fmt.Errorf("chunk of %d bytes, at most %d are allowed", n, MaxChunk)
	}
	return nil
}

func (m *Ready) check() error    { return hashLen(m.Head) }
func (m *Prepared) check() error { return hashLen(m.Head) }
func (m *Release) check() error {
	if m.Epoch < 2 {
		return fmt.Errorf("epoch %d", m.Epoch)
	}
	return hashLen(m.Head)
}

func hashLen(b []byte) error {
	if len(b) != 32 {
		return fmt.Errorf("head of %d bytes", len(b))
	}
	return nil
}

// NewRefuse makes a Refuse of err, with its text cut to MaxText.
func NewRefuse(err *Error) *Refuse {
	text := err.Text
	if len(text) > MaxText {
		text = text[:MaxText]
		for len(text) > 0 && text[len(text)-1]&0xc0 == 0x80 {
			text = text[:len(text)-1]
		}
		if n := len(text); n > 0 && text[n-1] >= 0xc0 {
			text = text[:n-1]
		}
	}
	return &Refuse{Code: err.Code, Text: text}
}

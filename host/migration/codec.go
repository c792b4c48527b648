package migration

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// ErrBadMessage is wrapped by every error of Decode.
var ErrBadMessage = errors.New("malformed migration message")

// Encode appends m to dst: one byte that tells the message, then its canonical
// CBOR.
func Encode(dst []byte, m Message) ([]byte, error) {
	if b, ok := m.(*Blocks); ok {
		return b.append(dst), nil
	}
	out, err := canon.Append(append(dst, m.kind()), m)
	if err != nil {
		return dst, fmt.Errorf("encoding a %T: %w", m, err)
	}
	return out, nil
}

// append writes what canon.Append would, without reflection and a copy.
func (m *Blocks) append(dst []byte) []byte {
	dst = append(dst, m.kind(), 0x83)
	for _, b := range [][]byte{m.Index, m.Bytes} {
		dst = append(canon.AppendHead(dst, 2, uint64(len(b))), b...)
	}
	if m.S2 {
		return append(dst, 0xf5)
	}
	return append(dst, 0xf4)
}

// parse reads what append wrote, without a copy.
func (m *Blocks) parse(b []byte) (err error) {
	if len(b) == 0 || b[0] != 0x83 {
		return fmt.Errorf("%w: not an array of 3", canon.ErrContent)
	}
	if m.Index, b, err = canon.CutBytes(b[1:]); err != nil {
		return err
	}
	if m.Bytes, b, err = canon.CutBytes(b); err != nil {
		return err
	}
	if len(b) != 1 || b[0] != 0xf4 && b[0] != 0xf5 {
		return fmt.Errorf("%w: no boolean at its end", canon.ErrContent)
	}

	m.S2 = b[0] == 0xf5
	return nil
}

// Decode reads what Encode wrote. Only Blocks alias b.
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

	decode := func(b []byte) error { return canon.Unmarshal(b, m) }
	if blocks, ok := m.(*Blocks); ok {
		decode = blocks.parse
	}

	if err := decode(b[1:]); err != nil {
		return nil, fmt.Errorf("%w: %T: %w", ErrBadMessage, m, err)
	}
	if c, ok := m.(interface{ check() error }); ok {
		if err := c.check(); err != nil {
			return nil, fmt.Errorf("%w: %T: %w", ErrBadMessage, m, err)
		}
	}

	return m, nil
}

var variants = canon.VariantsOf[Message](Message.kind, &Offer{}, &Accept{}, &Refuse{}, &ModuleChunk{}, &HistoryBatch{}, &SnapshotChunk{},
	&Ready{}, &Tail{}, &Prepared{}, &Release{}, &Done{}, &Ask{}, &Hold{}, &Arrived{}, &Order{}, &Step{}, &Outcome{},
	&Blocks{}, &Memory{}, &Caught{}, &Receipts{}, &Receipt{}, &Bound{}, &BareOffer{}, &Holds{}, &Earlier{}, &EarlierWanted{}, &EarlierChunk{})

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
	if len(m.Limits) > maxLimits {
		return fmt.Errorf("%d limits", len(m.Limits))
	}

	for name := range m.Limits {
		if len(name) > maxLimitName {
			return fmt.Errorf("a limit with a name of %d bytes", len(name))
		}
	}
	return nil
}

// maxLimitName is more bytes than a limit's name has.
const maxLimitName = 64 // bytes of a limit's name

// maxLimits is more than there are limits.
const maxLimits = 64 // limits of a daemon in an offer

func (m *Blocks) check() error {
	n := len(m.Index) / 4
	if n == 0 || n > MaxBlocks || len(m.Index)%4 != 0 {
		return fmt.Errorf("%d bytes of indices, for 1 to %d blocks", len(m.Index), MaxBlocks)
	}
	if !m.S2 && len(m.Bytes) != n*BlockBytes || len(m.Bytes) > MaxBlocks*BlockBytes {
		return fmt.Errorf("%d bytes for %d blocks", len(m.Bytes), n)
	}
	return nil
}

func (m *Refuse) check() error { return reasonOK(m.Code, m.Text) }

func reasonOK(code Code, text string) error {
	if !code.Valid() {
		return fmt.Errorf("unknown reason code %d", uint16(code))
	}
	if len(text) > MaxText {
		return fmt.Errorf("text of %d bytes", len(text))
	}
	return nil
}

func (m *ModuleChunk) check() error   { return chunkLen(len(m.Bytes)) }
func (m *SnapshotChunk) check() error { return chunkLen(len(m.Bytes)) }

func chunkLen(n int) error {
	if n == 0 || n > MaxChunk {
		return fmt.Errorf("chunk of %d bytes, 1 to %d are allowed", n, MaxChunk)
	}
	return nil
}

func (m *HistoryBatch) check() error { return someRecords(m.Records) }

func (m *Tail) check() error {
	if m.More && len(m.Records) == 0 && !m.Adopt {
		return errors.New("no records, and more to follow")
	}
	return nil
}

func someRecords(records [][]byte) error {
	if len(records) == 0 {
		return errors.New("no records")
	}
	return nil
}

func (m *Ready) check() error    { return errors.Join(hashLen(m.Head), rootLen(m.Root)) }
func (m *Prepared) check() error { return errors.Join(hashLen(m.Head), rootLen(m.Root)) }

func rootLen(b []byte) error {
	if n := len(b); n != 0 && n != 32 {
		return fmt.Errorf("hash of memory of %d bytes", n)
	}
	return nil
}

func (m *Release) check() error {
	if m.Epoch < 2 {
		return fmt.Errorf("epoch %d", m.Epoch)
	}
	if len(m.Checkpoint) > maxSigned || len(m.Envelope) > maxSigned {
		return fmt.Errorf("a checkpoint of %d bytes, an envelope of %d; at most %d", len(m.Checkpoint), len(m.Envelope), maxSigned)
	}
	return hashLen(m.Head)
}

// maxSigned is more bytes than a checkpoint has, or a sealed identity.
const maxSigned = 4096

func (m *Order) check() error {
	if m.RetryNotReady > uint64(MaxRetryNotReady) {
		return fmt.Errorf("retry for %d ns, at most %v", m.RetryNotReady, MaxRetryNotReady)
	}
	if b := &m.Bounds; max(b.Downtime, b.Deadline, b.Rate) > math.MaxInt64 || b.Rounds > MaxRounds {
		return fmt.Errorf("bounds %+v", *b)
	}
	return nil
}

func (m *Step) check() error {
	if m.Phase < Snapshot || m.Phase.Terminal() || m.Phase > Aborted {
		return fmt.Errorf("a step in %s", m.Phase)
	}
	if max(m.Bytes, m.Done, m.Whole) > math.MaxInt64 || len(m.Rounds) > 1 {
		return fmt.Errorf("%d bytes, %d rounds", m.Bytes, len(m.Rounds))
	}
	return passesOK(m.Rounds)
}

func passesOK(all []Pass) error {
	if len(all) > maxPasses {
		return fmt.Errorf("%d rounds", len(all))
	}

	for _, p := range all {
		if len(p.How) > 32 || max(p.Number, p.Records, p.Blocks, p.Bytes, p.Took, p.Left, p.Slowed) > math.MaxInt64 {
			return fmt.Errorf("a round of %d bytes, in %d ns", p.Bytes, p.Took)
		}
	}
	return nil
}

// maxPasses is more than a migration may have rounds.
const maxPasses = 1100

func (m *Done) check() error { return receiptLen(m.Receipt) }

func (m *Receipt) check() error { return receiptLen(m.Bytes) }

func (m *Bound) check() error { return unboundOK(m.Unbound) }

func unboundOK(list []Unbound) error {
	if len(list) > MaxUnbound {
		return fmt.Errorf("%d subscriptions", len(list))
	}

	for _, u := range list {
		if identity.ValidChannel(u.Channel) != nil || len(u.Text) > MaxText {
			return fmt.Errorf("a subscription to %.300q, %d bytes of text", u.Channel, len(u.Text))
		}
	}
	return nil
}

// NewUnbound makes an Unbound of err, with its text cut to MaxText.
func NewUnbound(publisher identity.NodeID, channel string, code uint16, err error) Unbound {
	return Unbound{Publisher: publisher, Channel: channel, Code: code, Text: cut(strings.ToValidUTF8(err.Error(), "?"))}
}

func (m *Receipts) check() error {
	if len(m.All) > MaxReceipts {
		return fmt.Errorf("%d receipts", len(m.All))
	}

	for _, b := range m.All {
		if err := receiptLen(b); err != nil {
			return err
		}
	}
	return nil
}

func receiptLen(b []byte) error {
	if len(b) > MaxReceipt {
		return fmt.Errorf("a receipt of %d bytes", len(b))
	}
	return nil
}

func (m *Outcome) check() error {
	if len(m.Took) > int(Aborted) || len(m.Failures) > 1 || (len(m.Failures) == 1) != (m.Epoch == 0) {
		return fmt.Errorf("epoch %d, %d phases and %d failures", m.Epoch, len(m.Took), len(m.Failures))
	}
	if m.Downtime > math.MaxInt64 || m.Bytes > math.MaxInt64 {
		return fmt.Errorf("%d bytes, downtime %d ns", m.Bytes, m.Downtime)
	}

	for _, s := range m.Took {
		if s.Phase < Snapshot || s.Phase > Aborted || s.Took > math.MaxInt64 {
			return fmt.Errorf("%d ns in %s", s.Took, s.Phase)
		}
	}

	if err := errors.Join(receiptLen(m.Receipt), passesOK(m.Rounds), unboundOK(m.Unbound)); err != nil {
		return err
	}

	for _, f := range m.Failures {
		if f.Attempts > math.MaxInt32 {
			return fmt.Errorf("%d attempts", f.Attempts)
		}
		if err := reasonOK(f.Code, f.Text); err != nil {
			return err
		}
	}

	return nil
}

func hashLen(b []byte) error {
	if len(b) != 32 {
		return fmt.Errorf("head of %d bytes", len(b))
	}
	return nil
}

// NewRefuse makes a Refuse of err, with its text cut to MaxText.
func NewRefuse(err *Error) *Refuse { return &Refuse{Code: err.Code, Text: cut(err.Text)} }

// NewFailure makes a Failure of err, with its text cut to MaxText.
func NewFailure(err *Error) Failure {
	return Failure{Code: err.Code, Text: cut(err.Text), Attempts: uint64(err.Attempts)}
}

// Err is the Error that the failure was made of.
func (f *Failure) Err() *Error {
	return &Error{Code: f.Code, Text: f.Text, Attempts: int(f.Attempts)}
}

// cut shortens text to MaxText bytes, at the end of a character.
func cut(text string) string {
	if len(text) > MaxText {
		text = text[:MaxText]
		for len(text) > 0 && text[len(text)-1]&0xc0 == 0x80 {
			text = text[:len(text)-1]
		}
		if n := len(text); n > 0 && text[n-1] >= 0xc0 {
			text = text[:n-1]
		}
	}
	return text
}

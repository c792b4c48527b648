package snapshot

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"wasmhost.example/host/budget"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/effect"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Version is the version of the snapshot format below. What the store keeps has
// no lasting facts: without them a snapshot is written as version 3, which ends before
// them, without effects either as version 2, and without subscriptions either as
// version 1.
const (
	Version        = 4
	effectSnapshot = 3
	boundSnapshot  = 2
	plainSnapshot  = 1
)

// Snapshot is all that another host needs to become this daemon. Encoded, it
// is a canonical CBOR array of three: the header, the checkpoint that signs
// it, and the state.
type Snapshot struct {
	Header     Header
	Checkpoint chain.Checkpoint // PurposeSnapshot; State is the hash of the canonical header
	State      []byte           // as Header.Form says; not nil but empty is a state too

	// Where the state was captured here it is the end of buf, which begins with
	// so much room for what stands before it.
	buf  []byte
	room int

	file *store.StateFile // that has the state, where State has not
}

// Header is everything of a snapshot but its state.
type Header struct {
	_           struct{} `cbor:",toarray"`
	Version     uint8
	Entity      identity.EntityID
	Name        string
	Kind        string
	Module      []byte // SHA-256 of the module, 32 bytes; empty for a native daemon
	Config      []byte // what the daemon was initialised with
	Epoch       uint64
	Through     uint64 // sequence of the head
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64           // how many events the daemon has applied
	LastTime    int64            // recorded time of the last of them, Unix nanoseconds
	Horizon     []SenderMark     // sorted by sender; no sender twice
	Form        Form             // what State is
	StateHash   chain.Hash       // SHA-256 of State
	CreatedAt   int64            // Unix nanoseconds
	Envelope    []byte           // the identity sealed to the node that took the snapshot; may be empty
	Limits      map[string]int64 // of the daemon's own, by name
	Bindings    []byte           // its subscriptions, as package channel encodes a ledger
	Effects     []byte           // its grants, timers and what is on its way, as package effect encodes them
	Lasting     []byte           // what it keeps for life; see Spawned, Previous. Empty: not said
}

// plainHeader is a Header of version 1.
type plainHeader struct {
	_           struct{} `cbor:",toarray"`
	Version     uint8
	Entity      identity.EntityID
	Name        string
	Kind        string
	Module      []byte
	Config      []byte
	Epoch       uint64
	Through     uint64
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64
	LastTime    int64
	Horizon     []SenderMark
	Form        Form
	StateHash   chain.Hash
	CreatedAt   int64
	Envelope    []byte
	Limits      map[string]int64
}

func (h *Header) plain() *plainHeader {
	return &plainHeader{Version: h.Version, Entity: h.Entity, Name: h.Name, Kind: h.Kind, Module: h.Module, Config: h.Config, Epoch: h.Epoch,
		Through: h.Through, Head: h.Head, HeadPayload: h.HeadPayload, Applied: h.Applied, LastTime: h.LastTime, Horizon: h.Horizon,
		Form: h.Form, StateHash: h.StateHash, CreatedAt: h.CreatedAt, Envelope: h.Envelope, Limits: h.Limits}
}

func (p *plainHeader) full() Header {
	return Header{Version: p.Version, Entity: p.Entity, Name: p.Name, Kind: p.Kind, Module: p.Module, Config: p.Config, Epoch: p.Epoch,
		Through: p.Through, Head: p.Head, HeadPayload: p.HeadPayload, Applied: p.Applied, LastTime: p.LastTime, Horizon: p.Horizon,
		Form: p.Form, StateHash: p.StateHash, CreatedAt: p.CreatedAt, Envelope: p.Envelope, Limits: p.Limits}
}

// boundHeader is a Header of version 2.
type boundHeader struct {
	_           struct{} `cbor:",toarray"`
	Version     uint8
	Entity      identity.EntityID
	Name        string
	Kind        string
	Module      []byte
	Config      []byte
	Epoch       uint64
	Through     uint64
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64
	LastTime    int64
	Horizon     []SenderMark
	Form        Form
	StateHash   chain.Hash
	CreatedAt   int64
	Envelope    []byte
	Limits      map[string]int64
	Bindings    []byte
}

func (h *Header) bound() *boundHeader {
	return &boundHeader{Version: h.Version, Entity: h.Entity, Name: h.Name, Kind: h.Kind, Module: h.Module, Config: h.Config, Epoch: h.Epoch,
		Through: h.Through, Head: h.Head, HeadPayload: h.HeadPayload, Applied: h.Applied, LastTime: h.LastTime, Horizon: h.Horizon,
		Form: h.Form, StateHash: h.StateHash, CreatedAt: h.CreatedAt, Envelope: h.Envelope, Limits: h.Limits, Bindings: h.Bindings}
}

func (p *boundHeader) full() Header {
	return Header{Version: p.Version, Entity: p.Entity, Name: p.Name, Kind: p.Kind, Module: p.Module, Config: p.Config, Epoch: p.Epoch,
		Through: p.Through, Head: p.Head, HeadPayload: p.HeadPayload, Applied: p.Applied, LastTime: p.LastTime, Horizon: p.Horizon,
		Form: p.Form, StateHash: p.StateHash, CreatedAt: p.CreatedAt, Envelope: p.Envelope, Limits: p.Limits, Bindings: p.Bindings}
}

// effectHeader is a Header of version 3.
type effectHeader struct {
	_           struct{} `cbor:",toarray"`
	Version     uint8
	Entity      identity.EntityID
	Name        string
	Kind        string
	Module      []byte
	Config      []byte
	Epoch       uint64
	Through     uint64
	Head        chain.Link
	HeadPayload []byte
	Applied     uint64
	LastTime    int64
	Horizon     []SenderMark
	Form        Form
	StateHash   chain.Hash
	CreatedAt   int64
	Envelope    []byte
	Limits      map[string]int64
	Bindings    []byte
	Effects     []byte
}

func (h *Header) effect() *effectHeader {
	return &effectHeader{Version: h.Version, Entity: h.Entity, Name: h.Name, Kind: h.Kind, Module: h.Module, Config: h.Config, Epoch: h.Epoch,
		Through: h.Through, Head: h.Head, HeadPayload: h.HeadPayload, Applied: h.Applied, LastTime: h.LastTime, Horizon: h.Horizon,
		Form: h.Form, StateHash: h.StateHash, CreatedAt: h.CreatedAt, Envelope: h.Envelope, Limits: h.Limits, Bindings: h.Bindings, Effects: h.Effects}
}

func (p *effectHeader) full() Header {
	return Header{Version: p.Version, Entity: p.Entity, Name: p.Name, Kind: p.Kind, Module: p.Module, Config: p.Config, Epoch: p.Epoch,
		Through: p.Through, Head: p.Head, HeadPayload: p.HeadPayload, Applied: p.Applied, LastTime: p.LastTime, Horizon: p.Horizon,
		Form: p.Form, StateHash: p.StateHash, CreatedAt: p.CreatedAt, Envelope: p.Envelope, Limits: p.Limits, Bindings: p.Bindings, Effects: p.Effects}
}

// FormVersion is the version that a header is written as.
func (h *Header) FormVersion() uint8 {
	switch {
	case len(h.Lasting) > 0:
		return Version
	case len(h.Effects) > 0:
		return effectSnapshot
	case len(h.Bindings) > 0:
		return boundSnapshot
	}
	return plainSnapshot
}

// encode returns the header's canonical bytes.
func (h *Header) encode() ([]byte, error) {
	var v any = h
	switch h.Version {
	case effectSnapshot:
		v = h.effect()
	case boundSnapshot:
		v = h.bound()
	case plainSnapshot:
		v = h.plain()
	}
	b, err := canon.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encoding a snapshot's header: %w", err)
	}
	return b, nil
}

// Form is what a snapshot's state is.
type Form uint8

// The forms of state.
const (
	FormNone   Form = iota // empty, and not to be restored: the daemon keeps nothing
	FormGiven              // what the daemon's own code gave (wasmhost_snapshot), for it to restore
	FormMemory             // captured memory, for the same module
	FormBlocks             // what a memory is apart from its blocks; they came before, in a migration

	FormDelta // what changed since the snapshot before; in a store alone
)

var formNames = [...]string{"none", "given", "memory", "blocks", "delta"}

// String returns the form's name.
func (f Form) String() string {
	if int(f) < len(formNames) {
		return formNames[f]
	}
	return fmt.Sprintf("form %d", uint8(f))
}

// SenderMark says up to which number a sender's events are applied.
type SenderMark struct {
	_      struct{} `cbor:",toarray"`
	Sender identity.EntityID
	Number uint64
	Time   int64 // when its last event was recorded, Unix nanoseconds
}

// Encode returns the snapshot's canonical bytes, a copy of the state included.
// WriteTo needs no copy.
func (s *Snapshot) Encode() ([]byte, error) {
	var buf bytes.Buffer
	if _, err := s.WriteTo(&buf); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// WriteTo writes the snapshot's canonical bytes.
func (s *Snapshot) WriteTo(w io.Writer) (int64, error) {
	head, err := s.Front(nil)
	if err != nil {
		return 0, err
	}
	n, err := w.Write(head)
	if err != nil {
		return int64(n), err
	}
	m, err := w.Write(s.State)
	return int64(n + m), err
}

// Front appends what stands before the state to b.
func (s *Snapshot) Front(b []byte) ([]byte, error) {
	header, err := s.Header.encode()
	if err != nil {
		return nil, err
	}
	b = append(append(b, 0x83), header...)
	if b, err = canon.Append(b, &s.Checkpoint); err != nil {
		return nil, fmt.Errorf("encoding a snapshot's checkpoint: %w", err)
	}
	size := uint64(len(s.State))
	if s.file != nil {
		size = uint64(s.file.Size())
	}
	return canon.AppendHead(b, 2, size), nil
}

// frontRoom is how much room is left before a state that is captured: enough
// for a header with few senders.
const frontRoom = 4 << 10

// Buffer takes a state that has at most limit bytes. What is large goes to a
// file, where apart makes one.
type Buffer struct {
	b     []byte
	size  int64
	limit int64
	apart func() (*store.StateFile, error)
	most  int64 // from how many bytes on
	file  *store.StateFile
}

// NewBuffer returns a buffer of a state of at most limit bytes, captured or given.
func NewBuffer(limit int64) *Buffer {
	return &Buffer{b: make([]byte, frontRoom), limit: limit + captureSlack}
}

// Spill has a state of most bytes or more go to a file.
func (s *Buffer) Spill(most int64, apart func() (*store.StateFile, error)) {
	s.most, s.apart = most, apart
}

// Bytes returns what was written, where no file has it.
func (s *Buffer) Bytes() []byte { return s.b[frontRoom:] }

// Write adds to the state. ErrStateTooLarge.
func (s *Buffer) Write(b []byte) (int, error) {
	if s.size += int64(len(b)); s.size > s.limit {
		return 0, fmt.Errorf("%w: it has more than %d bytes", daemon.ErrStateTooLarge, s.limit)
	}
	if s.file == nil && s.apart != nil && s.size >= s.most {
		var err error
		if s.file, err = s.apart(); err != nil {
			return 0, err
		}
		if _, err = s.file.Write(s.b[frontRoom:]); err != nil {
			return 0, err
		}
		s.b = nil
	}
	if s.file != nil {
		return s.file.Write(b)
	}
	s.b = append(s.b, b...)
	return len(b), nil
}

// Capture makes what was written to the buffer the state. Where a file has it, the header's
// StateHash is that of the file.
func (s *Snapshot) Capture(from *Buffer) {
	if s.file = from.file; s.file != nil {
		s.Header.StateHash = s.file.Digest()
		return
	}
	s.buf, s.room, s.State = from.b, frontRoom, from.Bytes()
}

// StateFile returns the file that has the state; nil: State has it.
func (s *Snapshot) StateFile() *store.StateFile { return s.file }

// PutApart notes that the file has the state, which is given up.
func (s *Snapshot) PutApart(file *store.StateFile) {
	s.State, s.buf, s.room, s.file = nil, nil, 0, file
}

// AppendTo appends the snapshot's canonical bytes, with the state, to prefix. A state that
// was captured here is not copied: the bytes are in its buffer, and the snapshot's no more.
func (s *Snapshot) AppendTo(prefix []byte) ([]byte, error) {
	front, err := s.Front(prefix)
	if err != nil {
		return nil, err
	}

	if at := s.room - len(front); at >= 0 { // right before the state
		copy(s.buf[at:], front)
		return s.buf[at:], nil
	}
	return append(append(make([]byte, 0, len(front)+len(s.State)), front...), s.State...), nil
}

// Bounds of what stands before a snapshot's state, encoded: the header holds
// at most 2^17 senders.
const (
	maxHeaderBytes     = daemon.MaxSnapshotRest
	maxCheckpointBytes = 64 << 10 // bytes of its checkpoint
)

// Decode reads what Encode wrote, and keeps b: it is the state's. It
// checks form, bounds and the hash of the state, but no signature: that is
// Verify's. Every error wraps ErrBadSnapshot.
func Decode(b []byte) (*Snapshot, error) { return DecodeForm(b, FormBlocks) }

// DecodeForm is Decode of forms up to most.
func DecodeForm(b []byte, most Form) (*Snapshot, error) {
	in := bytes.NewReader(b)
	return ReadForm(in, most, func(r *canon.Reader, n uint64) ([]byte, error) {
		if n > uint64(len(b)) {
			return nil, canon.ErrTruncated
		}
		// What follows the state is for the reader to see.
		if _, err := io.CopyN(io.Discard, r, int64(n)); err != nil {
			return nil, canon.ErrTruncated
		}
		end := r.Offset()
		return b[end-int(n) : end : end], nil
	})
}

// Read is Decode of a stream, in which a state has at most limit
// bytes. What is wrong with the stream is returned as it is.
func Read(r io.Reader, limit int64) (*Snapshot, error) {
	return ReadForm(r, FormBlocks, func(r *canon.Reader, n uint64) ([]byte, error) {
		if n > uint64(limit) {
			return nil, fmt.Errorf("%w: a state of %d bytes, at most %d", daemon.ErrBadSnapshot, n, limit)
		}
		return r.Take(n)
	})
}

// Inspect is Read that lets the state go by: it returns how many
// bytes that has, and a snapshot without it.
func Inspect(r io.Reader) (s *Snapshot, state int64, err error) {
	hash := sha256.New()
	s, err = readHead(r, FormBlocks, func(r *canon.Reader, n uint64) (chain.Hash, error) {
		state = int64(n)
		_, err := io.CopyN(hash, r, int64(n))
		return chain.Hash(hash.Sum(nil)), err
	})
	return s, state, err
}

// decodePart decodes header or checkpoint. A header has as many fields as its
// version.
func decodePart(b []byte, into any) error {
	h, ok := into.(*Header)
	if !ok || len(b) == 0 {
		return canon.Unmarshal(b, into)
	}
	switch b[0] {
	case 0x92: // an array of 18
		var p plainHeader
		err := canon.Unmarshal(b, &p)
		*h = p.full()
		return err
	case 0x93:
		var p boundHeader
		err := canon.Unmarshal(b, &p)
		*h = p.full()
		return err
	case 0x94:
		var p effectHeader
		err := canon.Unmarshal(b, &p)
		*h = p.full()
		return err
	}
	return canon.Unmarshal(b, into)
}

func ReadForm(r io.Reader, most Form, state func(r *canon.Reader, n uint64) ([]byte, error)) (*Snapshot, error) {
	var all []byte
	s, err := readHead(r, most, func(r *canon.Reader, n uint64) (sum chain.Hash, err error) {
		if all, err = state(r, n); err != nil {
			return chain.Hash{}, err
		}
		return sha256.Sum256(all), nil
	})
	if err != nil {
		return nil, err
	}
	s.State = all
	return s, nil
}

// readHead reads a snapshot of a form up to most. state reads its state
// of n bytes and returns the hash.
func readHead(in io.Reader, most Form, state func(r *canon.Reader, n uint64) (chain.Hash, error)) (*Snapshot, error) {
	bad := func(err error) error {
		var form *canon.Error
		if errors.Is(err, daemon.ErrBadSnapshot) || !errors.As(err, &form) && !errors.Is(err, io.EOF) && !errors.Is(err, canon.ErrContent) && !errors.Is(err, canon.ErrTruncated) {
			return err
		}
		return fmt.Errorf("%w: %w", daemon.ErrBadSnapshot, err)
	}
	r, s := canon.NewReader(in), &Snapshot{}
	n, err := r.Array()
	if err == nil && n != 3 {
		err = fmt.Errorf("%w: an array of %d", daemon.ErrBadSnapshot, n)
	}
	for _, part := range []struct {
		into any
		most uint64
	}{{&s.Header, maxHeaderBytes}, {&s.Checkpoint, maxCheckpointBytes}} {
		var b []byte
		if err == nil {
			b, err = r.Item(part.most)
		}
		if err == nil {
			err = decodePart(b, part.into)
		}
	}
	if err == nil {
		n, err = r.String()
	}
	if err != nil {
		return nil, bad(err)
	}
	if err := s.Header.check(most); err != nil {
		return nil, fmt.Errorf("%w: %w", daemon.ErrBadSnapshot, err)
	}
	sum, err := state(r, n)
	if err == nil {
		err = r.End()
	}
	if err != nil {
		return nil, bad(err)
	}
	if sum != s.Header.StateHash {
		return nil, fmt.Errorf("%w: the state does not have the hash that the header names", daemon.ErrBadSnapshot)
	}
	if err := s.checkCheckpoint(); err != nil {
		return nil, fmt.Errorf("%w: %w", daemon.ErrBadSnapshot, err)
	}
	return s, nil
}

func (h *Header) check(most Form) error {
	switch {
	case h.Version < plainSnapshot || h.Version > Version:
		return fmt.Errorf("version %d, this program reads versions %d to %d", h.Version, plainSnapshot, Version)
	case h.Version != h.FormVersion():
		return fmt.Errorf("version %d with %d bytes of subscriptions, %d of effects and %d of facts", h.Version, len(h.Bindings), len(h.Effects), len(h.Lasting))
	case len(h.Module) != 0 && len(h.Module) != 32:
		return fmt.Errorf("module digest of %d bytes", len(h.Module))
	case h.Epoch == 0:
		return errors.New("epoch 0")
	case h.Form > most:
		return fmt.Errorf("state of %s", h.Form)
	case max(h.Epoch, h.Through, h.Applied) >= chain.CountLimit:
		return fmt.Errorf("epoch %d, sequence %d, %d events: no daemon gets there", h.Epoch, h.Through, h.Applied)
	case h.Head.Horizon > h.Applied:
		return fmt.Errorf("the head stands for %d events, %d were applied", h.Head.Horizon, h.Applied)
	case h.Head.Sequence != h.Through:
		return fmt.Errorf("head at sequence %d, header says %d", h.Head.Sequence, h.Through)
	case h.Head.Origin != h.Entity:
		return errors.New("the head belongs to another origin")
	case h.Head.Epoch > h.Epoch:
		return errors.New("the head is of a later epoch than the snapshot")
	}
	if _, err := channel.DecodeLedger(h.Bindings); err != nil {
		return err
	}
	if _, err := effect.Decode(h.Effects); err != nil {
		return err
	}
	if _, err := h.Facts(); err != nil {
		return err
	}
	sorted := slices.IsSortedFunc(h.Horizon, func(a, b SenderMark) int {
		if c := a.Sender.Compare(b.Sender); c != 0 {
			return c
		}
		return 1 // the same sender twice is not sorted
	})
	if !sorted && len(h.Horizon) > 1 {
		return errors.New("the horizon is not sorted, or has a sender twice")
	}
	return nil
}

func (s *Snapshot) checkCheckpoint() error {
	c, h := &s.Checkpoint, &s.Header
	sum, err := h.sum()
	if err != nil {
		return err
	}
	if c.Purpose != chain.PurposeSnapshot || c.Entity != h.Entity || c.Epoch != h.Epoch || c.Sequence != h.Through ||
		c.Head != h.Head.Hash(h.HeadPayload) || !bytes.Equal(c.State, sum[:]) {
		return errors.New("the checkpoint is not of this snapshot")
	}
	return nil
}

func (h *Header) sum() (chain.Hash, error) {
	b, err := h.encode()
	if err != nil {
		return chain.Hash{}, err
	}
	return sha256.Sum256(b), nil
}

// Seal fills the checkpoint and signs it with key.
func (s *Snapshot) Seal(key *identity.KeyPair) error {
	h := &s.Header
	sum, err := h.sum()
	if err != nil {
		return err
	}
	s.Checkpoint = chain.Checkpoint{Purpose: chain.PurposeSnapshot, Entity: h.Entity, Epoch: h.Epoch, Sequence: h.Through,
		Head: h.Head.Hash(h.HeadPayload), State: sum[:]}
	return s.Checkpoint.Sign(key)
}

// Verify returns nil when the snapshot is signed by the daemon it is of.
func (s *Snapshot) Verify() error {
	if err := s.Checkpoint.Verify(); err != nil {
		return fmt.Errorf("the snapshot: %w", err)
	}
	return nil
}

// OpenIdentity opens the sealed identity with the key of the node that took
// the snapshot. It returns nil, nil when the snapshot carries none.
func (s *Snapshot) OpenIdentity(node *identity.KeyPair) (*identity.KeyPair, error) {
	if len(s.Header.Envelope) == 0 {
		return nil, nil
	}
	env, err := identity.ParseEnvelope(s.Header.Envelope)
	if err != nil {
		return nil, fmt.Errorf("the snapshot's identity: %w", err)
	}
	key, err := env.Open(node, s.Header.Head.Bytes(), s.Header.Entity)
	if err != nil {
		return nil, fmt.Errorf("the snapshot's identity: %w", err)
	}
	return key, nil
}

// Created returns when the snapshot was taken.
func (s *Snapshot) Created() time.Time { return time.Unix(0, s.Header.CreatedAt) }

// captureSlack is by how much a captured memory may be larger than the memory: what stands
// before its blocks, and what they take where they do not compress.
const captureSlack = maxHead + daemon.MaxStateBytes/256

// MaxStored is how many bytes any state takes that is stored.
const MaxStored = daemon.MaxStateBytes + captureSlack

// MaxBytes is how many bytes any snapshot takes, encoded.
const MaxBytes = MaxStored + maxHeaderBytes

// UploadBytes is how many bytes of requests a node of such limits must be able to hold for
// the largest of its snapshots to be restored.
func UploadBytes(l daemon.Limits) int64 {
	l = l.Over(daemon.DefaultLimits)
	return max(budget.DefaultUploads, l.StateBytes+captureSlack+maxHeaderBytes)
}

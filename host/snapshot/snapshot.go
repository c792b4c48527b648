package snapshot

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"wasmhost.example/host/budget"
	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
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

package chain

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// ErrBadFork says that a fork record is malformed, or does not hold.
var ErrBadFork = errors.New("not a valid fork record")

// ForkVersion is the version of the format of a ForkRecord.
const ForkVersion = 1

// ForkRecord is a parent's statement of what a fork began with. Its canonical
// CBOR is the payload of the fork's genesis, whose Parent is Head.
type ForkRecord struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8
	Parent   identity.EntityID
	Child    identity.EntityID
	Epoch    uint64 // of the parent's link at Sequence
	Sequence uint64 // of the parent's last output before; 0: it had none
	Head     Hash   // of that link, with its payload
	Applied  uint64 // how many events the parent had applied
	Module   []byte // SHA-256 of the code; empty for a native daemon
	State    []byte // root of the captured memory, or SHA-256 of the state that the code gave; empty: it keeps none

	Checkpoint Checkpoint // PurposeFork, the parent's; State is the hash of the fields above
}

// statement is what of a ForkRecord is signed.
type forkStatement struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8
	Parent   identity.EntityID
	Child    identity.EntityID
	Epoch    uint64
	Sequence uint64
	Head     Hash
	Applied  uint64
	Module   []byte
	State    []byte
}

func (f *ForkRecord) sum() ([]byte, error) {
	b, err := canon.Marshal(&forkStatement{Version: f.Version, Parent: f.Parent, Child: f.Child, Epoch: f.Epoch, Sequence: f.Sequence,
		Head: f.Head, Applied: f.Applied, Module: canon.OrNil(f.Module), State: canon.OrNil(f.State)})
	if err != nil {
		return nil, fmt.Errorf("encoding a fork record: %w", err)
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// Sign fills Checkpoint with the parent's signature.
func (f *ForkRecord) Sign(key *identity.KeyPair) error {
	sum, err := f.sum()
	if err != nil {
		return err
	}
	f.Checkpoint = Checkpoint{Purpose: PurposeFork, Entity: f.Parent, Epoch: f.Epoch, Sequence: f.Sequence, Head: f.Head, State: sum}
	return f.Checkpoint.Sign(key)
}

// Encode returns the record's canonical bytes.
func (f *ForkRecord) Encode() ([]byte, error) {
	b, err := canon.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("encoding a fork record: %w", err)
	}
	return b, nil
}

// DecodeFork reads what Encode wrote. It checks the form and no signature: that
// is Verify's. Every error wraps ErrBadFork.
func DecodeFork(b []byte) (*ForkRecord, error) {
	f := &ForkRecord{}
	if err := canon.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadFork, err)
	}

	switch {
	case f.Version != ForkVersion:
		return nil, fmt.Errorf("%w: version %d, this program reads version %d", ErrBadFork, f.Version, ForkVersion)
	case len(f.Module) != 0 && len(f.Module) != 32, len(f.State) != 0 && len(f.State) != 32:
		return nil, fmt.Errorf("%w: hashes of %d and %d bytes", ErrBadFork, len(f.Module), len(f.State))
	case f.Epoch == 0 || max(f.Epoch, f.Sequence, f.Applied) >= CountLimit:
		return nil, fmt.Errorf("%w: epoch %d, sequence %d, %d events", ErrBadFork, f.Epoch, f.Sequence, f.Applied)
	case f.Child == f.Parent:
		return nil, fmt.Errorf("%w: a daemon that is its own parent", ErrBadFork)
	}

	return f, nil
}

// Verify returns nil when the record is signed by the parent that it names.
func (f *ForkRecord) Verify() error {
	sum, err := f.sum()
	if err != nil {
		return err
	}

	c := &f.Checkpoint
	if c.Purpose != PurposeFork || c.Entity != f.Parent || c.Epoch != f.Epoch || c.Sequence != f.Sequence || c.Head != f.Head || !bytes.Equal(c.State, sum) {
		return fmt.Errorf("%w: its checkpoint is not of this fork", ErrBadFork)
	}
	if err := c.Verify(); err != nil {
		return fmt.Errorf("%w: %w", ErrBadFork, err)
	}

	return nil
}

// Genesis returns the fork's link before its first output, and its payload.
func (f *ForkRecord) Genesis(epoch uint64) (Link, []byte, error) {
	payload, err := f.Encode()
	return Link{Origin: f.Child, Epoch: epoch, Parent: f.Head, Horizon: f.Applied}, payload, err
}

// ForkOfGenesis reads and verifies the record in the payload of a genesis.
func ForkOfGenesis(l *Link, payload []byte) (*ForkRecord, error) {
	f, err := DecodeFork(payload)
	if err != nil {
		return nil, err
	}
	if f.Child != l.Origin || f.Head != l.Parent || f.Applied != l.Horizon {
		return nil, fmt.Errorf("%w: it is not of this genesis", ErrBadFork)
	}
	return f, f.Verify()
}

package chain

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// checkpointDomain separates a checkpoint's signature from every other.
const checkpointDomain = "wasmhost-checkpoint-v1"

// Purpose says at what occasion a checkpoint was signed.
type Purpose uint8

// The purposes. The numbers are part of the signed bytes.
const (
	PurposePeriodic Purpose = 1 // every so many outputs
	PurposeSnapshot Purpose = 2 // in a snapshot; State is the state's hash
	PurposeHandover Purpose = 3 // the source's last word before another node takes over; Epoch is the next owner's
	PurposeExport   Purpose = 4 // the seal at the end of an exported chain
	PurposeRestart  Purpose = 5 // a restored daemon's first word: its history begins here
	PurposeUpgrade  Purpose = 6 // what follows is of other code; State says of what
	PurposeMend     Purpose = 7 // the daemon was brought back by an operator's choice; State is that fact's hash
	PurposeFork     Purpose = 8 // another daemon begins with this one's state; State is the hash of what its record says
)

// Checkpoint is a daemon's signed statement of where its chain stands.
type Checkpoint struct {
	_         struct{} `cbor:",toarray"`
	Purpose   Purpose
	Entity    identity.EntityID
	Epoch     uint64
	Sequence  uint64
	Head      Hash
	State     []byte // in a snapshot, SHA-256 of its header; at a hand-over, from whom to whom; at a beginning or an upgrade, of what code; of a mending or a fork, the hash of its facts; else empty
	Signature []byte // ed25519 over the canonical CBOR of the fields above; empty when the signer holds no private key
}

// Sign fills Signature with key's. A key that cannot sign leaves it empty.
func (c *Checkpoint) Sign(key *identity.KeyPair) error {
	if !key.CanSign() {
		c.Signature = nil
		return nil
	}

	msg, err := c.message()
	if err != nil {
		return err
	}

	c.Signature, err = key.SignDomain(checkpointDomain, msg)
	return err
}

// Verify returns nil when the checkpoint is signed by its own entity. One without a
// signature is ErrUnsigned, which is an identity.ErrInvalidSignature.
func (c *Checkpoint) Verify() error {
	if len(c.Signature) == 0 {
		return fmt.Errorf("checkpoint at sequence %d: %w", c.Sequence, ErrUnsigned)
	}

	msg, err := c.message()
	if err != nil {
		return err
	}
	if err := identity.VerifyDomain(c.Entity, checkpointDomain, msg, c.Signature); err != nil {
		return fmt.Errorf("checkpoint at sequence %d: %w", c.Sequence, err)
	}

	return nil
}

// Handover is the State of a checkpoint by which a daemon moves.
func Handover(from, to identity.NodeID) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, 16), uint64(from))
	return binary.BigEndian.AppendUint64(b, uint64(to))
}

// HandoverPublic is handover where the daemon's key stays with from.
func HandoverPublic(from, to identity.NodeID) []byte { return append(Handover(from, to), 1) }

// CodeHash is the State of a checkpoint by which a daemon begins.
func CodeHash(kind string, module []byte) []byte {
	h := sha256.New()
	h.Write(canon.AppendHead(nil, 3, uint64(len(kind))))
	h.Write([]byte(kind))
	h.Write(module)
	return h.Sum(nil)
}

// verifiedCheckpoint is a checkpoint whose signature holds. Only verified makes one,
// so that who asks for it cannot be given one that was not looked at, or has none.
type verifiedCheckpoint struct{ c *Checkpoint }

// verified returns the checkpoint where it is signed by its own entity:
// identity.ErrInvalidSignature where it is not, or not at all.
func (c *Checkpoint) verified() (verifiedCheckpoint, error) {
	if err := c.Verify(); err != nil {
		return verifiedCheckpoint{}, err
	}
	return verifiedCheckpoint{c}, nil
}

func (c *Checkpoint) message() ([]byte, error) {
	bare := *c
	bare.Signature = nil
	if len(bare.State) == 0 {
		bare.State = nil
	}

	b, err := canon.Marshal(&bare)
	if err != nil {
		return nil, fmt.Errorf("encoding a checkpoint: %w", err)
	}
	return b, nil
}

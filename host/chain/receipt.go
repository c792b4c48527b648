package chain

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// ReceiptVersion is the version of the format below.
const ReceiptVersion = 1

// The domains of a receipt's two signatures.
const (
	receiptTargetDomain = "wasmhost-receipt-target-v1"
	receiptSourceDomain = "wasmhost-receipt-source-v1"
)

// ErrBadReceipt is wrapped by every error about a receipt's form or content.
var ErrBadReceipt = errors.New("not a receipt")

// ErrNoReceipt says that no receipt of that move is known.
var ErrNoReceipt = errors.New("no receipt is known")

// Receipt is what both hosts of a migration say of it. Encoded, it is canonical
// CBOR. Whoever has one can verify it with no host at hand.
type Receipt struct {
	_               struct{} `cbor:",toarray"`
	Facts           ReceiptFacts
	Target          ReceiptTarget
	TargetSignature []byte // ed25519 by the target's node key over Facts and Target
	Source          ReceiptSource
	SourceSignature []byte // ed25519 by the source's node key over all of the above
}

// ReceiptFacts are what the two must agree on.
type ReceiptFacts struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	Migration [16]byte // which attempt it was
	Entity    identity.EntityID
	Kind      string
	Module    []byte // SHA-256, 32 bytes; empty for a native daemon
	From, To  identity.NodeID
	Epoch     uint64 // under which To owns the daemon; From owned it under the one before
	Sequence  uint64 // of the last output under From
	Applied   uint64 // how many events the daemon had applied
	Head      Hash   // of the chain, at Sequence
	State     []byte // the hash of the memory (a Merkle root), the same before and after; empty where the daemon's own code carried the state
}

// ReceiptTarget is what the target says besides.
type ReceiptTarget struct {
	_         struct{}          `cbor:",toarray"`
	Key       identity.EntityID // of the node
	Activated int64             // Unix nanoseconds, by its clock
}

// ReceiptSource is what the source says besides. Times are by its clock.
type ReceiptSource struct {
	_         struct{}          `cbor:",toarray"`
	Key       identity.EntityID // of the node
	Started   int64             // Unix nanoseconds
	Confirmed int64             // when it heard that the target serves
	Downtime  uint64            // nanoseconds from the pause to Confirmed; 0 where a restart came between
	Queued    uint64            // events that waited then
	Bytes     uint64            // sent
	Rounds    uint64            // the first, of all that the daemon was, and the pause among them; 0 where a restart came between
}

// DecodeReceipt reads a receipt, strictly; it checks no signature. Every error
// wraps ErrBadReceipt.
func DecodeReceipt(b []byte) (*Receipt, error) {
	r := new(Receipt)
	if err := canon.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadReceipt, err)
	}

	f := &r.Facts
	switch {
	case f.Version != ReceiptVersion:
		return nil, fmt.Errorf("%w: version %d, this program reads version %d", ErrBadReceipt, f.Version, ReceiptVersion)
	case len(f.Module) != 0 && len(f.Module) != 32, len(f.State) != 0 && len(f.State) != 32:
		return nil, fmt.Errorf("%w: hashes of %d and %d bytes", ErrBadReceipt, len(f.Module), len(f.State))
	case len(f.Kind) > 255:
		return nil, fmt.Errorf("%w: a kind of %d bytes", ErrBadReceipt, len(f.Kind))
	case f.Epoch < 2:
		return nil, fmt.Errorf("%w: a move to epoch %d", ErrBadReceipt, f.Epoch)
	}

	return r, nil
}

// Encode returns the receipt's canonical bytes.
func (r *Receipt) Encode() ([]byte, error) { return canon.Marshal(r) }

// Digest names the receipt: SHA-256 of its canonical bytes.
func (r *Receipt) Digest() (Hash, error) {
	b, err := r.Encode()
	return sha256.Sum256(b), err
}

// Verify returns nil when both hosts have signed. Errors wrap ErrBadReceipt.
func (r *Receipt) Verify() error {
	if err := r.VerifyTarget(); err != nil {
		return err
	}
	if !r.Whole() {
		return fmt.Errorf("%w: the source has not signed it", ErrBadReceipt)
	}
	if r.Source.Key.Node() != r.Facts.From {
		return fmt.Errorf("%w: the source's key is of node %s, the daemon left %s", ErrBadReceipt, r.Source.Key.Node(), r.Facts.From)
	}

	msg, err := r.sourceMessage()
	if err != nil {
		return err
	}
	if err := identity.VerifyDomain(r.Source.Key, receiptSourceDomain, msg, r.SourceSignature); err != nil {
		return fmt.Errorf("%w: the source's signature: %w", ErrBadReceipt, err)
	}

	return nil
}

// VerifyTarget returns nil when the target has signed its half. Errors wrap
// ErrBadReceipt.
func (r *Receipt) VerifyTarget() error {
	if r.Target.Key.Node() != r.Facts.To {
		return fmt.Errorf("%w: the target's key is of node %s, the daemon went to %s", ErrBadReceipt, r.Target.Key.Node(), r.Facts.To)
	}

	msg, err := r.targetMessage()
	if err != nil {
		return err
	}
	if err := identity.VerifyDomain(r.Target.Key, receiptTargetDomain, msg, r.TargetSignature); err != nil {
		return fmt.Errorf("%w: the target's signature: %w", ErrBadReceipt, err)
	}

	return nil
}

// SignTarget makes the receipt the target's half: what it says of itself, signed.
func (r *Receipt) SignTarget(node *identity.KeyPair, says ReceiptTarget) error {
	r.Target = says
	r.Target.Key = node.ID()
	msg, err := r.targetMessage()
	if err != nil {
		return err
	}
	r.TargetSignature, err = node.SignDomain(receiptTargetDomain, msg)
	return err
}

// SignSource makes the receipt whole by what the source says of itself, signed.
func (r *Receipt) SignSource(node *identity.KeyPair, says ReceiptSource) error {
	r.Source = says
	r.Source.Key = node.ID()
	msg, err := r.sourceMessage()
	if err != nil {
		return err
	}
	r.SourceSignature, err = node.SignDomain(receiptSourceDomain, msg)
	return err
}

func (r *Receipt) targetMessage() ([]byte, error) {
	return canon.Marshal([]any{&r.Facts, &r.Target})
}

func (r *Receipt) sourceMessage() ([]byte, error) {
	return canon.Marshal([]any{&r.Facts, &r.Target, r.TargetSignature, &r.Source})
}

// Whole reports whether the source has signed: a target that has not heard it
// yet holds a receipt that is half of one.
func (r *Receipt) Whole() bool { return len(r.SourceSignature) > 0 }

// Downtime returns for how long senders may have waited.
func (r *Receipt) Downtime() time.Duration { return time.Duration(r.Source.Downtime) }

// Equal reports whether both say the same.
func (f *ReceiptFacts) Equal(o *ReceiptFacts) bool {
	a, errA := canon.Marshal(f)
	b, errB := canon.Marshal(o)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

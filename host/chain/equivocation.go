package chain

import (
	"bytes"
	"errors"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A daemon says one thing of each place of its chain, a place being an epoch and
// a sequence: a link that stands there, or a checkpoint that was signed there.
// Two statements that differ, each under the daemon's signature, prove that its
// key was used by two at a time. Whoever sees the proof can check it alone.

// Equivocation is such a proof. Its form is one: the lesser statement, in bytes,
// stands first.
type Equivocation struct {
	_          struct{} `cbor:",toarray"`
	Version    uint8
	Entity     identity.EntityID
	Statements []Statement // two
}

// EquivocationVersion is the version of the form above.
const EquivocationVersion = 1

// Statement is what a daemon's signature says of a place of its chain. Without
// links that is what the checkpoint says. Else it is that the first link stands
// at its epoch and sequence: each link follows the one before, and the checkpoint
// signs the last.
type Statement struct {
	_          struct{} `cbor:",toarray"`
	Links      []StatedLink
	Checkpoint Checkpoint
}

// StatedLink is a link with what its hash covers.
type StatedLink struct {
	_       struct{} `cbor:",toarray"`
	Link    Link
	Payload []byte
}

// DecodeStatement reads a statement, strictly; it verifies nothing. Errors wrap
// ErrBadProof.
func DecodeStatement(b []byte) (*Statement, error) {
	s := &Statement{}
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadProof, err)
	}
	if len(s.Links) > maxStatedLinks {
		return nil, fmt.Errorf("%w: a statement of %d links, at most %d", ErrBadProof, len(s.Links), maxStatedLinks)
	}
	return s, nil
}

// Bounds of a proof.
const (
	maxStatedLinks = 8192     // links of one statement
	MaxProof       = 64 << 20 // bytes of an encoded proof
)

// Errors of a proof.
var (
	ErrBadProof       = errors.New("malformed proof of equivocation")
	ErrNoEquivocation = errors.New("the two statements do not contradict each other")
)

// Conflict is what a proof proves.
type Conflict struct {
	Entity   identity.EntityID
	Epoch    uint64
	Sequence uint64  // where both statements stand; for hand-overs the lower one's
	Hashes   [2]Hash // of the links that are said to stand there
	Handover bool    // the daemon was handed over twice into the epoch
}

// newEquivocation puts two statements into their order.
func newEquivocation(id identity.EntityID, a, b Statement) (*Equivocation, error) {
	x, err := canon.Marshal(&a)
	if err != nil {
		return nil, err
	}

	y, err := canon.Marshal(&b)
	if err != nil {
		return nil, err
	}
	if bytes.Compare(x, y) > 0 {
		a, b = b, a
	}

	return &Equivocation{Version: EquivocationVersion, Entity: id, Statements: []Statement{a, b}}, nil
}

// Encode returns the proof's canonical bytes.
func (e *Equivocation) Encode() ([]byte, error) { return canon.Marshal(e) }

// DecodeEquivocation reads what Encode wrote. It checks the form and the bounds,
// and no signature: that is Verify's. Every error wraps ErrBadProof.
func DecodeEquivocation(b []byte) (*Equivocation, error) {
	if len(b) > MaxProof {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d", ErrBadProof, len(b), MaxProof)
	}

	e := &Equivocation{}
	if err := canon.Unmarshal(b, e); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadProof, err)
	}
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadProof, err)
	}

	return e, nil
}

func (e *Equivocation) check() error {
	switch {
	case e.Version != EquivocationVersion:
		return fmt.Errorf("version %d, this program reads version %d", e.Version, EquivocationVersion)
	case len(e.Statements) != 2:
		return fmt.Errorf("%d statements, not 2", len(e.Statements))
	}

	for i := range e.Statements {
		if n := len(e.Statements[i].Links); n > maxStatedLinks {
			return fmt.Errorf("a statement of %d links, at most %d", n, maxStatedLinks)
		}
	}

	ordered, err := newEquivocation(e.Entity, e.Statements[0], e.Statements[1])
	if err != nil {
		return err
	}

	a, err := ordered.Encode()
	if err != nil {
		return err
	}
	if b, err := e.Encode(); err != nil || !bytes.Equal(a, b) {
		return errors.New("the statements are not in order")
	}

	return nil
}

// Verify returns what the proof proves. Errors wrap ErrNoEquivocation, or
// ErrBadProof and what is wrong with a statement, as a chain's errors do.
func (e *Equivocation) Verify() (Conflict, error) {
	if err := e.check(); err != nil {
		return Conflict{}, fmt.Errorf("%w: %w", ErrBadProof, err)
	}

	for i := range e.Statements {
		if err := e.Statements[i].Verify(e.Entity); err != nil {
			return Conflict{}, fmt.Errorf("%w: statement %d: %w", ErrBadProof, i+1, err)
		}
	}
	return e.Conflict()
}

// Verify returns nil when the statement is the daemon's.
func (s *Statement) Verify(id identity.EntityID) error {
	c := &s.Checkpoint
	if c.Entity != id {
		return ErrOriginMismatch
	}
	if err := c.Verify(); err != nil {
		return err
	}
	if len(s.Links) == 0 {
		return nil
	}
	if s.Links[0].Link.Origin != id {
		return ErrOriginMismatch
	}

	head := &s.Links[0].Link
	hash := head.Hash(s.Links[0].Payload)
	for i := range s.Links[1:] {
		next := &s.Links[i+1]
		if err := head.Follows(hash, &next.Link); err != nil {
			return err
		}
		head, hash = &next.Link, next.Link.Hash(next.Payload)
	}

	if head.Sequence != c.Sequence || hash != c.Head || head.Epoch > c.Epoch {
		return fmt.Errorf("%w: the checkpoint signs head %s at sequence %d, the links end in %s at %d", ErrParentMismatch, c.Head, c.Sequence, hash, head.Sequence)
	}
	return nil
}

// claim is what a statement says of one place.
type claim struct {
	epoch, sequence uint64
	hash            Hash
}

// claims are of the checkpoint, and of the first link if there is one.
func (s *Statement) claims() []claim {
	c := &s.Checkpoint
	out := []claim{{c.Epoch, c.Sequence, c.Head}}
	if len(s.Links) > 0 {
		l := &s.Links[0].Link
		out = append(out, claim{l.Epoch, l.Sequence, l.Hash(s.Links[0].Payload)})
	}
	return out
}

// contradicts reports whether both claims cannot be true.
func (c claim) contradicts(o claim) bool {
	return c.epoch == o.epoch && c.sequence == o.sequence && c.hash != o.hash
}

// handedTwice reports whether two hand-overs are into one epoch and not the same.
func handedTwice(a, b *Checkpoint) bool {
	return a.Purpose == PurposeHandover && b.Purpose == PurposeHandover && a.Epoch == b.Epoch &&
		(a.Sequence != b.Sequence || a.Head != b.Head || !bytes.Equal(a.State, b.State))
}

// Conflict needs statements that are verified.
func (e *Equivocation) Conflict() (Conflict, error) {
	a, b := &e.Statements[0], &e.Statements[1]
	for _, x := range a.claims() {
		for _, y := range b.claims() {
			if x.contradicts(y) {
				return Conflict{Entity: e.Entity, Epoch: x.epoch, Sequence: x.sequence, Hashes: [2]Hash{x.hash, y.hash}}, nil
			}
		}
	}

	if x, y := &a.Checkpoint, &b.Checkpoint; handedTwice(x, y) {
		return Conflict{Entity: e.Entity, Epoch: x.Epoch, Sequence: min(x.Sequence, y.Sequence), Hashes: [2]Hash{x.Head, y.Head}, Handover: true}, nil
	}
	return Conflict{}, ErrNoEquivocation
}

// ErrEquivocated is every EquivocationError.
var ErrEquivocated = errors.New("the daemon's key has signed two histories")

// EquivocationError says that an identity is refused here, for there is a proof
// that it has said two things of one place of its chain.
type EquivocationError struct{ Conflict Conflict }

// Error implements error.
func (e *EquivocationError) Error() string {
	c := &e.Conflict
	if c.Handover {
		return fmt.Sprintf("daemon %s is refused: it was handed over twice into epoch %d, and the proof is on record", c.Entity.Origin(), c.Epoch)
	}
	return fmt.Sprintf("daemon %s is refused: its key has signed two histories, which part at epoch %d, sequence %d (%s or %s), and the proof is on record",
		c.Entity.Origin(), c.Epoch, c.Sequence, c.Hashes[0], c.Hashes[1])
}

// Is makes errors.Is(err, ErrEquivocated) hold.
func (e *EquivocationError) Is(target error) bool { return target == ErrEquivocated }

package chain

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Mend says how a daemon that cannot go on is to be brought back. What it costs
// is never chosen silently: it is a fact of the daemon's chain, signed, under a
// higher epoch.
type Mend uint8

// The ways.
const (
	// MendRetry reads the daemon from disk again, as a restart would. Nothing is
	// given up.
	MendRetry Mend = 0

	// MendSkip lets the recorded outputs stand where a replay gives others, and
	// takes the state that the replay gives: nothing acknowledged is lost, but
	// the state is not what it was.
	MendSkip Mend = 1

	// MendRollback goes back to the last stored state and drops all that came
	// after it, acknowledged outputs included.
	MendRollback Mend = 2
)

// More ways of Mend, which Migrations.Resolve takes.
const (
	// MendTakeBack makes the source of a release serve the daemon again: the
	// target is gone.
	MendTakeBack Mend = 3

	// MendClaim makes the target of a migration serve the daemon that it holds:
	// the source is gone. The daemon's key went with it, unless it was given.
	MendClaim Mend = 4

	// MendDrop makes the target let go of the daemon that it holds. No fact is
	// left, for no chain goes on here.
	MendDrop Mend = 5
)

// MendFailover is the way by which a standby serves a daemon whose owner is gone.
// The directory named it; nothing acknowledged is given up.
const MendFailover Mend = 6

// MendConfirm is the way by which an operator lets a held copy go on: what another copy
// had beyond it is given up.
const MendConfirm Mend = 7

// MendRecovery is the way by which a daemon goes on after its cluster has lost its
// directory: an operator had the longest copy chosen that could be proven. What the
// daemon acknowledged beyond that copy is given up.
const MendRecovery Mend = 8

var mendNames = [...]string{"retry", "skip", "rollback", "take-back", "claim", "drop", "failover", "confirm", "recovery"}

// Mends returns all ways.
func Mends() []Mend {
	all := make([]Mend, len(mendNames))
	for i := range all {
		all[i] = Mend(i)
	}
	return all
}

// String returns the way's name.
func (m Mend) String() string {
	if int(m) < len(mendNames) {
		return mendNames[m]
	}
	return fmt.Sprintf("mend %d", uint8(m))
}

// Mended is one mending of a daemon that its chain proves.
type Mended struct {
	_        struct{} `cbor:",toarray"`
	How      Mend
	Count    uint64 // MendSkip: events whose outputs differed; MendRollback: history records that were dropped
	Sequence uint64 // MendRollback: of the last output that was dropped, where that can be read
	Head     Hash   // its hash
	After    uint64 // sequence of the last output before the mending
	Epoch    uint64 // from here on
}

func (m *Mended) encode() ([]byte, error) { return canon.Marshal(m) }

// Sum returns the hash of the fact, which the daemon signs.
func (m *Mended) Sum() ([]byte, error) {
	b, err := m.encode()
	sum := sha256.Sum256(b)
	return sum[:], err
}

// mended checks a mending of a chain file.
func (v *verifier) mended(i *fileItem) (*Mended, error) {
	c := &i.Checks[0]
	if err := v.signed(c, PurposeMend); err != nil {
		return nil, err
	}

	m := &Mended{}
	if err := canon.Unmarshal(i.Payload, m); err != nil {
		return nil, fmt.Errorf("%w: a mending: %w", ErrBadFile, err)
	}

	sum, err := m.Sum()
	switch {
	case err != nil:
		return nil, err
	case !bytes.Equal(c.State, sum) || c.Epoch != m.Epoch || m.After != v.head.Sequence:
		return nil, fmt.Errorf("%w: the mending is not the one that was signed", identity.ErrInvalidSignature)
	case m.Epoch <= v.next:
		return nil, fmt.Errorf("%w: a mending to epoch %d after %d", ErrEpochBackwards, m.Epoch, v.next)
	}

	v.next, v.report.Epoch = m.Epoch, m.Epoch
	v.report.Mended = append(v.report.Mended, *m)
	return m, nil
}

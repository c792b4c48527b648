// Package residence is the proof that a daemon is on a node: the statement that the daemon's
// key and the node's sign, with the receipts of the moves that led there, and what this node
// keeps of those that it was shown.
package residence

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/internal/evidence"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Version is the version of the statement below.
const Version = 1

// The domains of a residence statement's two signatures.
const (
	residenceDaemonDomain = "wasmhost-residence-daemon-v1"
	residenceNodeDomain   = "wasmhost-residence-node-v1"
)

// Bounds of a residence statement.
const (
	HoldsFor  = time.Minute // for which it holds at most
	NonceSize = 16          // bytes
)

// Statement is the statement that a daemon is on a node: signed by the daemon's key,
// and by the node's. Each node that had the daemon before has had its key, so it also
// carries the receipts of the daemon's moves, which the nodes that it left have signed.
type Statement struct {
	_             struct{} `cbor:",toarray"`
	Version       uint8
	Entity        identity.EntityID
	Node          identity.EntityID // the node's key
	Epoch         uint64
	Index         uint64 // how many records its history has
	Head          chain.Hash
	Nonce         []byte   // the asker's
	Time, Expires int64    // Unix nanoseconds, by the node's clock
	Moves         [][]byte // receipts with both signatures, by rising epoch
	Handover      []byte   // of a daemon whose key is not there: the checkpoint by which it came, signed by it; else empty
	Daemon        []byte   // the daemon's signature over the fields above; empty where its key is not there
	Signature     []byte   // the node's, over all of the above
}

// Sign fills both signatures.
func (s *Statement) Sign(daemon, node *identity.KeyPair) error {
	s.Daemon, s.Signature = nil, nil
	msg, err := canon.Marshal(s)
	if err != nil {
		return err
	}
	if daemon.CanSign() {
		if s.Daemon, err = daemon.SignDomain(residenceDaemonDomain, msg); err != nil {
			return err
		}
		if msg, err = canon.Marshal(s); err != nil {
			return err
		}
	}
	s.Signature, err = node.SignDomain(residenceNodeDomain, msg)
	return err
}

// Proof is what a verified statement says. Only verify makes one.
type Proof struct {
	Node  identity.NodeID
	Epoch uint64
	Holds time.Duration    // from when it was asked for
	Moves []*chain.Receipt // verified
}

// Decode reads a statement, strictly; it checks no signature. Errors wrap
// ErrUnproven.
func Decode(b []byte) (*Statement, error) {
	s := &Statement{}
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: %w", daemon.ErrUnproven, err)
	}
	switch {
	case s.Version != Version:
		return nil, fmt.Errorf("%w: a statement of version %d", daemon.ErrUnproven, s.Version)
	case s.Epoch == 0 || s.Epoch >= chain.CountLimit || s.Index >= chain.CountLimit:
		return nil, fmt.Errorf("%w: epoch %d, %d records: no daemon gets there", daemon.ErrUnproven, s.Epoch, s.Index)
	case len(s.Moves) > evidence.MostReceipts:
		return nil, fmt.Errorf("%w: %d moves, at most %d", daemon.ErrUnproven, len(s.Moves), evidence.MostReceipts)
	case s.Expires <= s.Time || time.Duration(s.Expires-s.Time) > HoldsFor || s.Time < 0:
		return nil, fmt.Errorf("%w: it is to hold for %v, at most %v", daemon.ErrUnproven, time.Duration(s.Expires-s.Time), HoldsFor)
	case (len(s.Daemon) == 0) == (len(s.Handover) == 0):
		return nil, fmt.Errorf("%w: either the daemon or the hand-over is to have signed", daemon.ErrUnproven)
	}
	return s, nil
}

// Verify returns what the statement proves of the entity at the node, to who drew the
// nonce. named says that the operator has named that node for that daemon, so that one
// without a key needs no hand-over. Errors wrap ErrUnproven.
func (s *Statement) Verify(id identity.EntityID, node identity.NodeID, nonce []byte, named bool) (*Proof, error) {
	if s.Entity != id || s.Node.Node() != node || !bytes.Equal(s.Nonce, nonce) {
		return nil, fmt.Errorf("%w: it is of daemon %s on node %s, or another's answer", daemon.ErrUnproven, s.Entity.Origin(), s.Node.Node())
	}
	bare := *s
	bare.Signature = nil
	msg, err := canon.Marshal(&bare)
	if err == nil {
		err = identity.VerifyDomain(s.Node, residenceNodeDomain, msg, s.Signature)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the node's signature: %w", daemon.ErrUnproven, err)
	}
	if len(s.Handover) > 0 {
		err = s.verifyHandover(named)
	} else {
		bare.Daemon = nil
		if msg, err = canon.Marshal(&bare); err == nil {
			err = identity.VerifyDomain(s.Entity, residenceDaemonDomain, msg, s.Daemon)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the daemon's signature: %w", daemon.ErrUnproven, err)
	}
	out := &Proof{Node: node, Epoch: s.Epoch, Holds: time.Duration(s.Expires - s.Time)}
	for _, b := range s.Moves {
		rec, err := chain.DecodeReceipt(b)
		if err == nil {
			err = rec.Verify()
		}
		if err == nil && (rec.Facts.Entity != id || rec.Facts.Epoch > s.Epoch || len(out.Moves) > 0 && rec.Facts.Epoch <= out.Moves[len(out.Moves)-1].Facts.Epoch) {
			err = fmt.Errorf("%w: a move of daemon %s to epoch %d", chain.ErrBadReceipt, rec.Facts.Entity.Origin(), rec.Facts.Epoch)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", daemon.ErrUnproven, err)
		}
		out.Moves = append(out.Moves, rec)
	}
	return out, nil
}

// verifyHandover returns nil where the daemon itself has handed itself to the node.
func (s *Statement) verifyHandover(named bool) error {
	var c chain.Checkpoint
	if err := canon.Unmarshal(s.Handover, &c); err != nil {
		return err
	}
	if c.Entity != s.Entity || c.Purpose != chain.PurposeHandover || c.Epoch > s.Epoch || len(c.State) < 16 || !bytes.Equal(c.State[8:16], chain.Handover(0, s.Node.Node())[8:]) {
		return errors.New("the hand-over is another's")
	}
	if err := c.Verify(); err != nil && !(named && errors.Is(err, chain.ErrUnsigned)) {
		return err
	}
	return nil
}

// Owner is who owned a daemon when its owner was proven last.
type Owner struct {
	Node  identity.NodeID
	Epoch uint64
}

// Led reports whether the moves lead from the last known owner to the node: each is
// signed by the node that gave the daemon away.
func (l Owner) Led(moves []*chain.Receipt, to identity.NodeID) bool {
	at, epoch := l.Node, l.Epoch
	for _, m := range moves {
		if f := &m.Facts; f.Epoch > epoch && f.From == at {
			at, epoch = f.To, f.Epoch
		}
	}
	return at == to
}

// Rank is the epoch up to which the moves account for the daemon's owners without a
// gap, from its first on: a claim goes no further than its proof.
func (p *Proof) Rank() uint64 {
	epoch := uint64(1)
	at := identity.NodeID(0)
	for _, m := range p.Moves {
		f := &m.Facts
		if f.Epoch != epoch+1 || at != 0 && f.From != at {
			break
		}
		epoch, at = f.Epoch, f.To
	}
	if at != 0 && at != p.Node {
		return 0 // it was given away
	}
	return epoch
}

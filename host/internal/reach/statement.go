package reach

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// reachVersion is the version of the statement below, reachDomain separates its
// signature from every other.
const (
	reachVersion = 1
	reachDomain  = "wasmhost-reach-v1"
)

// ErrBadProof is wrapped by every error of a statement of reach.
var ErrBadProof = errors.New("not a proof of how far the daemon's history reaches")

// statement is what is said, signed by the daemon's key, of how far a node's history of
// it goes: an owner makes it before it has a standby throw a copy away, a standby when
// its owner compares itself with it. Both have the key. Each record names the one
// before by hash, so the last one stands for all.
type statement struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	Entity    identity.EntityID
	Node      identity.NodeID // whose history it is
	Epoch     uint64          // of the last record
	Next      uint64          // index after it
	Sum       []byte          // SHA-256 of it
	Nonce     []byte          // the asker's; empty: nobody asked
	Signature []byte
}

func (s *statement) message() ([]byte, error) {
	bare := *s
	bare.Signature = []byte{}
	return canon.Marshal(&bare)
}

// sign returns the statement's canonical bytes; an error where the key cannot sign.
func (s *statement) sign(key *identity.KeyPair) ([]byte, error) {
	s.Version = reachVersion
	msg, err := s.message()
	if err != nil {
		return nil, err
	}
	if s.Signature, err = key.SignDomain(reachDomain, msg); err != nil {
		return nil, err
	}
	return canon.Marshal(s)
}

// decode reads what sign wrote, strictly; it checks no signature.
func decode(b []byte) (*statement, error) {
	s := &statement{}
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadProof, err)
	}
	switch {
	case s.Version != reachVersion:
		return nil, fmt.Errorf("%w: version %d", ErrBadProof, s.Version)
	case s.Entity.IsZero() || s.Epoch == 0 || s.Epoch >= chain.CountLimit || s.Next == 0 || s.Next >= chain.CountLimit:
		return nil, fmt.Errorf("%w: epoch %d, %d records: no daemon gets there", ErrBadProof, s.Epoch, s.Next)
	case len(s.Sum) != sha256.Size || len(s.Nonce) > 64 || len(s.Signature) > 128:
		return nil, fmt.Errorf("%w: a sum of %d bytes, a nonce of %d", ErrBadProof, len(s.Sum), len(s.Nonce))
	}
	return s, nil
}

// Verify returns what the statement of the node's history of the daemon proves.
// Errors wrap ErrBadProof.
func Verify(b []byte, id identity.EntityID, node identity.NodeID, nonce []byte) (Extent, error) {
	s, err := decode(b)
	if err != nil {
		return Extent{}, err
	}
	if s.Entity != id || s.Node != node || !bytes.Equal(s.Nonce, nonce) {
		return Extent{}, fmt.Errorf("%w: it is of daemon %s on node %s, or another's answer", ErrBadProof, s.Entity.Origin(), s.Node)
	}
	msg, err := s.message()
	if err == nil {
		err = identity.VerifyDomain(id, reachDomain, msg, s.Signature)
	}
	if err != nil {
		return Extent{}, fmt.Errorf("%w: %w", ErrBadProof, err)
	}
	return Extent{Epoch: s.Epoch, Next: s.Next, Sum: chain.Hash(s.Sum)}, nil
}

package host

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/internal/journal"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// reachVersion is the version of the statement below, reachDomain separates its
// signature from every other.
const (
	reachVersion = 1
	reachDomain  = "wasmhost-reach-v1"
)

// errBadReach is wrapped by every error of a statement of reach.
var errBadReach = errors.New("not a proof of how far the daemon's history reaches")

// reach is the statement, signed by the daemon's key, of how far a node's history of
// it goes: an owner makes it before it has a standby throw a copy away, a standby when
// its owner compares itself with it. Both have the key. Each record names the one
// before by hash, so the last one stands for all.
type reach struct {
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

func (s *reach) message() ([]byte, error) {
	bare := *s
	bare.Signature = []byte{}
	return canon.Marshal(&bare)
}

// sign returns the statement's canonical bytes; an error where the key cannot sign.
func (s *reach) sign(key *identity.KeyPair) ([]byte, error) {
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

// decodeReach reads what sign wrote, strictly; it checks no signature.
func decodeReach(b []byte) (*reach, error) {
	s := &reach{}
	if err := canon.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%w: %w", errBadReach, err)
	}
	switch {
	case s.Version != reachVersion:
		return nil, fmt.Errorf("%w: version %d", errBadReach, s.Version)
	case s.Entity.IsZero() || s.Epoch == 0 || s.Epoch >= chain.CountLimit || s.Next == 0 || s.Next >= chain.CountLimit:
		return nil, fmt.Errorf("%w: epoch %d, %d records: no daemon gets there", errBadReach, s.Epoch, s.Next)
	case len(s.Sum) != sha256.Size || len(s.Nonce) > 64 || len(s.Signature) > 128:
		return nil, fmt.Errorf("%w: a sum of %d bytes, a nonce of %d", errBadReach, len(s.Sum), len(s.Nonce))
	}
	return s, nil
}

// verifyReach returns what the statement of the node's history of the daemon proves.
// Errors wrap errBadReach.
func verifyReach(b []byte, id identity.EntityID, node identity.NodeID, nonce []byte) (extent, error) {
	s, err := decodeReach(b)
	if err != nil {
		return extent{}, err
	}
	if s.Entity != id || s.Node != node || !bytes.Equal(s.Nonce, nonce) {
		return extent{}, fmt.Errorf("%w: it is of daemon %s on node %s, or another's answer", errBadReach, s.Entity.Origin(), s.Node)
	}
	msg, err := s.message()
	if err == nil {
		err = identity.VerifyDomain(id, reachDomain, msg, s.Signature)
	}
	if err != nil {
		return extent{}, fmt.Errorf("%w: %w", errBadReach, err)
	}
	return extent{epoch: s.Epoch, next: s.Next, sum: chain.Hash(s.Sum)}, nil
}

// extentOf returns how far the store's history of the daemon goes. Epoch is that of
// the last record that has one.
func (r *Runtime) extentOf(id identity.EntityID) (extent, error) {
	var e extent
	err := r.env.Store.ReadHistoryBackward(id, func(index uint64, b []byte) error {
		if e.next == 0 {
			e.next, e.sum = index+1, sha256.Sum256(b)
		}
		rec, err := journal.Decode(b)
		if err != nil {
			return err
		}
		switch rec := rec.(type) {
		case *journal.Event:
			e.epoch = rec.Epoch
		case *journal.Move:
			e.epoch = rec.Epoch
		case *journal.Mend:
			e.epoch = rec.Fact.Epoch
		case *journal.Checkpoint:
			e.epoch = rec.Checkpoint.Epoch
		case *journal.Begin:
			e.epoch = rec.Epoch
		default:
			return nil
		}
		return store.ErrStop
	})
	if err == nil && e.next > 0 && e.epoch == 0 {
		err = fmt.Errorf("%w: no record of the history has an epoch", store.ErrCorrupt)
	}
	return e, err
}

// sumAt returns the SHA-256 of the history record at an index; nil where it is not
// there.
func (r *Runtime) sumAt(id identity.EntityID, index uint64) ([]byte, error) {
	var out []byte
	err := r.env.Store.ReadHistory(id, index, index+1, func(_ uint64, rec []byte) error {
		sum := sha256.Sum256(rec)
		out = sum[:]
		return nil
	})
	if errors.Is(err, store.ErrCorrupt) { // trimmed, or not reached
		return nil, nil
	}
	return out, err
}

// proveReach signs how far the history here goes, with the daemon's key as the store
// has it; nil where the store does not have it.
func (r *Runtime) proveReach(id identity.EntityID, e extent) ([]byte, error) {
	encoded, err := r.env.Store.Get(store.Daemons, id[:])
	if err != nil {
		return nil, err
	}
	rec, err := decodeDaemonRecord(encoded)
	if err != nil {
		return nil, err
	}
	return r.signReach(id, e, rec.Key, atRest, nil)
}

// signReach is proveReach with the key sealed to this node; nil where there is none.
func (r *Runtime) signReach(id identity.EntityID, e extent, sealed, link, nonce []byte) ([]byte, error) {
	if len(sealed) == 0 {
		return nil, nil
	}
	env, err := identity.ParseEnvelope(sealed)
	if err != nil {
		return nil, fmt.Errorf("the daemon's key: %w", err)
	}
	key, err := env.Open(r.env.Node, link, id)
	if err != nil {
		return nil, fmt.Errorf("the daemon's key: %w", err)
	}
	defer key.Wipe()
	s := &reach{Entity: id, Node: r.env.Self, Epoch: e.epoch, Next: e.next, Sum: e.sum[:], Nonce: append([]byte{}, nonce...)}
	return s.sign(key)
}

func decodeDaemonRecord(b []byte) (*daemonRecord, error) {
	rec := &daemonRecord{}
	if err := canon.Unmarshal(b, rec); err != nil {
		return nil, fmt.Errorf("%w: the daemon's record: %w", store.ErrCorrupt, err)
	}
	return rec, nil
}

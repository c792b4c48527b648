package snapshot

import (
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// Facts are what a daemon keeps for life beside its state: it goes along when the daemon
// moves, is copied to a standby or is restored from a snapshot. A node stores Spawned and
// Previous in the daemon's record and the loss in a record of its own.
type Facts struct {
	_        struct{} `cbor:",toarray"`
	Version  uint8
	Spawned  int64        // when the daemon was made, Unix nanoseconds
	Previous []byte       // the module before the last upgrade, 32 bytes; empty: there was none
	Errors   uint64       // events that it failed on
	Losses   []LossRecord // what of it is known to be lost: at most one
}

const (
	FactsVersion  = 1       // of the encoding of Facts
	maxFactsBytes = 8 << 10 // of one, encoded
)

// DecodeFacts reads what Encode wrote, strictly.
func DecodeFacts(b []byte) (*Facts, error) {
	l := &Facts{}
	if len(b) > maxFactsBytes {
		return nil, fmt.Errorf("facts of %d bytes, at most %d are allowed", len(b), maxFactsBytes)
	}
	if err := canon.Unmarshal(b, l); err != nil {
		return nil, fmt.Errorf("facts: %w", err)
	}

	switch {
	case l.Version != FactsVersion:
		return nil, fmt.Errorf("facts of version %d, this program reads version %d", l.Version, FactsVersion)
	case l.Spawned <= 0:
		return nil, fmt.Errorf("a daemon that was made at %d", l.Spawned)
	case len(l.Previous) != 0 && len(l.Previous) != 32:
		return nil, fmt.Errorf("a previous module with a digest of %d bytes", len(l.Previous))
	case l.Errors >= chain.CountLimit:
		return nil, fmt.Errorf("%d failed events: no daemon gets there", l.Errors)
	case len(l.Losses) > 1:
		return nil, fmt.Errorf("%d losses", len(l.Losses))
	}

	for _, loss := range l.Losses {
		if loss.Why != daemon.ClipWhy(loss.Why) || max(loss.From, loss.To, loss.Epoch) >= chain.CountLimit {
			return nil, errors.New("a loss that cannot be")
		}
	}
	return l, nil
}

// Encode returns canonical CBOR of the facts.
func (l *Facts) Encode() ([]byte, error) {
	b, err := canon.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encoding a daemon's facts: %w", err)
	}
	return b, nil
}

// Facts returns what the header says of its daemon; nil where it is of a version before 4.
func (h *Header) Facts() (*Facts, error) {
	if len(h.Lasting) == 0 {
		return nil, nil
	}
	return DecodeFacts(h.Lasting)
}

// Spawned returns when the snapshot's daemon was made; the zero time where the snapshot
// does not say it.
func (h *Header) Spawned() time.Time {
	if l, err := h.Facts(); err == nil && l != nil {
		return time.Unix(0, l.Spawned)
	}
	return time.Time{}
}

// Previous returns the digest of the module that the daemon had before its last upgrade;
// nil where there was none, or the snapshot does not say it.
func (h *Header) Previous() []byte {
	if l, err := h.Facts(); err == nil && l != nil {
		return canon.OrNil(l.Previous)
	}
	return nil
}

// SetFacts puts l into the header, or takes it out where l is nil. The snapshot is to be
// sealed again.
func (h *Header) SetFacts(l []byte) {
	h.Lasting = l
	h.Version = h.FormVersion()
}

// ForStore returns the snapshot as the store keeps it: without what the daemon's record
// says, and signed again where key can. Earlier programs of the same data format read it.
func (s *Snapshot) ForStore(key *identity.KeyPair) (*Snapshot, error) {
	if len(s.Header.Lasting) == 0 {
		return s, nil
	}
	out := *s
	out.Header.SetFacts(nil)
	return &out, out.Seal(key)
}

// LossRecord is how the store keeps a Loss.
type LossRecord struct {
	_        struct{} `cbor:",toarray"`
	From, To uint64
	Epoch    uint64
	Why      string
	Time     int64
}

// ArrivingKey is where the store keeps what a prepared daemon keeps for life, until it is
// this node's; of a standby's copy, until the copy is the daemon.
func ArrivingKey(id identity.EntityID) []byte { return append([]byte("arriving/"), id[:]...) }

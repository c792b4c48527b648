package directory

import (
	"context"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A key that is missing from the directory says nothing of the daemon: the directory may
// have been made anew, or be older than the daemon. Only a removal says that a daemon is
// no more. What a missing key and a removal do:
//
//	the directory                          | a node's copy of the daemon | what the node remembers of it
//	says nothing of the daemon             | stays                       | stays
//	has a removal without a signature      | stays                       | is forgotten
//	has a removal that the daemon signed   | is dropped                  | is forgotten
//	has one, and the daemon                | stays                       | stays: the daemon was made anew
//	has one of a lower epoch than the copy | stays                       | is forgotten

// Removal says that a daemon was stopped for good under an epoch.
type Removal struct {
	Entity    identity.EntityID
	Epoch     uint64
	Time      time.Time
	Signature []byte // of the daemon's key; empty: who removed it does not have the key
}

// removalDomain separates a removal's signature from every other.
const removalDomain = "wasmhost-removal-v1"

// removalKept is for how long the directory keeps a removal. A node that was away for
// longer keeps its copy of the daemon.
const removalKept = 7 * 24 * time.Hour

type removalRecord struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	Entity    identity.EntityID
	Epoch     uint64
	Time      int64 // Unix time in nanoseconds
	Signature []byte
}

func goneKey(id identity.EntityID) string { return "gone/" + id.String() }

func (r *Removal) record(signature []byte) ([]byte, error) {
	return canon.Marshal(&removalRecord{Version: recordVersion, Entity: r.Entity, Epoch: r.Epoch, Time: r.Time.UnixNano(), Signature: append([]byte{}, signature...)})
}

// Sign signs the removal with the daemon's key. It does nothing if the key cannot sign.
func (r *Removal) Sign(key *identity.KeyPair) error {
	if !key.CanSign() {
		return nil
	}

	msg, err := r.record(nil)
	if err != nil {
		return err
	}

	r.Signature, err = key.SignDomain(removalDomain, msg)
	return err
}

// Signed reports whether the daemon's key has signed the removal.
func (r *Removal) Signed() bool {
	msg, err := r.record(nil)
	return err == nil && len(r.Signature) > 0 && identity.VerifyDomain(r.Entity, removalDomain, msg, r.Signature) == nil
}

func (r *Removal) encode() ([]byte, error) { return r.record(r.Signature) }

func decodeRemoval(b []byte) (Removal, error) {
	var r removalRecord
	if err := canon.Unmarshal(b, &r); err != nil {
		return Removal{}, fmt.Errorf("%w: %w", ErrBadRecord, err)
	}
	if r.Version != recordVersion || r.Entity.IsZero() || r.Epoch == 0 || len(r.Signature) != 0 && len(r.Signature) != 64 {
		return Removal{}, fmt.Errorf("%w: version %d of a removal, epoch %d, a signature of %d bytes", ErrBadRecord, r.Version, r.Epoch, len(r.Signature))
	}
	return Removal{Entity: r.Entity, Epoch: r.Epoch, Time: time.Unix(0, r.Time), Signature: r.Signature}, nil
}

// Retire removes what the directory says of a daemon, frees its name, and records the
// removal. Errors are those of Put, and ErrConflict if another node owns the daemon and
// has a session.
func (m *Member) Retire(ctx context.Context, old Entry, r Removal) error {
	r.Entity, r.Epoch = old.Entity, old.Epoch
	b, err := r.encode()
	if err != nil {
		return err
	}

	err = m.remove(ctx, old, Write{goneKey(old.Entity), b})
	if errors.Is(err, ErrDenied) || errors.Is(err, ErrMalformed) { // a voter of a version without removals
		err = m.remove(ctx, old)
	}
	return err
}

// Delete is Retire by a node that does not have the daemon's key.
func (m *Member) Delete(ctx context.Context, old Entry) error {
	return m.Retire(ctx, old, Removal{Time: time.Now()})
}

// RemovedAt returns the epoch under which a daemon was removed, as was heard last; 0 if
// the directory has no removal of it.
func (m *Member) RemovedAt(id identity.EntityID) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.gone[id]
}

// seeRemoval takes in a removal, or its end.
func (m *Member) seeRemoval(o Observer, name string, c *Change) {
	id, err := identity.ParseEntityID(name)
	var r Removal
	if err == nil && c.Value != nil {
		if r, err = decodeRemoval(c.Value); err == nil && r.Entity != id {
			err = ErrBadRecord
		}
	}

	if err != nil {
		m.logger.Error("the directory's record of a removed daemon", "key", c.Key, "error", err)
		return
	}

	m.mu.Lock()
	if c.Value == nil {
		delete(m.gone, id)
		m.mu.Unlock()
		return
	}

	m.gone[id] = r.Epoch
	_, listed := m.daemons[id]
	m.mu.Unlock()
	if time.Since(r.Time) > removalKept && m.sweeps {
		m.sweep(c)
	}

	if listed {
		return // the daemon was made anew, or its own change is to come
	}

	m.telling.Lock()
	defer m.telling.Unlock()
	o.DaemonRemoved(r)
}

// sweep removes an old removal from the directory. It is tried again when the directory
// is listed again.
func (m *Member) sweep(c *Change) {
	select {
	case m.sweeping <- struct{}{}:
	default:
		return // enough of them are on their way
	}
	go func() {
		defer func() { <-m.sweeping }()
		ask, done := m.ask(context.Background())
		defer done()
		_, err := m.engine.Commit(ask, []Condition{{c.Key, c.Revision}}, []Write{{Key: c.Key}})
		if err != nil && !errors.Is(err, ErrConflict) {
			m.logger.Debug("removing an old removal", "key", c.Key, "error", err)
		}
	}()
}

// maxSweeping bounds how many old removals a member removes at a time.
const maxSweeping = 64

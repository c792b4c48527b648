package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"wasmhost.example/host/daemon"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// The history of a copy that lost to another is kept as evidence: nothing that a node
// once stored of a daemon is destroyed because another node has something else. Keys
// of store.Evidence: the entity, the epoch of the copy, and the record's index; the
// index of all ones has the note that says why.

// Bounds of the evidence of one copy: its last records.
const (
	maxEvidence      = 1 << 14  // records of a copy that lost which are kept
	maxEvidenceBytes = 32 << 20 // bytes of them
)

// EvidenceOf says what is kept of a copy that lost.
type EvidenceOf struct {
	Entity identity.EntityID
	Epoch  uint64 // of the copy
	First  uint64 // index of the first history record that is kept
	End    uint64 // index after the last
	Why    string
	Kept   time.Time
}

// evidenceNote is how the store keeps an EvidenceOf.
type evidenceNote struct {
	_          struct{} `cbor:",toarray"`
	First, End uint64
	Why        string
	Time       int64
}

func evidenceKey(id identity.EntityID, epoch, index uint64) []byte {
	k := binary.BigEndian.AppendUint64(bytes.Clone(id[:]), epoch)
	return binary.BigEndian.AppendUint64(k, index)
}

// keepEvidence copies the end of the history that the store has of the daemon, under
// the epoch of that copy. It replaces what was kept under that epoch. A store that has
// no history of the daemon keeps nothing.
func (r *Runtime) keepEvidence(id identity.EntityID, epoch uint64, why string) error {
	if r.env.Store == nil {
		return nil
	}
	b := &store.Batch{}
	b.DeleteUnder(store.Evidence, evidenceKey(id, epoch, 0)[:len(id)+8])
	note := evidenceNote{Why: daemon.ClipWhy(why), Time: r.env.Clock().UnixNano()}
	records, size := 0, 0
	err := r.env.Store.ReadHistoryBackward(id, func(index uint64, rec []byte) error {
		if records == maxEvidence || size+len(rec) > maxEvidenceBytes {
			return store.ErrStop
		}
		if records++; records == 1 {
			note.End = index + 1
		}
		note.First, size = index, size+len(rec)
		b.Put(store.Evidence, evidenceKey(id, epoch, index), bytes.Clone(rec))
		return nil
	})
	if err != nil && !errors.Is(err, store.ErrCorrupt) {
		return fmt.Errorf("keeping evidence of daemon %s: %w", id.Origin(), err)
	}
	if records == 0 {
		return nil
	}
	value, err := canon.Marshal(&note)
	if err != nil {
		return err
	}
	b.Put(store.Evidence, evidenceKey(id, epoch, ^uint64(0)), value)
	if err := r.env.Store.Commit(b); err != nil {
		return fmt.Errorf("keeping evidence of daemon %s: %w", id.Origin(), err)
	}
	r.env.Logger.Error("the history of a copy that lost to another is kept as evidence", "daemon", id.Origin(), "epoch", epoch, "first", note.First, "end", note.End, "why", why)
	return nil
}

// Of returns what is kept of copies of the daemon that lost to another, by epoch.
func (r Evidence) Of(id identity.EntityID) ([]EvidenceOf, error) {
	if r.rt.env.Store == nil {
		return nil, nil
	}
	var out []EvidenceOf
	err := r.rt.env.Store.ScanPrefix(store.Evidence, id[:], func(k, v []byte) error {
		if len(k) != len(id)+16 || binary.BigEndian.Uint64(k[len(id)+8:]) != ^uint64(0) {
			return nil
		}
		var note evidenceNote
		if err := canon.Unmarshal(v, &note); err != nil {
			return fmt.Errorf("%w: evidence of daemon %s: %w", store.ErrCorrupt, id.Origin(), err)
		}
		out = append(out, EvidenceOf{Entity: id, Epoch: binary.BigEndian.Uint64(k[len(id):]), First: note.First, End: note.End, Why: note.Why, Kept: time.Unix(0, note.Time)})
		return nil
	})
	return out, err
}

// Package stored is what the store keeps of a daemon: its record and key, its state as a
// snapshot and deltas, where a passive one stands, and where its history begins.
package stored

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"wasmhost.example/host/chain"
	"wasmhost.example/host/daemon"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/store"
	"wasmhost.example/identity"
	"wasmhost.example/internal/canon"
)

// A daemon's state is stored as a snapshot and, behind it, a chain of deltas:
// each has what changed since the one before, which it names by its digest. A
// stored value is the index of the first history record that it does not
// contain, 8 bytes, and a snapshot, whose form is snapshot.FormDelta for a delta. Where the
// state is large it is in a file: the index has snapshot.InFile added, the digest of
// the file follows, 32 bytes, and the snapshot ends where its state would begin.

// A chain of deltas ends, and a whole snapshot is stored, after so many of
// them, or when they are together as large as that snapshot.
const maxDeltas = 8

// State is what of one daemon's state is stored. It is its daemon's, under the daemon's
// lock. The zero saved is of a daemon of which that is not known.
type State struct {
	digest  chain.Hash // of the last of snapshot and deltas
	whole   uint64     // where the snapshot stands: the index of the record behind it
	bytes   int        // of the snapshot
	deltas  int        // behind it
	exact   bool       // deltas is right: else there may be more
	changes int        // bytes of the deltas
	goes    bool       // another delta can follow: the daemon tracks what changes
	time    int64      // the daemon's lastTime then

	// What has come since the state was stored, or could not be.
	events, size int64
	tried        int64 // when that was, by the runtime's clock, Unix nanoseconds
}

// At is of a daemon whose state is to be stored next as if it had been stored at now,
// in Unix nanoseconds.
func At(now int64) State { return State{tried: now} }

// Add counts a history record of so many bytes.
func (s *State) Add(size int) {
	s.events++
	s.size += int64(size)
}

// Due reports whether the state is to be stored, at a time in Unix nanoseconds.
func (s *State) Due(l *daemon.Limits, now int64) bool {
	return s.events >= l.SnapshotEvents || s.size >= l.SnapshotBytes || now-s.tried >= int64(l.SnapshotInterval)
}

// Try notes that the state is about to be stored: it is not due for a while, even where
// that fails.
func (s *State) Try(now int64) { s.events, s.size, s.tried = 0, 0, now }

// Bytes is how many bytes of state are stored; 0: that is not known.
func (s *State) Bytes() int64 { return int64(s.bytes + s.changes) }

// Whole is the index of the record behind the whole snapshot: history before it may go.
func (s *State) Whole() uint64 { return s.whole }

// Since is of when the last event is whose state is stored, by the daemon's own time.
func (s *State) Since() int64 { return s.time }

// Follow says whether the daemon tracks what changes: another delta can follow then.
func (s *State) Follow(tracks bool) { s.goes = tracks }

// Follows reports whether another delta can follow.
func (s *State) Follows() bool { return s.goes }

// IsExact reports whether it is known how many deltas are stored.
func (s *State) IsExact() bool { return s.exact }

// Begin says that the store has no delta of the daemon.
func (s *State) Begin() { s.exact = true }

// NextIsDelta reports whether what is stored next, at the index, is what changed since.
// history is how many records the daemon keeps; 0: all.
func (s *State) NextIsDelta(index, history uint64) bool {
	holds := history != 0 && index-s.whole >= history // records that are to go wait for a whole snapshot
	return s.goes && s.deltas < maxDeltas && s.changes < s.bytes && !holds
}

// IsLarge reports whether a whole snapshot is large enough to be in a file.
func (s *State) IsLarge() bool { return s.bytes >= LargeState }

// PutWhole stores a snapshot that stands before history record index in place of all that
// is stored of the daemon's state. One of apart bytes or more goes to a file; the batch
// takes it over.
func (s *State) PutWhole(st *store.Store, b *store.Batch, index uint64, whole *snapshot.Snapshot, apart int) error {
	id := whole.Header.Entity
	s.Forget(b, id)
	size, err := putPart(st, b, store.Snapshots, id[:], index, whole, apart)
	if err != nil {
		return err
	}

	*s = State{whole: index, bytes: size, exact: true}
	s.stands(index, whole)
	return nil
}

// Forget removes the deltas, one by one where it is known how many there are: that costs
// less than a range.
func (s *State) Forget(b *store.Batch, id identity.EntityID) {
	for place := range s.deltas {
		b.Delete(store.Deltas, deltaKey(id, place))
	}
	if !s.exact {
		b.DeleteUnder(store.Deltas, id[:])
	}
}

// Delta makes a snapshot of snapshot.FormDelta the next delta: memory is what changed, forgotten
// since when senders that were not heard of are forgotten, in Unix nanoseconds. The caller
// seals it.
func (s *State) Delta(d *snapshot.Snapshot, forgotten int64, memory []byte) (err error) {
	if d.State, err = canon.Marshal(&deltaState{Version: deltaVersion, Base: s.digest, Forgotten: forgotten, Memory: memory}); err != nil {
		return err
	}
	d.Header.StateHash = sha256.Sum256(d.State)
	return nil
}

// PutDelta stores a delta that stands before history record index, as putWhole a snapshot.
func (s *State) PutDelta(st *store.Store, b *store.Batch, index uint64, delta *snapshot.Snapshot, apart int) error {
	size, err := putPart(st, b, store.Deltas, deltaKey(delta.Header.Entity, s.deltas), index, delta, apart)
	if err != nil {
		return err
	}

	s.deltas++
	s.changes += size
	s.stands(index, delta)
	return nil
}

// stands notes the last of what is stored.
func (s *State) stands(index uint64, last *snapshot.Snapshot) {
	s.digest, s.time, s.tried = Digest(index, last), last.Header.LastTime, last.Header.CreatedAt
}

// Loaded is what is stored of a daemon's state.
type Loaded struct {
	Index   uint64             // of the first record that it does not contain
	Whole   *snapshot.Snapshot // with the header of the last delta
	Changes [][]byte           // captured memory of the deltas, in order
	Marks   snapshot.DedupTable
	Damage  error // why deltas are left out, with those behind: the history is replayed in their place
}

// Load reads what is stored of a daemon's state, and notes it; nil where nothing is.
func (s *State) Load(st *store.Store, id identity.EntityID) (*Loaded, error) {
	value, err := st.Get(store.Snapshots, id[:])
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	index, whole, err := Read(st, value, id)
	if err == nil && whole.Header.Form > snapshot.FormMemory {
		err = fmt.Errorf("%w: a delta where the snapshot should be", store.ErrCorrupt)
	}
	if err != nil {
		return nil, err
	}

	form := whole.Header.Form
	*s = State{whole: index, bytes: storedSize(value, whole), exact: true, goes: form == snapshot.FormMemory}
	s.stands(index, whole)
	l := &Loaded{Index: index, Marks: snapshot.NewDedupTable(whole.Header.Horizon)}
	last := whole.Header
	l.Damage = st.ScanPrefix(store.Deltas, id[:], func(k, v []byte) error {
		at, delta, state, err := s.readDelta(st, id, k[len(id):], v)
		if err == nil && at < l.Index {
			err = fmt.Errorf("%w: it stands at record %d, the one before at %d", store.ErrCorrupt, at, l.Index)
		}
		if err != nil {
			return fmt.Errorf("delta %d of daemon %s: %w", s.deltas, id.Origin(), err)
		}

		l.Index, last, l.Changes = at, delta.Header, append(l.Changes, state.Memory)
		l.Marks.Merge(state.Forgotten, delta.Header.Horizon)
		s.deltas++
		s.changes += storedSize(v, delta)
		s.stands(at, delta)
		return nil
	})
	if l.Damage != nil {
		s.goes, s.exact = false, false
	}

	last.Form = form
	l.Whole = &snapshot.Snapshot{Header: last, State: whole.State}
	return l, nil
}

// readDelta reads the next delta of the chain.
func (s *State) readDelta(st *store.Store, id identity.EntityID, k, v []byte) (uint64, *snapshot.Snapshot, *deltaState, error) {
	if len(k) != 4 || int(binary.BigEndian.Uint32(k)) != s.deltas {
		return 0, nil, nil, fmt.Errorf("%w: it has place %x", store.ErrCorrupt, k)
	}
	at, delta, err := Read(st, v, id)
	if err != nil {
		return 0, nil, nil, err
	}

	state := &deltaState{}
	if delta.Header.Form != snapshot.FormDelta {
		return 0, nil, nil, fmt.Errorf("%w: a snapshot of form %s", store.ErrCorrupt, delta.Header.Form)
	}
	if err := canon.Unmarshal(delta.State, state); err != nil {
		return 0, nil, nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	if state.Version != deltaVersion || state.Base != s.digest {
		return 0, nil, nil, fmt.Errorf("%w: version %d, of another base (%x, not %x)", store.ErrCorrupt, state.Version, state.Base[:6], s.digest[:6])
	}
	return at, delta, state, nil
}

// ReadFirstDelta returns nil if value is what the store may keep of a daemon's state as the
// first delta behind a snapshot of the digest.
func ReadFirstDelta(st *store.Store, id identity.EntityID, base chain.Hash, value []byte) error {
	s := State{digest: base}
	_, _, _, err := s.readDelta(st, id, []byte{0, 0, 0, 0}, value)
	return err
}

// deltaState is the State of a snapshot of snapshot.FormDelta. The header's horizon has
// only those senders that were heard of since.
type deltaState struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	Base      chain.Hash // digest of the snapshot or delta before
	Forgotten int64      // senders not heard of since are forgotten, Unix nanoseconds
	Memory    []byte     // captured memory: the blocks that changed
}

const deltaVersion = 1

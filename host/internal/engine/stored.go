package engine

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

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
// contain, 8 bytes, and a snapshot, whose form is formDelta for a delta. Where the
// state is large it is in a file: the index has snapshot.InFile added, the digest of
// the file follows, 32 bytes, and the snapshot ends where its state would begin.

// A chain of deltas ends, and a whole snapshot is stored, after so many of
// them, or when they are together as large as that snapshot.
const maxDeltas = 8

// saved is what of the daemon is stored.
type saved struct {
	digest  chain.Hash // of the last of snapshot and deltas
	whole   uint64     // where the snapshot stands, as kept
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

// add counts a history record.
func (s *saved) add(size int) {
	s.events++
	s.size += int64(size)
}

// deltaState is the State of a snapshot of formDelta. The header's horizon has
// only those senders that were heard of since.
type deltaState struct {
	_         struct{} `cbor:",toarray"`
	Version   uint8
	Base      chain.Hash // digest of the snapshot or delta before
	Forgotten int64      // senders not heard of since are forgotten, Unix nanoseconds
	Memory    []byte     // captured memory: the blocks that changed
}

const deltaVersion = 1

// StoredDigest names a stored snapshot or delta: whatever is in it is in its
// header, by hash.
func StoredDigest(index uint64, s *snapshot.Snapshot) chain.Hash {
	return sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, index), s.Checkpoint.State...))
}

func deltaKey(id identity.EntityID, place int) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(nil), id[:]...), uint32(place))
}

const (
	largeState = 1 << 20 // bytes from which a state is in a file

	maxStandbyState = 16 << 20 // bytes from which the state of a daemon with standbys is in a file: a smaller one goes into one message, with the largest header
)

// PutSnapshot stores a snapshot that stands before history record index, in
// place of all that is stored of the daemon's state.
func PutSnapshot(st *store.Store, b *store.Batch, id identity.EntityID, index uint64, s *snapshot.Snapshot) error {
	b.DeleteUnder(store.Deltas, id[:])
	_, err := putPart(st, b, store.Snapshots, id[:], index, s, largeState)
	return err
}

// apartFrom is from how many bytes the daemon's state goes to a file. One with
// standbys is sent to them as it is stored, up to what goes into one message.
func (d *Daemon) apartFrom() int {
	if d.hasStandbys() {
		return maxStandbyState
	}
	return largeState
}

// hasStandbys reports whether the daemon has standbys, or is to have some.
func (d *Daemon) hasStandbys() bool { return d.leader != nil && d.leader.HasStandbys() }

// putPart stores a part under key, which begins with the daemon's identity, and
// returns its size. The batch takes the snapshot's state over; one of apart bytes or
// more goes to a file.
func putPart(st *store.Store, b *store.Batch, t store.Table, key []byte, index uint64, s *snapshot.Snapshot, apart int) (int, error) {
	if len(s.State) >= apart {
		file, err := st.NewState(s.Header.Entity)
		if err == nil {
			_, err = file.Write(s.State)
		}
		if err != nil {
			file.Discard()
			return 0, err
		}
		s.PutApart(file)
	}

	if file := s.StateFile(); file != nil {
		digest := file.Digest()
		value, err := s.Front(append(binary.BigEndian.AppendUint64(nil, index|snapshot.InFile), digest[:]...))
		if err != nil {
			file.Discard()
			return 0, err
		}
		b.PutFile(t, key, value, file)
		return len(value) + int(file.Size()), nil
	}

	value, err := s.AppendTo(binary.BigEndian.AppendUint64(nil, index))
	if err != nil {
		return 0, err
	}
	b.Put(t, key, value)
	return len(value), nil
}

// due reports whether the state is to be stored, at a time in Unix nanoseconds.
// It needs d.mu.
func (d *Daemon) due(now int64) bool {
	s := &d.saved
	return s.events >= d.Limits().SnapshotEvents || s.size >= d.Limits().SnapshotBytes || now-s.tried >= int64(d.Limits().SnapshotInterval)
}

// StoreIfDue stores the state after so many events, bytes or time. It needs
// d.mu.
func (d *Daemon) StoreIfDue(now int64) {
	if d.env.Store == nil || d.kind == "" || d.index <= d.snapshotIndex || !d.due(now) {
		return
	}
	d.noteUnstored(d.store())
}

// noteUnstored says once in the log that the daemon's state cannot be stored, and once that
// it is again.
func (d *Daemon) noteUnstored(err error) {
	if errors.Is(err, daemon.ErrNotPortable) {
		return
	}
	before := d.unstored
	d.unstored = err
	switch {
	case err != nil && before == nil:
		d.env.Logger.Warn("a daemon's state is not stored: its history grows, and is replayed at a start", "daemon", d.id.Origin(), "name", d.name, "error", err)
		d.log.Add(2, "its state is not stored: "+err.Error())
	case err == nil && before != nil:
		d.env.Logger.Info("a daemon's state is stored again", "daemon", d.id.Origin(), "name", d.name)
	}
}

// store submits the daemon's state to the store, so that a restart replays
// only what comes after. It needs d.mu.
func (d *Daemon) store() error {
	b := &store.Batch{}
	if err := d.putState(b); err != nil {
		return err
	}
	d.commit(b)
	d.startTrimming()
	return nil
}

// putState stores the daemon's state as it is: what changed since the last
// time, or all of it. It needs d.mu. When the batch fails, the daemon must be
// read from the store again.
func (d *Daemon) putState(b *store.Batch) error {
	s := &d.saved
	s.events, s.size, s.tried = 0, 0, d.env.Clock().UnixNano()
	if d.nextIsDelta() {
		if err := d.putDelta(b); err == nil || !errors.Is(err, errNoDelta) {
			return err
		}
	}
	return d.putWhole(b)
}

// nextIsDelta reports whether what is stored next is what changed since. It needs d.mu.
func (d *Daemon) nextIsDelta() bool {
	s := &d.saved
	history := uint64(d.Limits().History)
	holds := history != 0 && d.index-s.whole >= history // records that are to go wait for a whole snapshot
	return s.goes && s.deltas < maxDeltas && s.changes < s.bytes && !holds && d.Form() == snapshot.FormMemory
}

func (d *Daemon) putWhole(b *store.Batch) error {
	s, err := d.SnapshotOf(d.Form(), false, true)
	if err != nil {
		return err
	}
	for place := range d.saved.deltas { // fewer than a range costs
		b.Delete(store.Deltas, deltaKey(d.id, place))
	}
	if !d.saved.exact {
		b.DeleteUnder(store.Deltas, d.id[:])
	}
	size, err := putPart(d.env.Store, b, store.Snapshots, d.id[:], d.index, s, d.apartFrom())
	if err != nil {
		return err
	}
	d.snapshotIndex = d.index
	d.saved = saved{whole: d.index, bytes: size, exact: true}
	d.saved.stands(d.index, s)
	d.saved.goes = s.Header.Form == snapshot.FormMemory && d.daemon.(capturer).Track() == nil
	return nil
}

// stands notes the last of what is stored.
func (s *saved) stands(index uint64, last *snapshot.Snapshot) {
	s.digest, s.time, s.tried = StoredDigest(index, last), last.Header.LastTime, last.Header.CreatedAt
}

// errNoDelta says that a whole snapshot has to be stored.
var errNoDelta = errors.New("what changed is not known")

func (d *Daemon) putDelta(b *store.Batch) error {
	memory, err := d.daemon.(capturer).SaveChanges()
	if err != nil {
		d.saved.goes = false
		return fmt.Errorf("%w: %w", errNoDelta, err)
	}
	s, err := d.headerWith(snapshot.FormDelta, d.horizon.Since(d.saved.time))
	if err != nil {
		return err
	}
	if s.State, err = canon.Marshal(&deltaState{Version: deltaVersion, Base: d.saved.digest, Forgotten: d.horizon.Forgotten(), Memory: memory}); err != nil {
		return err
	}
	s.Header.StateHash = sha256.Sum256(s.State)
	if err := s.Seal(d.key); err != nil {
		return err
	}
	size, err := putPart(d.env.Store, b, store.Deltas, deltaKey(d.id, d.saved.deltas), d.index, s, d.apartFrom())
	if err != nil {
		return err
	}
	d.snapshotIndex = d.index
	d.saved.deltas++
	d.saved.changes += size
	d.saved.stands(d.index, s)
	return nil
}

// ReadStored splits a stored value, and reads the state that is apart.
func ReadStored(st *store.Store, value []byte, id identity.EntityID) (uint64, *snapshot.Snapshot, error) {
	if len(value) < 8 {
		return 0, nil, fmt.Errorf("%w: snapshot of %d bytes", store.ErrCorrupt, len(value))
	}
	index, value := binary.BigEndian.Uint64(value), value[8:]
	var s *snapshot.Snapshot
	var err error
	if index < snapshot.InFile {
		s, err = snapshot.DecodeForm(value, snapshot.FormDelta)
	} else {
		index -= snapshot.InFile
		s, err = readApart(st, value, id)
	}
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	if s.Header.Entity != id {
		return 0, nil, fmt.Errorf("%w: the stored snapshot is of %s", store.ErrCorrupt, s.Header.Entity.Origin())
	}
	return index, s, nil
}

// storedSize is how many bytes a value has together with its file.
func storedSize(value []byte, s *snapshot.Snapshot) int {
	if binary.BigEndian.Uint64(value) < snapshot.InFile {
		return len(value)
	}
	return len(value) + len(s.State)
}

// readApart reads a snapshot whose state is in a file.
func readApart(st *store.Store, value []byte, id identity.EntityID) (_ *snapshot.Snapshot, err error) {
	var digest chain.Hash
	if copy(digest[:], value) < len(digest) {
		return nil, errors.New("it ends before the digest of its state")
	}
	file, size, err := st.OpenState(id, digest)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	return snapshot.ReadForm(bytes.NewReader(value[len(digest):]), snapshot.FormDelta, func(_ *canon.Reader, n uint64) ([]byte, error) {
		if n != uint64(size) {
			return nil, fmt.Errorf("%w: a state of %d bytes, its file has %d", daemon.ErrBadSnapshot, n, size)
		}
		state := make([]byte, size)
		_, err := io.ReadFull(file, state)
		return state, err
	})
}

// loadStored restores what is stored of the daemon's state; false where
// nothing is. at is the least time that the daemon's clock may show. It needs
// d.mu. A delta that does not hold is left out with those behind it, loudly:
// the history from there is replayed in its place.
func (d *Daemon) loadStored(at int64) (bool, error) {
	value, err := d.env.Store.Get(store.Snapshots, d.id[:])
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	index, s, err := ReadStored(d.env.Store, value, d.id)
	if err == nil && s.Header.Form > snapshot.FormMemory {
		err = fmt.Errorf("%w: a delta where the snapshot should be", store.ErrCorrupt)
	}
	if err != nil {
		return false, err
	}
	d.saved = saved{whole: index, bytes: storedSize(value, s), exact: true, goes: s.Header.Form == snapshot.FormMemory}
	d.saved.stands(index, s)
	last, changes := s, [][]byte(nil)
	marks := snapshot.NewDedupTable(s.Header.Horizon)
	err = d.env.Store.ScanPrefix(store.Deltas, d.id[:], func(k, v []byte) error {
		at, delta, state, err := d.readDelta(k[len(d.id):], v)
		if err == nil && at < index {
			err = fmt.Errorf("%w: it stands at record %d, the one before at %d", store.ErrCorrupt, at, index)
		}
		if err != nil {
			return fmt.Errorf("delta %d of daemon %s: %w", d.saved.deltas, d.id.Origin(), err)
		}
		index, last, changes = at, delta, append(changes, state.Memory)
		marks.Merge(state.Forgotten, delta.Header.Horizon)
		d.saved.deltas++
		d.saved.changes += storedSize(v, delta)
		d.saved.stands(index, last)
		return nil
	})
	if err != nil {
		d.env.Logger.Error("a part of a daemon's stored state is damaged: its history is replayed instead", "daemon", d.id.Origin(), "error", err)
		d.saved.goes, d.saved.exact = false, false
	}
	h := last.Header
	h.Form = s.Header.Form
	d.index, d.snapshotIndex = index, index
	d.epoch = max(d.epoch, h.Epoch)
	if err := d.Restore(&snapshot.Snapshot{Header: h, State: s.State}, at, changes...); err != nil {
		return false, err
	}
	d.horizon = marks
	if c, ok := d.daemon.(capturer); ok && d.saved.goes {
		d.saved.goes = c.Track() == nil
	}
	return true, nil
}

// readDelta reads the next delta of the chain.
func (d *Daemon) readDelta(k, v []byte) (uint64, *snapshot.Snapshot, *deltaState, error) {
	if len(k) != 4 || int(binary.BigEndian.Uint32(k)) != d.saved.deltas {
		return 0, nil, nil, fmt.Errorf("%w: it has place %x", store.ErrCorrupt, k)
	}
	at, s, err := ReadStored(d.env.Store, v, d.id)
	if err != nil {
		return 0, nil, nil, err
	}
	state := &deltaState{}
	if s.Header.Form != snapshot.FormDelta {
		return 0, nil, nil, fmt.Errorf("%w: a snapshot of form %s", store.ErrCorrupt, s.Header.Form)
	}
	if err := canon.Unmarshal(s.State, state); err != nil {
		return 0, nil, nil, fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	if state.Version != deltaVersion || state.Base != d.saved.digest {
		return 0, nil, nil, fmt.Errorf("%w: version %d, of another base (%x, not %x)", store.ErrCorrupt, state.Version, state.Base[:6], d.saved.digest[:6])
	}
	return at, s, state, nil
}

// dearForStandbys reports whether storing the state now would send all of a large state
// to standbys: at an end what came since is rather replayed at the next start. It needs
// d.mu.
func (d *Daemon) dearForStandbys() bool {
	return d.hasStandbys() && d.saved.bytes >= largeState && !d.nextIsDelta()
}

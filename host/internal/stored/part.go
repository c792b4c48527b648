package stored

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

const (
	LargeState = 1 << 20 // bytes from which a state is in a file

	MaxStandbyState = 16 << 20 // bytes from which the state of a daemon with standbys is in a file: a smaller one goes into one message, with the largest header
)

// Put stores a snapshot that stands before history record index, in
// place of all that is stored of the daemon's state.
func Put(st *store.Store, b *store.Batch, id identity.EntityID, index uint64, s *snapshot.Snapshot) error {
	b.DeleteUnder(store.Deltas, id[:])
	_, err := putPart(st, b, store.Snapshots, id[:], index, s, LargeState)
	return err
}

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

// Read splits a stored value, and reads the state that is apart.
func Read(st *store.Store, value []byte, id identity.EntityID) (uint64, *snapshot.Snapshot, error) {
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

// Digest names a stored snapshot or delta: whatever is in it is in its
// header, by hash.
func Digest(index uint64, s *snapshot.Snapshot) chain.Hash {
	return sha256.Sum256(append(binary.BigEndian.AppendUint64(nil, index), s.Checkpoint.State...))
}

func deltaKey(id identity.EntityID, place int) []byte {
	return binary.BigEndian.AppendUint32(append([]byte(nil), id[:]...), uint32(place))
}

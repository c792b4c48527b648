package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"slices"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// A state that is too large for the engine, which copies what it holds several
// times, is a content-addressed file of its own: states/<identity>-<digest>. It
// is durable before the batch that speaks of it. The engine's table apart has
// the key <identity><digest> for each, so that files that no batch speaks of are
// known for what a crash left.

const apart Table = 'a'

// states are the files that the engine knows.
type states struct {
	dir string

	mu   sync.Mutex
	next uint64 // name of the next file that is being written
	of   map[ID][]Digest
	keep string // a checkpoint's folder, to which what is removed is linked first; empty: none
}

// StateFile is a state on its way into a file. Each is handed to a batch, by
// PutFile, or discarded. It is used by one goroutine.
type StateFile struct {
	s    *Store
	fs   vfs.FS // the guard of the engine that it began under
	id   ID
	temp string // empty: the file has its name
	file vfs.File
	hash hash.Hash
	size int64
	room []byte // what is written is copied to: the engine's files may change what they are given
}

// statePart is how many bytes are written at once.
const statePart = 256 << 10

// stateChunk is after how many bytes the disk is asked for room, and told to
// write what it was given.
const stateChunk = 4 << 20

// NewState begins a file for a state of the daemon.
func (s *Store) NewState(id ID) (*StateFile, error) {
	st := &s.states
	st.mu.Lock()
	g := s.guard
	st.next++
	temp := s.fs.PathJoin(st.dir, fmt.Sprintf("%s%d", tempPrefix, st.next))
	st.mu.Unlock()
	f, err := g.Create(temp, "state")
	if err != nil {
		return nil, fmt.Errorf("a file for a state of %x: %w", id[:8], classify(err))
	}

	f = vfs.NewSyncingFile(f, vfs.SyncingFileOptions{BytesPerSync: stateChunk, NoSyncOnClose: true})
	return &StateFile{s: s, fs: g, id: id, temp: temp, file: f, hash: sha256.New()}, nil
}

// Write implements io.Writer. A disk without room is ErrNoSpace.
func (f *StateFile) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		part := b[done:min(len(b), done+statePart)]
		if f.size/stateChunk != (f.size+int64(len(part)))/stateChunk {
			if err := f.s.space.room(stateChunk); err != nil {
				return done, err
			}
		}

		f.room = append(f.room[:0], part...)
		n, err := f.file.Write(f.room)
		f.hash.Write(part[:n])
		f.size += int64(n)
		if done += n; err != nil {
			return done, fmt.Errorf("writing a state: %w", classify(err))
		}
	}

	return done, nil
}

// Size returns how many bytes were written.
func (f *StateFile) Size() int64 { return f.size }

// Digest returns the SHA-256 of what was written.
func (f *StateFile) Digest() Digest { return Digest(f.hash.Sum(nil)) }

// Finish gives the file its name and returns when it is durable. The batch does
// so too; who has time calls it before.
func (f *StateFile) Finish() error {
	if f.temp == "" {
		return nil
	}

	path := f.s.states.path(f.s.fs, f.id, f.Digest())
	err := errors.Join(f.file.Sync(), f.close())
	if err == nil {
		err = f.fs.Rename(f.temp, path)
	}

	if err == nil {
		err = syncDir(f.fs, f.s.states.dir)
	}

	if err != nil {
		return fmt.Errorf("writing a state: %w", classify(err))
	}

	f.temp = ""
	return nil
}

// Discard removes a file that no batch was given. It is best effort: what is
// left is removed when the store is next opened.
func (f *StateFile) Discard() {
	if f == nil || f.temp == "" {
		return
	}
	if err := errors.Join(f.close(), f.fs.Remove(f.temp)); err != nil {
		f.s.logger.Warn("removing a file that is of no use", "file", f.temp, "error", err)
	}
	f.temp = ""
}

func (f *StateFile) close() error {
	if f.file == nil {
		return nil
	}
	err := f.file.Close()
	f.file = nil
	return err
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// PutFile is Put, of a value that speaks of the file, which the batch takes
// over. What else the daemon has in files is removed with the record in
// Snapshots that spoke of it.
func (b *Batch) PutFile(t Table, k, value []byte, f *StateFile) {
	b.add(op{kind: 's', key: key(t, k), value: value, file: f})
}

// OpenState opens the daemon's file of that digest, and returns its size. A
// missing file is ErrCorrupt. Whoever reads it compares the digest.
func (s *Store) OpenState(id ID, d Digest) (io.ReadCloser, int64, error) {
	f, err := s.fs.Open(s.states.path(s.fs, id, d))
	if errors.Is(err, os.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: the file of state %x of %x is missing", ErrCorrupt, d[:8], id[:8])
	}
	if err != nil {
		return nil, 0, fmt.Errorf("opening a state: %w", classify(err))
	}

	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("opening a state: %w", classify(err)), f.Close())
	}
	return f, info.Size(), nil
}

func (st *states) path(fs vfs.FS, id ID, d Digest) string {
	return fs.PathJoin(st.dir, hex.EncodeToString(id[:])+"-"+hex.EncodeToString(d[:]))
}

// open reads which files the engine knows, and removes all others. Nobody else
// writes any meanwhile.
func (st *states) open(s *Store, g *guard, db *pebble.DB) error {
	of := make(map[ID][]Digest)
	known := make(map[string]bool)
	err := scanIn(db, []byte{byte(apart)}, []byte{byte(apart) + 1}, false, func(k, _ []byte) error {
		if len(k) != 1+len(ID{})+len(Digest{}) {
			return fmt.Errorf("%w: the name of a state of %d bytes", ErrCorrupt, len(k))
		}
		id, d := ID(k[1:33]), Digest(k[33:])
		of[id] = append(of[id], d)
		known[g.PathBase(st.path(g, id, d))] = true
		return nil
	})
	if err != nil {
		return err
	}

	names, err := g.List(st.dir)
	if err != nil {
		return err
	}

	for _, name := range names {
		if !known[name] {
			if err := g.Remove(g.PathJoin(st.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}

	st.mu.Lock()
	defer st.mu.Unlock()
	st.of, s.guard = of, g
	return nil
}

// staged is what a batch of the engine does to files, in order.
type staged struct {
	of   map[ID][]Digest // of the daemons that it concerns, as it will be
	dead []string        // files that go with it
}

// stage makes the files of the operation durable, and adds to the engine's batch
// what it says of them. It is the committer's.
func (st *states) stage(s *Store, to *pebble.Batch, o *op, all *staged) error {
	replaces := Table(o.key[0]) == Snapshots && len(o.key) == 1+len(ID{}) && o.kind != 'r'
	if o.file == nil && !replaces {
		return nil
	}

	id := ID(o.key[1:33])
	has, ok := all.of[id]
	if !ok {
		st.mu.Lock()
		has = slices.Clone(st.of[id])
		st.mu.Unlock()
	}

	if o.file == nil && len(has) == 0 {
		return nil
	}
	if all.of == nil {
		all.of = make(map[ID][]Digest)
	}

	var digest Digest
	if o.file != nil {
		if err := o.file.Finish(); err != nil {
			return err
		}
		digest = o.file.Digest()
	}

	if replaces {
		for _, d := range has {
			if o.file != nil && d == digest {
				continue
			}
			if err := to.Delete(key(apart, append(id[:], d[:]...)), nil); err != nil {
				return err
			}
			all.dead = append(all.dead, st.path(s.fs, id, d))
		}
		has = nil
	}

	if o.file != nil {
		if err := to.Set(key(apart, append(id[:], digest[:]...)), nil, nil); err != nil {
			return err
		}

		path := st.path(s.fs, id, digest)
		all.dead = slices.DeleteFunc(all.dead, func(p string) bool { return p == path })
		if !slices.Contains(has, digest) {
			has = append(has, digest)
		}
	}

	all.of[id] = has
	return nil
}

// committed follows a batch that is durable.
func (st *states) committed(s *Store, all *staged) {
	st.mu.Lock()
	maps.Copy(st.of, all.of)
	for id, has := range all.of {
		if len(has) == 0 {
			delete(st.of, id)
		}
	}

	keep := st.keep
	st.mu.Unlock()
	for _, path := range all.dead {
		if keep != "" {
			if err := linkOnce(s.fs, path, s.fs.PathJoin(keep, s.fs.PathBase(path))); err != nil {
				s.logger.Warn("keeping a state for a checkpoint, which will lack it", "file", path, "error", err)
			}
		}
		if err := s.guard.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			s.logger.Warn("removing a state that was replaced", "file", path, "error", err)
		}
	}
}

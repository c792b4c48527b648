package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Errors of checkpoints.
var (
	ErrCheckpointing = errors.New("another checkpoint of the data directory is in use")
	ErrEphemeral     = errors.New("the store is in memory only")
)

// checkpointName is the folder in the data directory that holds the checkpoint
// in use. What a crash leaves there is removed by Open.
const checkpointName = "checkpoint"

// Checkpoint is the content of a store at one moment. Its files do not change
// while the store goes on. They share the disk's blocks with the store's own
// files: a checkpoint costs space only for what the store replaces meanwhile.
type Checkpoint struct {
	s   *Store
	dir string
}

// CheckpointFile is a file of a checkpoint.
type CheckpointFile struct {
	Path string // relative to the data directory, with slashes: format, or a name in db, states or modules
	Size int64  // bytes
}

// Checkpoint returns the content of the store at one moment between call and
// return: all that was durable at the call is in it. Commits go on meanwhile;
// none waits for it. The caller calls Close. There is one checkpoint at a time:
// a second is ErrCheckpointing. A store in memory is ErrEphemeral.
func (s *Store) Checkpoint() (_ *Checkpoint, err error) {
	if s.sync == pebble.NoSync {
		return nil, ErrEphemeral
	}
	if err := s.why(nil); err != nil {
		return nil, err
	}
	if err := s.space.room(0); err != nil {
		return nil, err
	}
	if !s.checkpointing.TryLock() {
		return nil, ErrCheckpointing
	}

	c := &Checkpoint{s: s, dir: s.fs.PathJoin(s.root(), checkpointName)}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("making a checkpoint: %w", classify(err)), c.Close())
		}
	}()

	states, modules := s.fs.PathJoin(c.dir, "states"), filepath.Join(c.dir, "modules")
	if err := errors.Join(s.fs.MkdirAll(states, 0o700), os.MkdirAll(modules, 0o700)); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, "format"), formatText(formatVersion), 0o600); err != nil {
		return nil, err
	}

	// Modules are linked twice: one that is removed meanwhile is found the first
	// time, one that a kind names since then the second.
	if err := s.modules.linkInto(modules); err != nil {
		return nil, err
	}

	// What is in the log is put into tables first, which are linked and not copied, and
	// are the same in the next checkpoint. Writers go on meanwhile.
	if err := contained(s.flush); err != nil {
		return nil, err
	}

	s.states.keepRemoved(states) // before the engine's files are chosen
	defer s.states.keepRemoved("")
	if err := contained(func() error { return s.db.Load().Checkpoint(s.fs.PathJoin(c.dir, "db")) }); err != nil {
		return nil, err
	}
	if err := s.states.linkInto(s.fs, states); err != nil {
		return nil, err
	}
	if err := s.modules.linkInto(modules); err != nil {
		return nil, err
	}

	return c, nil
}

// root is the data directory.
func (s *Store) root() string { return s.fs.PathDir(s.dir) }

// Files returns the files of the checkpoint, sorted by path.
func (c *Checkpoint) Files() ([]CheckpointFile, error) {
	out := []CheckpointFile{{Path: "format", Size: int64(len(formatText(formatVersion)))}}
	for _, folder := range []string{"db", "states"} {
		names, err := c.s.fs.List(c.s.fs.PathJoin(c.dir, folder))
		if err != nil {
			return nil, fmt.Errorf("listing a checkpoint: %w", classify(err))
		}

		for _, name := range names {
			info, err := c.s.fs.Stat(c.s.fs.PathJoin(c.dir, folder, name))
			if err != nil {
				return nil, fmt.Errorf("listing a checkpoint: %w", classify(err))
			}
			out = append(out, CheckpointFile{folder + "/" + name, info.Size()})
		}
	}

	entries, err := os.ReadDir(filepath.Join(c.dir, "modules"))
	if err != nil {
		return nil, fmt.Errorf("listing a checkpoint: %w", err)
	}

	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return nil, fmt.Errorf("listing a checkpoint: %w", err)
		}
		out = append(out, CheckpointFile{"modules/" + e.Name(), info.Size()})
	}

	slices.SortFunc(out, func(a, b CheckpointFile) int { return strings.Compare(a.Path, b.Path) })
	return out, nil
}

// Open opens a file that Files named.
func (c *Checkpoint) Open(path string) (io.ReadCloser, error) {
	if path == "format" || strings.HasPrefix(path, "modules/") {
		return os.Open(filepath.Join(c.dir, filepath.FromSlash(path)))
	}
	folder, name, _ := strings.Cut(path, "/")
	return c.s.fs.Open(c.s.fs.PathJoin(c.dir, folder, name))
}

// Close removes the checkpoint. It is called once, before the store is closed.
func (c *Checkpoint) Close() error {
	defer c.s.checkpointing.Unlock()
	return removeCheckpoint(c.s.fs, c.s.root())
}

// removeCheckpoint removes the checkpoint of a data directory, if there is one.
func removeCheckpoint(fs vfs.FS, root string) error {
	dir := fs.PathJoin(root, checkpointName)
	if err := errors.Join(fs.RemoveAll(dir), os.RemoveAll(dir)); err != nil { // modules are in no other file system than the machine's
		return fmt.Errorf("removing a checkpoint: %w", err)
	}
	return nil
}

// keepRemoved makes the store link the states that it removes into dir first;
// empty: no longer.
func (st *states) keepRemoved(dir string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.keep = dir
}

// linkInto links every state into dir. Those that no batch has spoken of yet come
// along: the store that opens dir removes them.
func (st *states) linkInto(fs vfs.FS, dir string) error {
	names, err := fs.List(st.dir)
	if err != nil {
		return err
	}

	for _, name := range names {
		if strings.HasPrefix(name, tempPrefix) {
			continue
		}
		if err := linkOnce(fs, fs.PathJoin(st.dir, name), fs.PathJoin(dir, name)); err != nil {
			return err
		}
	}

	return nil
}

// linkOnce links a file unless it was linked before, or is gone.
func linkOnce(fs vfs.FS, from, to string) error {
	err := fs.Link(from, to)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

// linkInto links every module into dir.
func (m *modules) linkInto(dir string) error {
	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return err
	}

	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		err := os.Link(filepath.Join(m.dir, e.Name()), filepath.Join(dir, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}

	return nil
}

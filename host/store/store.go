// Package store keeps what a host must not lose: its daemons, their histories
// and snapshots, migrations under way, kinds, modules and trusted peers. It
// knows bytes only; their owners encode them.
package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Errors of a store.
var (
	ErrNotFound = errors.New("not in the store")
	ErrLocked   = errors.New("the data directory is in use by another process")
	ErrFormat   = errors.New("the data directory has a format that this program does not know")
	ErrPoisoned = errors.New("a write to the data directory failed: nothing more is written until the host is restarted")
	ErrNoSpace  = errors.New("no space left in the data directory")
	ErrCorrupt  = errors.New("the data directory holds damaged data")
	ErrClosed   = errors.New("the store is closed")
)

// format is the version of the layout below. It is in the file "format".
const format = "wasmhost-data 1\n"

// Options say where a store is.
type Options struct {
	Dir       string       // made if missing, mode 0700; not used when Ephemeral
	Ephemeral bool         // keep everything in memory
	Logger    *slog.Logger // nil: slog.Default()
	FS        vfs.FS       // nil: the machine's; a seam for faults
}

// Store is an open data directory. It is safe for concurrent use.
type Store struct {
	db      *pebble.DB
	lock    *pebble.Lock
	sync    *pebble.WriteOptions
	modules modules
	queue   queue

	mu     sync.Mutex
	poison error
}

// Open opens the data directory, or makes it. Another process that has it open
// is ErrLocked; a newer layout is ErrFormat.
func Open(o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Store{sync: pebble.Sync, modules: modules{dir: filepath.Join(o.Dir, "modules")}}
	fs := o.FS
	if o.Ephemeral {
		fs, s.sync, s.modules = vfs.NewMem(), pebble.NoSync, modules{memory: make(map[Digest][]byte)}
		o.Dir = "ephemeral"
	} else {
		if fs == nil {
			fs = vfs.Default
		}
		if err := prepare(o.Dir); err != nil {
			return nil, err
		}
		if err := s.modules.prepare(); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(o.Dir, "db")
	if err := makeDurable(fs, dir); err != nil {
		return nil, fmt.Errorf("opening the data directory: %w", classify(err))
	}
	lock, err := pebble.LockDirectory(dir, fs)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLocked, o.Dir, err)
	}
	cache := pebble.NewCache(16 << 20)
	defer cache.Unref()
	s.db, err = pebble.Open(dir, &pebble.Options{
		FS: fs, Lock: lock, Cache: cache, MemTableSize: 16 << 20, Logger: quiet{o.Logger},
		FormatMajorVersion: pebble.FormatNewest,
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the data directory %s: %w", o.Dir, classify(err)), lock.Close())
	}
	s.lock = lock
	s.queue.start(s)
	return s, nil
}

// makeDurable makes the directory and syncs the entries on the way to it, so
// that a crash cannot take the directory away with what was synced inside.
func makeDurable(fs vfs.FS, dir string) error {
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for {
		parent := fs.PathDir(dir)
		if parent == dir {
			return nil
		}
		dir = parent
		d, err := fs.OpenDir(dir)
		if errors.Is(err, os.ErrPermission) {
			return nil // nobody who may not read it made an entry in it just now
		}
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return err
		}
	}
}

// prepare makes the directory and checks its format file.
func prepare(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", classify(err))
	}
	path := filepath.Join(dir, "format")
	got, err := os.ReadFile(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return writeFile(path, []byte(format))
	case err != nil:
		return fmt.Errorf("opening the data directory: %w", err)
	case string(got) != format:
		return fmt.Errorf("%w: %s says %q, this program knows %q", ErrFormat, path, got, format)
	}
	return nil
}

// Close writes what was submitted, then closes. Later calls fail with
// ErrClosed.
func (s *Store) Close() error {
	if !s.queue.stop() {
		return ErrClosed
	}
	if err := errors.Join(s.db.Close(), s.lock.Close()); err != nil {
		return fmt.Errorf("closing the data directory: %w", classify(err))
	}
	return nil
}

// Err returns nil, or an error that wraps ErrPoisoned and the write failure
// that poisoned the store.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.poison
}

func (s *Store) poisonWith(cause error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.poison == nil {
		s.poison = fmt.Errorf("%w: %w", ErrPoisoned, classify(cause))
	}
	return s.poison
}

// quiet sends Pebble's log to slog.
type quiet struct{ l *slog.Logger }

func (q quiet) Infof(f string, a ...any)  { q.l.Debug(fmt.Sprintf(f, a...), "component", "store") }
func (q quiet) Errorf(f string, a ...any) { q.l.Error(fmt.Sprintf(f, a...), "component", "store") }
func (q quiet) Fatalf(f string, a ...any) {
	q.l.Error(fmt.Sprintf(f, a...), "component", "store")
	for _, arg := range a {
		if err, ok := arg.(error); ok {
			panic(err) // which write makes the store's poison
		}
	}
	panic(fmt.Sprintf(f, a...))
}

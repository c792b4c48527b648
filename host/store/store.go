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
	"sync/atomic"
	"time"

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

// Options say where a store is.
type Options struct {
	Dir       string       // made if missing, mode 0700; not used when Ephemeral
	Ephemeral bool         // keep everything in memory
	Logger    *slog.Logger // nil: slog.Default()
	FS        vfs.FS       // nil: the machine's; a seam for faults

	// Reserve is how much of the disk stays free, in bytes: below it the store
	// takes no new records, and has room for what it needs to go on. 0: 64 MiB,
	// or a quarter of a small disk. Negative: none.
	Reserve int64
}

// Store is an open data directory. It is safe for concurrent use.
type Store struct {
	db      atomic.Pointer[pebble.DB]
	guard   *guard // of db; the committer's after Open, who changes it under states.mu
	fs      vfs.FS
	dir     string // of the engine
	logger  *slog.Logger
	lock    *pebble.Lock
	sync    *pebble.WriteOptions
	modules modules
	states  states
	queue   queue
	space   space
	meters  meters

	checkpointing sync.Mutex // held while a checkpoint is in use
	reclaiming    sync.Mutex // held while the space of what was deleted is given back

	gate sync.RWMutex // held while one record is read
	shut bool         // under gate: nothing is read any more

	mu         sync.Mutex
	poison     error // why nothing is written; nil: all is well
	final      bool  // only a restart helps
	failed     chan struct{}
	generation uint64
	reopenings int
	reopening  bool // the committer was asked to
	asked      time.Time
}

// Open opens the data directory, or makes it. Another process that has it open
// is ErrLocked; a newer layout is ErrFormat.
func Open(o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}

	s := &Store{sync: pebble.Sync, modules: modules{dir: filepath.Join(o.Dir, "modules")}, logger: o.Logger,
		failed: make(chan struct{}), generation: 1}
	fs, version := o.FS, formatVersion
	var err error

	if o.Ephemeral {
		fs, s.sync, s.modules = vfs.NewMem(), pebble.NoSync, modules{memory: make(map[Digest][]byte)}
		o.Dir = "ephemeral"
	} else {
		if fs == nil {
			fs = vfs.Default
		}

		if version, err = prepare(o.Dir); err != nil {
			return nil, err
		}
		if err := s.modules.prepare(); err != nil {
			return nil, err
		}
	}

	s.fs, s.dir = fs, filepath.Join(o.Dir, "db")
	s.states.dir = fs.PathJoin(o.Dir, "states")
	s.space.init(fs, o)
	s.modules.room = s.space.room
	if err := errors.Join(makeDurable(fs, s.dir), makeDurable(fs, s.states.dir)); err != nil {
		return nil, fmt.Errorf("opening the data directory: %w", classify(err))
	}

	lock, err := pebble.LockDirectory(s.dir, fs)
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrLocked, o.Dir, err)
	}
	if !o.Ephemeral {
		if err := removeCheckpoint(fs, o.Dir); err != nil {
			return nil, errors.Join(err, lock.Close())
		}
	}

	if err := s.openEngine(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the data directory %s: %w", o.Dir, s.why(err)), lock.Close())
	}

	s.lock = lock
	s.queue.start(s)
	if err := s.upgrade(o.Dir, version); err != nil {
		return nil, errors.Join(err, s.Close())
	}
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

// flush puts what is in the log into tables. A disk that is full keeps it in the
// log.
func (s *Store) flush() error {
	if s.sync == pebble.NoSync || s.space.room(1) != nil {
		return nil
	}
	return s.db.Load().Flush()
}

// Close writes what was submitted, then closes. Later calls fail with
// ErrClosed.
func (s *Store) Close() error {
	if !s.queue.stop() {
		return ErrClosed
	}

	s.gate.Lock()
	s.shut = true
	s.gate.Unlock()
	err := s.why(nil)

	if err == nil {
		err = contained(s.flush) // a log that holds nothing cannot be damaged
		s.guard.leave()
		err = errors.Join(err, contained(s.db.Load().Close))
	} else { // an engine that failed may not be able to close
		s.guard.close()
		err = nil
	}

	if err := errors.Join(err, s.lock.Close()); err != nil {
		return fmt.Errorf("closing the data directory: %w", classify(err))
	}
	return nil
}

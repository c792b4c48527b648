package store

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// openEngine opens an engine behind a guard of its own. It needs the lock of
// the data directory.
func (s *Store) openEngine() error {
	if err := errors.Join(checkManifest(s.fs, s.dir), checkLogs(s.fs, s.dir)); err != nil {
		return err
	}

	g := &guard{FS: s.fs, failed: s.noteFailure, leaving: make(chan struct{})}
	if s.sync != pebble.NoSync {
		g.dir = s.dir
	}

	cache := pebble.NewCache(16 << 20)
	defer cache.Unref()
	var db *pebble.DB
	name, err := currentManifest(s.fs, s.dir)
	if err != nil {
		return err
	}

	fresh := name == ""
	gaveUp := make(chan error, 1)
	giveUp := func(err error) {
		s.giveUp(err)
		select {
		case gaveUp <- err:
		default: // nobody waits for it, or it is not the first
		}
	}

	err = containedUnless(gaveUp, func() (err error) {
		o := &pebble.Options{
			FS: unlocked{g}, Cache: cache, MemTableSize: 32 << 20, L0CompactionThreshold: 8, LBaseMaxBytes: 256 << 20, Logger: quiet{s.logger, giveUp},
			FormatMajorVersion: pebble.FormatNewest, EventListener: s.listener(g),
			DisableWAL: s.sync == pebble.NoSync, // what is in memory alone is not to be found again
		}

		o.Experimental.ValueSeparationPolicy = largeApart
		db, err = pebble.Open(s.dir, o)
		if err == nil && fresh {
			err = db.Flush() // its first log is of an old form, which does not say what was synced
		}
		return err
	})

	if err == nil {
		if err = s.states.open(s, g, db); err != nil {
			g.leave()
			err = errors.Join(err, contained(db.Close))
		}
	}

	if err != nil {
		g.close()
		return err
	}

	s.db.Store(db)
	return nil
}

// largeApart has the engine keep large values, which are states, in files of
// their own: whoever looks for something else reads past them, and merging
// tables does not copy them.
func largeApart() pebble.ValueSeparationPolicy {
	return pebble.ValueSeparationPolicy{Enabled: true, MinimumSize: 64 << 10, MaxBlobReferenceDepth: 10, RewriteMinimumAge: time.Minute, TargetGarbageRatio: 0.3}
}

// listener hears of damage, which by default would end the process: whoever
// reads what is damaged has the error, and nobody else is concerned.
func (s *Store) listener(g *guard) *pebble.EventListener {
	var told sync.Map // the files whose damage is in the log
	return &pebble.EventListener{
		DataCorruption: func(i pebble.DataCorruptionInfo) {
			if _, before := told.LoadOrStore(i.Path, true); !before {
				s.logger.Error("damaged data", "file", i.Path, "error", i.Details)
			}
		},
		BackgroundError: func(err error) {
			if countsTables() {
				g.slow()
				return
			}
			s.logger.Error("the engine's background work failed", "error", err)
		},
	}
}

// countsTables reports whether the caller is the engine's goroutine that reads
// the statistics of tables: it holds no lock, and tries again at once, for as long
// as the engine is open, where it can't read one.
func countsTables() bool {
	var pcs [16]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.HasSuffix(f.Function, ".collectTableStats") {
			return true
		}
		if !more {
			return false
		}
	}
}

// unlocked takes no lock for the engine: the Store holds one, whichever engine
// it has.
type unlocked struct{ *guard }

func (unlocked) Lock(string) (io.Closer, error) { return nopCloser{}, nil }

type nopCloser struct{}

func (nopCloser) Close() error { return nil }

// errGone is the error of a call to the engine that ended its goroutine.
var errGone = errors.New("the engine gave up")

// contained calls fn on a goroutine of its own, which the engine may end (see
// quiet).
func contained(fn func() error) error { return containedUnless(nil, fn) }

// containedUnless is contained, but returns the error that comes from gaveUp if that
// comes first: another goroutine of the engine ended then, for which fn may wait for ever.
func containedUnless(gaveUp <-chan error, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		err := errGone
		defer func() {
			if p := recover(); p != nil {
				if err, _ = p.(error); err == nil {
					err = fmt.Errorf("%v", p)
				}
			}
			done <- err
		}()

		err = fn()
	}()

	select {
	case err := <-done:
		return err
	case err := <-gaveUp:
		return err
	}
}

// quiet sends Pebble's log to slog. What is fatal to Pebble is that a write
// failed: the goroutine ends, the process does not.
type quiet struct {
	l      *slog.Logger
	giveUp func(error)
}

func (q quiet) Infof(f string, a ...any)  { q.l.Debug(fmt.Sprintf(f, a...)) }
func (q quiet) Errorf(f string, a ...any) { q.l.Error(fmt.Sprintf(f, a...)) }
func (q quiet) Fatalf(f string, a ...any) {
	q.l.Error(fmt.Sprintf(f, a...))
	for _, arg := range a {
		if err, ok := arg.(error); ok {
			q.giveUp(err)
			runtime.Goexit()
		}
	}
	panic(fmt.Sprintf(f, a...)) // the engine contradicts itself
}

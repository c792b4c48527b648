package store

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// errFenced is what an engine hears that was replaced.
var errFenced = errors.New("the engine was replaced")

// guard is the file system of one engine: it sees which writes and syncs fail,
// and once it is closed lets no change through, so that an engine that was
// given up cannot touch the files of its successor. Reading goes on.
type guard struct {
	vfs.FS
	failed func(err error, sync bool) // called for each failed change

	mu      sync.RWMutex // held for reading during a change
	closed  bool
	leaving chan struct{} // closed when the engine is about to be

	dir     string     // whose manifest is summed; empty: none is
	summing sync.Mutex // held while it is
	last    sum        // that was written
	synced  sync.Map   // by a manifest's name, how many bytes of it are durable, if it is being written
}

// close returns when no change is under way, and lets no other begin.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
}

// leave lets go whoever is being slowed. It is called once, before the engine is
// closed.
func (g *guard) leave() { close(g.leaving) }

// slow makes the engine's goroutine wait that would go on without end; that of an
// engine that was given up, which nobody closes, ends.
func (g *guard) slow() {
	g.mu.RLock()
	closed := g.closed
	g.mu.RUnlock()
	if closed {
		runtime.Goexit()
	}

	t := time.NewTimer(10 * time.Second)
	defer t.Stop()
	select {
	case <-g.leaving:
	case <-t.C:
	}
}

func (g *guard) change(sync bool, op func() error) error {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.closed {
		return errFenced
	}

	err := op()
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrExist) {
		g.failed(err, sync)
	}
	return err
}

func (g *guard) file(open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	err := g.change(false, func() (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}

	return &guardedFile{f, g}, nil
}

// Create implements vfs.FS.
func (g *guard) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if g.dir != "" && strings.HasPrefix(g.FS.PathBase(name), "marker.") {
		if err := g.syncDir(g.FS.PathDir(name)); err != nil {
			return nil, err
		}
	}

	f, err := g.file(func() (vfs.File, error) { return g.FS.Create(name, c) })
	if base := g.FS.PathBase(name); err == nil && g.FS.PathDir(name) == g.dir && strings.HasPrefix(base, "MANIFEST-") { // a checkpoint's has the same name
		g.synced.Store(base, int64(0))
		return &manifestFile{File: f, g: g, name: base}, nil
	}
	return f, err
}

// syncDir makes durable that the directory has what it has. A marker names a file
// that the engine has made just before: a crash must not leave the marker alone.
func (g *guard) syncDir(dir string) error {
	return g.change(true, func() error {
		d, err := g.FS.OpenDir(dir)
		if err != nil {
			return err
		}
		return errors.Join(d.Sync(), d.Close())
	})
}

// OpenReadWrite implements vfs.FS.
func (g *guard) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.file(func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

// ReuseForWrite implements vfs.FS.
func (g *guard) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if err := g.beforeRemoval(old); err != nil {
		return nil, err
	}
	return g.file(func() (vfs.File, error) { return g.FS.ReuseForWrite(old, name, c) })
}

// OpenDir implements vfs.FS.
func (g *guard) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &guardedFile{f, g}, nil
}

// Link implements vfs.FS.
func (g *guard) Link(old, name string) error {
	return g.change(false, func() error { return g.FS.Link(old, name) })
}

// Remove implements vfs.FS.
func (g *guard) Remove(name string) error {
	if err := g.beforeRemoval(name); err != nil {
		return err
	}
	return g.change(false, func() error { return g.FS.Remove(name) })
}

// RemoveAll implements vfs.FS.
func (g *guard) RemoveAll(name string) error {
	return g.change(false, func() error { return g.FS.RemoveAll(name) })
}

// Rename implements vfs.FS.
func (g *guard) Rename(old, name string) error {
	return g.change(false, func() error { return g.FS.Rename(old, name) })
}

// MkdirAll implements vfs.FS.
func (g *guard) MkdirAll(dir string, perm os.FileMode) error {
	return g.change(false, func() error { return g.FS.MkdirAll(dir, perm) })
}

// Unwrap implements vfs.FS.
func (g *guard) Unwrap() vfs.FS { return g.FS }

type guardedFile struct {
	vfs.File
	g *guard
}

func (f *guardedFile) Write(b []byte) (n int, err error) {
	err = f.g.change(false, func() (err error) {
		n, err = f.File.Write(b)
		return err
	})
	return n, err
}

func (f *guardedFile) WriteAt(b []byte, at int64) (n int, err error) {
	err = f.g.change(false, func() (err error) {
		n, err = f.File.WriteAt(b, at)
		return err
	})
	return n, err
}

func (f *guardedFile) Preallocate(at, n int64) error {
	return f.g.change(false, func() error { return f.File.Preallocate(at, n) })
}

func (f *guardedFile) Sync() error     { return f.g.change(true, f.File.Sync) }
func (f *guardedFile) SyncData() error { return f.g.change(true, f.File.SyncData) }

func (f *guardedFile) SyncTo(n int64) (full bool, err error) {
	err = f.g.change(true, func() (err error) {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, err
}

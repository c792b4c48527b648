package project

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// quiet is how long nothing may change before a change counts: editors write a
// file in several steps.
const quiet = 50 * time.Millisecond

// unwatched are folders that builds write to.
var unwatched = []string{"target", "node_modules", "zig-out", "zig-cache"}

// Watch calls build at once, and again whenever files below dir have changed and are
// quiet, until ctx ends. A change is other contents, a new file or one that is gone:
// not temporary files that a build makes and removes, the module that it makes, hidden
// files and what is ignored. Changes while build runs count; where the build itself
// changes a file each time, product is called with its path, and the build's
// changes of it do not count. An error of build ends it.
func (s *Settings) Watch(ctx context.Context, dir string, build func() error, product func(file string)) (err error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, w.Close()) }()
	if err := s.add(w, dir, dir); err != nil {
		return err
	}

	t := &tree{settings: s, dir: dir, products: make(map[string]bool)}
	if err := t.build(build, product); err != nil {
		return err
	}

	timer := time.NewTimer(time.Hour)
	timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.Errors:
			return err
		case e := <-w.Events:
			if s.ignored(dir, e.Name) || e.Op == fsnotify.Chmod {
				continue
			}
			if st, err := os.Stat(e.Name); err == nil && st.IsDir() {
				if err := s.add(w, dir, e.Name); err != nil {
					return err
				}
			}

			timer.Reset(quiet)

		case <-timer.C:
			changed, err := t.changed()
			if err == nil && len(changed) > 0 {
				err = t.build(build, product)
			}
			if err != nil {
				return err
			}
		}
	}
}

// add watches a folder and those below it.
func (s *Settings) add(w *fsnotify.Watcher, dir, folder string) error {
	return filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it is gone already
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		case s.ignored(dir, path):
			return fs.SkipDir
		}
		return w.Add(path)
	})
}

// ignored reports whether a path is of no interest.
func (s *Settings) ignored(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	if err != nil || rel == "." {
		return err != nil
	}
	if rel == filepath.Clean(s.Module) {
		return true
	}

	for _, name := range strings.Split(rel, string(filepath.Separator)) {
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, "~") || slices.Contains(unwatched, name) || slices.Contains(s.Ignore, name) {
			return true
		}
	}
	return false
}

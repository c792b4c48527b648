package project

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// tree is what the watched files of a project are. A build counts as wanted where the
// tree is not what it was when the last build began: temporary files that a build makes
// and removes are no change.
type tree struct {
	settings *Settings
	dir      string
	files    map[string]leaf // by path, as they were seen last
	products map[string]bool // files that builds write to
}

// leaf is a file.
type leaf struct {
	size int64
	time time.Time
	sum  [sha256.Size]byte
}

// changed looks again, and returns the files that are new, gone or have other contents,
// sorted.
func (t *tree) changed() ([]string, error) {
	now := make(map[string]leaf)
	err := filepath.WalkDir(t.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it is gone already
		case err != nil:
			return err
		case t.settings.ignored(t.dir, path):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}

		l, ok, err := t.look(path)
		if ok {
			now[path] = l
		}
		return err
	})
	if err != nil {
		return nil, err
	}

	var changed []string
	for path := range maps.Keys(now) {
		if was, ok := t.files[path]; !ok || was.sum != now[path].sum {
			changed = append(changed, path)
		}
	}

	for path := range maps.Keys(t.files) {
		if _, ok := now[path]; !ok {
			changed = append(changed, path)
		}
	}

	t.files = now
	slices.Sort(changed)
	return changed, nil
}

// look reads a file, unless its size and time are what they were. ok is false for what
// is no file, or is gone.
func (t *tree) look(path string) (l leaf, ok bool, err error) {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !st.Mode().IsRegular() {
		return leaf{}, false, nil
	} else if err != nil {
		return leaf{}, false, err
	}

	if was, ok := t.files[path]; ok && was.size == st.Size() && was.time.Equal(st.ModTime()) {
		return was, true, nil
	}

	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return leaf{}, false, nil
	} else if err != nil {
		return leaf{}, false, err
	}

	sum := sha256.New()
	_, err = io.Copy(sum, f)
	if err = errors.Join(err, f.Close()); err != nil {
		return leaf{}, false, err
	}

	l = leaf{size: st.Size(), time: st.ModTime()}
	sum.Sum(l.sum[:0])
	return l, true, nil
}

// maxInRow is how many builds may follow each other without a change between them.
const maxInRow = 3

// build builds until nothing changes while it does. What a build changes wants one more,
// since it may be an author's; a file that the second changes as well, or that changes
// in the last of maxInRow, is the build's own: product is called with its path.
func (t *tree) build(build func() error, product func(file string)) error {
	var before []string // what changed during the build before
	if _, err := t.changed(); err != nil {
		return err
	}

	for n := 1; ; n++ {
		if err := build(); err != nil {
			return err
		}

		during, err := t.changed()
		if err != nil {
			return err
		}

		before = slices.DeleteFunc(during, func(path string) bool {
			own := t.products[path] || slices.Contains(before, path) || n == maxInRow
			if own && !t.products[path] {
				t.products[path] = true
				product(path)
			}
			return own
		})
		if len(before) == 0 {
			return nil
		}
	}
}

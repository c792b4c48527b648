package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLink says that something in the data directory is a link: it could lead what the
// node writes elsewhere.
var ErrLink = errors.New("a link in the data directory")

// makePrivate lets nobody but the node's user at what is in the data directory: files
// 0600, folders 0700. Earlier versions left some files readable. It refuses links: dir
// itself may be one. What another user owns (lost+found) is left as it is.
func makePrivate(dir string) error {
	root, err := filepath.EvalSymlinks(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is made soon
	}
	if err != nil {
		return err
	}

	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // removed meanwhile
		case errors.Is(err, fs.ErrPermission) && path != root:
			return fs.SkipDir
		case err != nil:
			return err
		case d.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%w: %s: put what it leads to in its place", ErrLink, path)
		case !d.IsDir() && !d.Type().IsRegular():
			return nil
		}

		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 == 0 {
			return nil
		}
		if err := os.Chmod(path, info.Mode().Perm()&0o700); err != nil && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}

		return nil
	})
	if err != nil {
		return fmt.Errorf("making the data directory private: %w", err)
	}

	return nil
}

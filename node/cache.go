package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// The cache of a node that keeps nothing is a folder of its own, which it has
// locked for as long as it runs: what a crash leaves is removed by the next such
// node.
const ephemeralCache = "wasmhost-cache-"

// openEphemeralCache makes the folder; close removes it.
func openEphemeralCache(temp string) (dir string, close func() error, err error) {
	left, err := filepath.Glob(filepath.Join(temp, ephemeralCache+"*"))
	if err != nil {
		return "", nil, err
	}

	for _, old := range left {
		info, err := os.Lstat(old)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < time.Minute || !ownedByUs(info) {
			continue
		}
		if lock, err := lockDir(old); err == nil { // nobody has it
			_ = errors.Join(os.RemoveAll(old), lock.Close()) // the next tries again
		}
	}

	if dir, err = os.MkdirTemp(temp, ephemeralCache); err != nil {
		return "", nil, err
	}

	lock, err := lockDir(dir)
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("locking the cache: %w", err), os.RemoveAll(dir))
	}
	return dir, func() error { return errors.Join(os.RemoveAll(dir), lock.Close()) }, nil
}

// keepPrivate makes the folder's mode 0700 where it exists.
func keepPrivate(dir string) error {
	if err := os.Chmod(dir, 0o700); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

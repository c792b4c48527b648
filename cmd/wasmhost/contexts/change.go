package contexts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Change reads the file, has change change the set, and writes it. Of several programs, and
// goroutines, that change one file at once each waits for those before it, so that none
// undoes what another did. An error of change leaves the file as it was.
func Change(path string, change func(*Set) error) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}

	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, f.Close()) }() // which gives the lock back
	if err := lock(f); err != nil {
		return fmt.Errorf("waiting for other changes to %s: %w", path, err)
	}

	set, err := Read(path)
	if err != nil {
		return err
	}
	if err := change(&set); err != nil {
		return err
	}
	if err := Write(path, set); err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}

	return nil
}

package identity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ErrUnprotected says that a key file that should be protected by a passphrase
// is not.
var ErrUnprotected = errors.New("the key file is not protected by a passphrase")

// ReadProtectedKeyFile is ReadKeyFile of a file that must be protected: one
// that can be read without a passphrase is ErrUnprotected.
func ReadProtectedKeyFile(path string, passphrase []byte) (*KeyPair, error) {
	k, err := ReadKeyFile(path, nil)
	if err == nil {
		k.Wipe()
		return nil, fmt.Errorf("reading key file %s: %w", path, ErrUnprotected)
	}
	if !errors.Is(err, ErrPassphraseNeeded) {
		return nil, err
	}

	return ReadKeyFile(path, passphrase)
}

// ReplaceKeyFile writes k in place of the key file at path, sealed with the
// passphrase unless it is empty. A crash leaves the old file or the new one.
// What the disk keeps of the old file's blocks is not erased.
func ReplaceKeyFile(path string, k *KeyPair, passphrase []byte) (err error) {
	fresh := path + ".new"
	if err := os.Remove(fresh); err != nil && !errors.Is(err, os.ErrNotExist) { // an attempt that a crash cut short
		return fmt.Errorf("replacing key file %s: %w", path, err)
	}
	if err := WriteKeyFile(fresh, k, passphrase); err != nil {
		return err
	}
	if err := os.Rename(fresh, path); err != nil {
		return fmt.Errorf("replacing key file %s: %w", path, errors.Join(err, os.Remove(fresh)))
	}

	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("replacing key file %s: %w", path, err)
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return fmt.Errorf("replacing key file %s: %w", path, err)
	}

	return nil
}

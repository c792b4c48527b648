package backup

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// Archive is a single file with a backup: a tar archive of its objects. It is
// either being written, by NewArchive, or read, by OpenArchive.
type Archive struct {
	name string

	mu      sync.Mutex
	file    *os.File
	tar     *tar.Writer // nil: it is read
	written int64       // bytes since the last sync
	whole   bool        // it has a manifest
	entries map[string]archived
}

// archived is where an object is in the file, in bytes.
type archived struct{ at, size int64 }

// NewArchive begins a file. It gets its name when Close returns nil, and does so
// only if it has a manifest; an existing file is ErrExists.
func NewArchive(name string) (*Archive, error) {
	if _, err := os.Lstat(name); err == nil {
		return nil, fmt.Errorf("%w: the file %s", ErrExists, name)
	}

	f, err := os.CreateTemp(filepath.Dir(name), partName+"*") // mode 0600
	if err != nil {
		return nil, fmt.Errorf("writing a backup: %w", err)
	}

	a := &Archive{name: name, file: f, entries: make(map[string]archived)}
	a.tar = tar.NewWriter(a)
	return a, nil
}

// Write is the archive's own way to its file.
func (a *Archive) Write(b []byte) (int, error) {
	n, err := a.file.Write(b)
	if a.written += int64(n); err == nil && a.written >= syncEvery {
		a.written, err = 0, a.file.Sync()
	}
	return n, err
}

// OpenArchive opens a file that NewArchive wrote. Errors wrap ErrNotABackup.
func OpenArchive(name string) (_ *Archive, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening a backup: %w", err)
	}

	a := &Archive{name: name, file: f, entries: make(map[string]archived)}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()

	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("opening a backup: %w", err)
	}

	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrNotABackup, name, err)
		}
		if h.Typeflag != tar.TypeReg || !ValidName(h.Name) || len(a.entries) > MaxFiles {
			return nil, fmt.Errorf("%w: %s has the entry %.80q", ErrNotABackup, name, h.Name)
		}

		at, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, fmt.Errorf("opening a backup: %w", err)
		}
		if h.Size > info.Size()-at {
			return nil, damaged("%s ends within %s", name, h.Name)
		}

		a.entries[h.Name] = archived{at, h.Size}
	}

	if len(a.entries) == 0 {
		return nil, fmt.Errorf("%w: %s is empty", ErrNotABackup, name)
	}
	return a, nil
}

// Put implements Objects.
func (a *Archive) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tar == nil || !ValidName(name) {
		return fmt.Errorf("writing a backup: %w: %.80q", ErrNotABackup, name)
	}
	if _, ok := a.entries[name]; ok {
		return nil
	}

	err := a.tar.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, Format: tar.FormatPAX})
	if err == nil {
		_, err = io.CopyN(a.tar, r, size)
	}

	if err = errors.Join(err, ctx.Err()); err != nil {
		return fmt.Errorf("writing a backup: %w", err)
	}

	a.entries[name] = archived{size: size}
	a.whole = a.whole || strings.HasPrefix(name, manifestPrefix)
	return nil
}

// Open implements Objects.
func (a *Archive) Open(_ context.Context, name string) (io.ReadCloser, int64, error) {
	e, ok := a.entries[name]
	if !ok || a.tar != nil {
		return nil, 0, fmt.Errorf("%w: %s is not in %s", ErrNotFound, name, a.name)
	}
	return io.NopCloser(io.NewSectionReader(a.file, e.at, e.size)), e.size, nil
}

// List implements Objects.
func (a *Archive) List(_ context.Context, prefix string, fn func(string, int64) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for name, e := range a.entries {
		if strings.HasPrefix(name, prefix) {
			if err := fn(name, e.size); err != nil {
				return err
			}
		}
	}

	return nil
}

// Close implements Objects.
func (a *Archive) Close() error {
	if a.tar == nil {
		return a.file.Close()
	}

	err := errors.Join(a.tar.Close(), a.file.Sync(), a.file.Close())
	if err == nil && a.whole {
		err = os.Link(a.file.Name(), a.name) // fails where the name is taken
	}

	if err == nil && a.whole {
		err = syncFolder(filepath.Dir(a.name))
	}

	if err = errors.Join(err, os.Remove(a.file.Name())); err != nil {
		return fmt.Errorf("writing the backup %s: %w", a.name, err)
	}
	return nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

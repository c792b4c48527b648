package backup

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"
)

// markName is the file that says that a directory is a place of backups.
const (
	markName = "wasmhost-backups"
	markText = "wasmhost-backups 1\n"
	partName = ".part-" // begins the names of files that are being written
)

// syncEvery is after how many bytes of a file the disk is made to write them: what
// is left for the last sync does not hold up a node on the same disk for long.
const syncEvery = 1 << 20

// Dir is a directory of backups.
type Dir struct {
	root *os.Root
	name string
}

// OpenDir opens a directory of backups, or makes it where create is set: a
// directory that is there must be empty then, or have backups. Errors wrap
// ErrNotABackup or ErrVersion.
func OpenDir(name string, create bool) (_ *Dir, err error) {
	if create {
		if err := os.MkdirAll(name, 0o700); err != nil {
			return nil, fmt.Errorf("making the directory of backups: %w", err)
		}
	}

	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, fmt.Errorf("opening the directory of backups: %w", err)
	}

	d := &Dir{root, name}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.Close())
		}
	}()

	text, err := root.ReadFile(markName)
	switch {
	case err == nil && string(text) == markText:
		return d, nil
	case err == nil:
		return nil, fmt.Errorf("%w: %s says %.40q", ErrVersion, path.Join(name, markName), text)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("opening the directory of backups: %w", err)
	case !create:
		return nil, fmt.Errorf("%w: %s has no file %s", ErrNotABackup, name, markName)
	}

	if entries, err := fs.ReadDir(root.FS(), "."); err != nil || len(entries) > 0 {
		return nil, errors.Join(fmt.Errorf("%w: %s is not empty and has no file %s", ErrNotABackup, name, markName), err)
	}
	return d, d.write(context.Background(), markName, strings.NewReader(markText), int64(len(markText)))
}

// place is the path of an object. Objects are spread over 256 folders.
func (d *Dir) place(name string) (string, error) {
	if !ValidName(name) {
		return "", fmt.Errorf("%w: an object %.80q", ErrNotFound, name)
	}
	if digest, ok := strings.CutPrefix(name, objectPrefix); ok {
		return objectPrefix + digest[:2] + "/" + digest, nil
	}
	return name, nil
}

// Put implements Objects.
func (d *Dir) Put(ctx context.Context, name string, size int64, r io.Reader) error {
	at, err := d.place(name)
	if err != nil {
		return err
	}
	if err := d.root.MkdirAll(path.Dir(at), 0o700); err != nil {
		return fmt.Errorf("writing a backup: %w", err)
	}
	return d.write(ctx, at, r, size)
}

// write makes a file that is whole and durable, or not there.
func (d *Dir) write(ctx context.Context, at string, r io.Reader, size int64) (err error) {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	temp := path.Join(path.Dir(at), partName+hex.EncodeToString(random[:]))
	f, err := d.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing a backup: %w", err)
	}

	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("writing a backup: %w", err), d.root.Remove(temp))
		}
	}()

	err = copySynced(ctx, f, r, size)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = d.root.Rename(temp, at); err != nil {
		return err
	}

	return d.syncDirs(path.Dir(at))
}

// syncDirs makes the entries of the directory, and those on the way to it, durable.
func (d *Dir) syncDirs(dir string) error {
	for {
		f, err := d.root.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
		if dir == "." {
			return nil
		}

		dir = path.Dir(dir)
	}
}

// copySynced writes size bytes of r and syncs them, some at a time.
func copySynced(ctx context.Context, f *os.File, r io.Reader, size int64) error {
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}

		began := time.Now()
		n, err := io.CopyN(f, r, min(left, syncEvery))
		left -= n
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}

		if err = errors.Join(err, f.Sync()); err == nil {
			err = rest(ctx, began)
		}

		if err != nil {
			return err
		}
	}
	return nil
}

// Open implements Objects.
func (d *Dir) Open(_ context.Context, name string) (io.ReadCloser, int64, error) {
	at, err := d.place(name)
	if err != nil {
		return nil, 0, err
	}

	f, err := d.root.Open(at)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, fmt.Errorf("%w: %s is not in %s", ErrNotFound, name, d.name)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("reading a backup: %w", err)
	}

	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(fmt.Errorf("reading a backup: %w", err), f.Close())
	}
	return f, info.Size(), nil
}

// List implements Objects.
func (d *Dir) List(ctx context.Context, prefix string, fn func(string, int64) error) error {
	err := fs.WalkDir(d.root.FS(), strings.TrimSuffix(prefix, "/"), func(at string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}

		name := at
		if prefix == objectPrefix {
			name = objectPrefix + path.Base(at)
		}

		if e.IsDir() || !ValidName(name) {
			return nil
		}

		info, err := e.Info()
		if err != nil {
			return err
		}
		return fn(name, info.Size())
	})
	if err != nil {
		return fmt.Errorf("listing backups: %w", err)
	}

	return nil
}

// Close implements Objects.
func (d *Dir) Close() error { return d.root.Close() }

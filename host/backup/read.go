package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Digests calls fn with the digest of each object that the place has.
func Digests(ctx context.Context, at Objects, fn func(digest string)) error {
	return at.List(ctx, objectPrefix, func(name string, _ int64) error {
		fn(strings.TrimPrefix(name, objectPrefix))
		return nil
	})
}

// Listed is one backup of a place: its manifest, or why that cannot be read.
type Listed struct {
	ID       string
	Manifest *Manifest // nil: Err says why
	Err      error
}

// List returns the backups of the place, the oldest first.
func List(ctx context.Context, at Objects) ([]Listed, error) {
	var out []Listed
	err := at.List(ctx, manifestPrefix, func(name string, _ int64) error {
		if len(out) >= MaxFiles {
			return fmt.Errorf("%w: it has more than %d backups", ErrNotABackup, MaxFiles)
		}
		out = append(out, Listed{ID: strings.TrimSuffix(strings.TrimPrefix(name, manifestPrefix), manifestSuffix)})
		return nil
	})
	if err != nil {
		return nil, err
	}

	for i := range out {
		out[i].Manifest, out[i].Err = Read(ctx, at, out[i].ID)
	}

	slices.SortFunc(out, func(a, b Listed) int { return strings.Compare(a.ID, b.ID) }) // ids begin with the time
	return out, nil
}

// Read returns the manifest of a backup; that of the last one where id is empty.
// Errors wrap ErrNotFound and those of Parse.
func Read(ctx context.Context, at Objects, id string) (*Manifest, error) {
	if id == "" {
		last, err := Last(ctx, at)
		if err != nil {
			return nil, err
		}
		if last == "" {
			return nil, fmt.Errorf("%w: the place has none", ErrNotFound)
		}

		id = last
	}

	if !validID(id) {
		return nil, fmt.Errorf("%w: %.80q", ErrNotFound, id)
	}

	r, size, err := at.Open(ctx, manifestName(id))
	if err != nil {
		return nil, err
	}
	if size > MaxManifest {
		return nil, errors.Join(fmt.Errorf("%w: %d bytes; the limit is %d", ErrManifest, size, MaxManifest), r.Close())
	}

	text, err := io.ReadAll(io.LimitReader(r, MaxManifest+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("reading the manifest of %s: %w", id, err)
	}

	m, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("backup %s: %w", id, err)
	}
	if m.ID != id {
		return nil, damaged("the manifest of %s is that of %s", id, m.ID)
	}

	return m, nil
}

// Last returns the id of the last backup of the place; empty where it has none.
func Last(ctx context.Context, at Objects) (string, error) {
	last := ""
	err := at.List(ctx, manifestPrefix, func(name string, _ int64) error {
		last = max(last, strings.TrimSuffix(strings.TrimPrefix(name, manifestPrefix), manifestSuffix))
		return nil
	})
	return last, err
}

// Verify reads every object of the backup and compares it with the manifest. It
// goes on after an object that is damaged or missing: the error, which wraps
// ErrDamaged, names the first few.
func Verify(ctx context.Context, at Objects, m *Manifest, tell func(Progress)) error {
	now := Progress{Phase: "verify", Whole: m.Size()}
	tell(now)
	var bad []string

	for _, f := range m.Files {
		err := readObject(ctx, at, f, io.Discard, func(n int64) {
			now.Done += n
			tell(now)
		})
		if ctx.Err() != nil {
			return ctx.Err()
		}

		if err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", f.Path, err))
		}

		now.Files++
		tell(now)
	}

	if len(bad) == 0 {
		return nil
	}

	text := strings.Join(bad[:min(len(bad), 5)], "; ")
	return damaged("%d of %d files: %s", len(bad), len(m.Files), text)
}

// readObject writes the file's object to w. What does not have the size and the
// digest is an error, found at the end at the latest.
func readObject(ctx context.Context, at Objects, f File, w io.Writer, read func(n int64)) (err error) {
	r, size, err := at.Open(ctx, objectName(f.SHA256))
	if errors.Is(err, ErrNotFound) {
		return damaged("the object %s is missing", f.SHA256)
	}
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, r.Close()) }()
	if size != f.Size {
		return damaged("the object %s has %d bytes, not %d", f.SHA256, size, f.Size)
	}

	h := sha256.New()
	n, err := copyWithin(ctx, io.MultiWriter(w, h, counter(read)), io.LimitReader(r, f.Size+1), false)
	if err != nil {
		return err
	}
	if got := hex.EncodeToString(h.Sum(nil)); n != f.Size || got != f.SHA256 {
		return damaged("the object %s has %d bytes and the digest %s", f.SHA256, n, got)
	}

	return nil
}

type counter func(int64)

// Write implements io.Writer.
func (c counter) Write(b []byte) (int, error) {
	c(int64(len(b)))
	return len(b), nil
}

// Restore writes the files of the backup into dir, which is made and must not be
// there, and makes them durable. Each is compared with its digest. On an error
// the caller removes dir.
func Restore(ctx context.Context, at Objects, m *Manifest, dir string, tell func(Progress)) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("restoring: %w", err)
	}

	for _, folder := range []string{"db", "states", "modules"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			return fmt.Errorf("restoring: %w", err)
		}
	}

	now := Progress{Phase: "restore", Whole: m.Size()}
	tell(now)
	for _, f := range m.Files {
		if !validPath(f.Path) { // Parse has looked; what is written depends on it
			return fmt.Errorf("%w: it names the file %.80q", ErrManifest, f.Path)
		}
		if err := restoreFile(ctx, at, f, filepath.Join(dir, filepath.FromSlash(f.Path)), func(n int64) {
			now.Done += n
			tell(now)
		}); err != nil {
			return fmt.Errorf("restoring %s: %w", f.Path, err)
		}

		now.Files++
		tell(now)
	}

	for _, folder := range []string{"db", "states", "modules", "."} {
		if err := syncFolder(filepath.Join(dir, folder)); err != nil {
			return fmt.Errorf("restoring: %w", err)
		}
	}
	return nil
}

func restoreFile(ctx context.Context, at Objects, f File, path string, read func(int64)) (err error) {
	out, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}

	err = readObject(ctx, at, f, out, read)
	if err == nil {
		err = out.Sync()
	}
	return errors.Join(err, out.Close())
}

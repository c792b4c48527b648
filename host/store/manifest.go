package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// The engine's manifest says which files count. It is appended to, and the
// engine takes an end that does not hold for one that a crash tore: a bit that
// flipped there would bring back an earlier state, whose logs are removed. So
// before the engine removes a file, or writes over one, the manifest is
// summed: a manifest that does not begin with what was summed last is damaged.
// What comes behind that can be torn, for nothing was removed since.

const sumName = "manifest.sum"

// sum is how a manifest began.
type sum struct {
	name string
	size int
	hash [sha256.Size]byte
}

func (s *sum) text() string { return fmt.Sprintf("%s %d %x\n", s.name, s.size, s.hash) }

// summed reports whether the file is one whose removal cannot be undone: the
// manifest must be whole then.
func summed(name string) bool {
	return strings.HasSuffix(name, ".log") || strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob") || strings.HasPrefix(name, "MANIFEST-")
}

// currentManifest returns the name of the manifest that the engine's marker
// names; empty where there is none.
func currentManifest(fs vfs.FS, dir string) (string, error) {
	names, err := fs.List(dir)
	if err != nil {
		return "", err
	}

	best, at := "", int64(-1)
	for _, name := range names {
		rest, ok := strings.CutPrefix(name, "marker.manifest.")
		number, manifest, cut := strings.Cut(rest, ".")
		if n, err := strconv.ParseInt(number, 10, 64); ok && cut && err == nil && n > at {
			best, at = manifest, n
		}
	}

	return best, nil
}

// sumManifest notes how the manifest begins. It does nothing where that has not
// changed.
func (g *guard) sumManifest(dir string) error {
	g.summing.Lock()
	defer g.summing.Unlock()
	name, err := currentManifest(g.FS, dir)
	if err != nil || name == "" {
		return err
	}

	st, err := g.FS.Stat(g.FS.PathJoin(dir, name))
	if err != nil {
		return err
	}

	size := st.Size()
	if durable, ok := g.synced.Load(name); ok {
		size = durable.(int64)
	}

	if name == g.last.name && size == int64(g.last.size) {
		return nil
	}

	b, err := readWhole(g.FS, g.FS.PathJoin(dir, name))
	if err != nil {
		return err
	}

	b = b[:min(size, int64(len(b)))]
	now := sum{name, len(b), sha256.Sum256(b)}
	temp := g.FS.PathJoin(dir, sumName+".new")
	f, err := g.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}

	_, err = f.Write([]byte(now.text()))
	if err == nil {
		err = f.Sync()
	}

	if err = errors.Join(err, f.Close()); err == nil {
		err = g.Rename(temp, g.FS.PathJoin(dir, sumName))
	}

	if err != nil {
		return err
	}

	d, err := g.OpenDir(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return err
	}

	g.last = now
	return nil
}

// beforeRemoval is called before a file of the engine goes. Where the disk is
// full the last sum stays, which says less and is no less true, unless the file
// is a manifest.
func (g *guard) beforeRemoval(path string) error {
	name := g.FS.PathBase(path)
	if g.dir == "" || g.FS.PathDir(path) != g.dir || !summed(name) {
		return nil
	}

	err := g.sumManifest(g.dir)
	if err != nil && isFull(err) && !strings.HasPrefix(name, "MANIFEST-") {
		return nil
	}
	return err
}

// checkManifest returns ErrCorrupt where a manifest does not begin as it did.
func checkManifest(fs vfs.FS, dir string) error {
	text, err := readWhole(fs, fs.PathJoin(dir, sumName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}

	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	var s sum
	name, rest, _ := strings.Cut(string(text), " ")
	size, _, _ := strings.Cut(rest, " ")
	s.name = name
	if s.size, err = strconv.Atoi(size); err != nil || !strings.HasPrefix(name, "MANIFEST-") || strings.ContainsAny(name, "/\\") {
		return bad("%s says %.100q", fs.PathJoin(dir, sumName), text)
	}

	path := fs.PathJoin(dir, s.name)
	b, err := readWhole(fs, path)
	if errors.Is(err, os.ErrNotExist) {
		return bad("%s is not there, which %s names", path, sumName)
	}
	if err != nil {
		return err
	}
	if s.size < 0 || len(b) < s.size {
		return bad("%s has %d bytes, and had %d", path, len(b), s.size)
	}
	if s.hash = sha256.Sum256(b[:s.size]); s.text() != string(text) {
		return bad("the first %d bytes of %s are not what they were, or %s is not", s.size, path, sumName)
	}

	return nil
}

// manifestFile counts what of a manifest is durable. One goroutine at a time
// writes and syncs it.
type manifestFile struct {
	vfs.File
	g       *guard
	name    string
	written int64
}

func (f *manifestFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	f.written += int64(n)
	return n, err
}

func (f *manifestFile) noted(sync func() error) error {
	n := f.written
	err := sync()
	if err == nil {
		f.g.synced.Store(f.name, n)
	}
	return err
}

func (f *manifestFile) Sync() error     { return f.noted(f.File.Sync) }
func (f *manifestFile) SyncData() error { return f.noted(f.File.SyncData) }

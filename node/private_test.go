package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// What others could read in a data directory they no longer can, and a link there is
// refused by name.
func TestDataDirectoryIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(dir, "engine", "000001.log")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := makePrivate(dir); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]fs.FileMode{dir: 0o700, filepath.Dir(file): 0o700, file: 0o600} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: mode %v, want %v (%v)", path, st.Mode(), want, err)
		}
	}

	if err := os.Symlink(t.TempDir(), filepath.Join(dir, "states")); err != nil {
		t.Fatal(err)
	}
	if err := makePrivate(dir); !errors.Is(err, ErrLink) {
		t.Errorf("with a link: %v, want %v", err, ErrLink)
	}
	if err := makePrivate(filepath.Join(dir, "not there")); err != nil {
		t.Errorf("a directory that is not there: %v", err)
	}
}

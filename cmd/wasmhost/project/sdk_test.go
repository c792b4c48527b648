package project

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unshipped are the files of an SDK's folder that no project gets.
func unshipped(language, name string) bool {
	switch {
	case strings.HasPrefix(name, "examples/"), language == "rust" && strings.HasPrefix(name, "tests/"), strings.HasSuffix(name, "_test.go"), strings.Contains("/"+name, "/testdata/"):
		return true
	case language == "c":
		return name == "wasmhost.pc.in"
	}
	return false
}

// A project has the SDK of its language: each file of the SDK's folder as it is, and
// no other.
func TestAProjectHasTheWholeSDK(t *testing.T) {
	for _, language := range Languages {
		t.Run(language, func(t *testing.T) {
			folder := filepath.Join("..", "..", "..", "guest-sdk", language)
			want := make(map[string]string)
			err := filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return skipProducts(d, err)
				}
				name, err := filepath.Rel(folder, file)
				if name = filepath.ToSlash(name); err != nil || unshipped(language, name) {
					return err
				}
				b, err := os.ReadFile(file)
				want[name] = string(b)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}

			dir := t.TempDir()
			if _, err := New(dir, language, "tally"); err != nil {
				t.Fatal(err)
			}
			got := sdkOf(t, dir)

			if g, w := slices.Sorted(maps.Keys(got)), slices.Sorted(maps.Keys(want)); !slices.Equal(g, w) {
				t.Fatalf("the project has %v, the SDK's folder %v", g, w)
			}
			for name, text := range want {
				if got[name] != text {
					t.Errorf("%s differs from the SDK's", name)
				}
			}
		})
	}
}

// sdkOf returns the files below a project's folder sdk.
func sdkOf(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	root := filepath.Join(dir, "sdk")
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		b, err := os.ReadFile(file)
		files[filepath.ToSlash(name)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// skipProducts skips the folders that builds write to.
func skipProducts(d fs.DirEntry, err error) error {
	if err == nil && d.IsDir() && (strings.HasPrefix(d.Name(), ".") || slices.Contains(unwatched, d.Name())) {
		return fs.SkipDir
	}
	return err
}

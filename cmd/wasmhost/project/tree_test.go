package project

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// What a build writes makes no build follow another for ever; what an author writes
// while it runs makes one.
func TestABuildDoesNotHearItself(t *testing.T) {
	for _, c := range []struct {
		name     string
		build    func(t *testing.T, dir string, n int) // the n-th, from 1
		builds   int
		products []string
	}{
		{"makes the module", func(t *testing.T, dir string, n int) {
			put(t, filepath.Join(dir, "m.wasm"), strconv.Itoa(n))
		}, 1, nil},
		{"makes and removes temporary files", func(t *testing.T, dir string, n int) {
			temporary := filepath.Join(dir, "m.wasm.tmp"+strconv.Itoa(n))
			put(t, temporary, "x")
			if err := os.Rename(temporary, filepath.Join(dir, "m.wasm")); err != nil {
				t.Fatal(err)
			}
		}, 1, nil},
		{"writes its lock file once", func(t *testing.T, dir string, n int) {
			put(t, filepath.Join(dir, "Cargo.lock"), "locked")
		}, 2, nil},
		{"writes another file each time", func(t *testing.T, dir string, n int) {
			put(t, filepath.Join(dir, "log"), strconv.Itoa(n))
		}, 2, []string{"log"}},
		{"leaves another file each time", func(t *testing.T, dir string, n int) {
			put(t, filepath.Join(dir, "log."+strconv.Itoa(n)), "x")
		}, 3, []string{"log.3"}},
		{"an author writes while it runs", func(t *testing.T, dir string, n int) {
			if n == 1 {
				put(t, filepath.Join(dir, "main.c"), "changed")
			}
		}, 2, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, filepath.Join(dir, "main.c"), "source")
			tree := &tree{settings: &Settings{Module: "m.wasm"}, dir: dir, products: make(map[string]bool)}
			builds, products := 0, []string(nil)
			build := func() error {
				if builds++; builds > 9 {
					t.Fatal("it builds for ever")
				}
				c.build(t, dir, builds)
				return nil
			}
			if err := tree.build(build, func(file string) { products = append(products, filepath.Base(file)) }); err != nil {
				t.Fatal(err)
			}
			if builds != c.builds || !slices.Equal(products, c.products) {
				t.Errorf("%d builds, products %q; want %d, %q", builds, products, c.builds, c.products)
			}
			if changed, err := tree.changed(); err != nil || len(changed) > 0 {
				t.Errorf("afterwards %q changed, error %v", changed, err)
			}
			put(t, filepath.Join(dir, "main.c"), "changed again")
			if changed, err := tree.changed(); err != nil || !slices.Equal(changed, []string{filepath.Join(dir, "main.c")}) {
				t.Errorf("the author's change is %q, error %v", changed, err)
			}
		})
	}
}

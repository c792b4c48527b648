package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// What the mutants replace is there, once.
func TestEditsApply(t *testing.T) {
	for _, m := range hunts(true) {
		for _, e := range append([]edit{{m.file, m.old, m.new}}, m.more...) {
			src, err := os.ReadFile(filepath.Join("..", "..", "..", filepath.FromSlash(e.file)))
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(src, []byte(e.old)); n != 1 {
				t.Errorf("%s: %s has %q %d times", m.name, e.file, e.old, n)
			}
		}
	}
}

package registry_test

import (
	"os"
	"path/filepath"
	"testing"
)

// guest returns a module of the repository's test guests.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

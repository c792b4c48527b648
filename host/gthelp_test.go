package host_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

var gtCtx = context.Background()

// gtGuest returns a module of testdata/wasm.
func gtGuest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "testdata", "wasm", name))
	if err != nil {
		t.Fatal(err)
	}

	return b
}

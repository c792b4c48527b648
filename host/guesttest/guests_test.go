package guesttest_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

var ctx = context.Background()

// guest returns a module of testdata/wasm.
func guest(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", name))
	if err != nil {
		t.Fatal(err)
	}

	return b
}

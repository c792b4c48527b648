package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestEphemeralCache removes what a crash left, and nothing that is in use.
func TestEphemeralCache(t *testing.T) {
	temp := t.TempDir()
	old := filepath.Join(temp, ephemeralCache+"crashed")
	used, closeUsed, err := openEphemeralCache(temp)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(old, 0o700); err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Hour)
	for _, dir := range []string{old, used} {
		if err := os.Chtimes(dir, past, past); err != nil {
			t.Fatal(err)
		}
	}
	dir, closeDir, err := openEphemeralCache(temp)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the cache is %v, %v", info, err)
	}
	if _, err := os.Stat(used); err != nil {
		t.Errorf("the cache of another node is gone: %v", err)
	}
	if err := errors.Join(closeUsed(), closeDir()); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

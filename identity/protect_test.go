package identity

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestProtectedKeyFiles(t *testing.T) {
	k, err := Generate()
	if err != nil {
		t.Fatal(err)
	}
	path, one, two := filepath.Join(t.TempDir(), "k"), []byte("one"), []byte("two")
	if err := WriteKeyFile(path, k, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadProtectedKeyFile(path, one); !errors.Is(err, ErrUnprotected) {
		t.Errorf("an open file: %v", err)
	}
	if err := os.WriteFile(path+".new", []byte("left by a crash"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, pass := range [][]byte{one, two} {
		if err := ReplaceKeyFile(path, k, pass); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadProtectedKeyFile(path, one); !errors.Is(err, ErrWrongPassphrase) {
		t.Errorf("the old passphrase: %v", err)
	}
	if _, err := ReadProtectedKeyFile(path, nil); !errors.Is(err, ErrPassphraseNeeded) {
		t.Errorf("no passphrase: %v", err)
	}
	got, err := ReadProtectedKeyFile(path, two)
	if err != nil || got.ID() != k.ID() {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

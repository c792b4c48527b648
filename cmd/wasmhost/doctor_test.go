package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What is not well says what it costs and how to mend it; what is well says
// neither. Nothing is left behind.
func TestDoctorOfADataDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "node.key")
	if err := os.WriteFile(key, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	modes := func() finding {
		for _, f := range append(examine(), examineData(dir)...) {
			if f.OK != (f.Costs == "") || f.OK != (f.Mend == "") || f.Found == "" {
				t.Errorf("%+v", f)
			}
			if f.Check == "key files" {
				return f
			}
		}
		t.Fatal("the key files are not looked at")
		return finding{}
	}
	if f := modes(); !f.OK {
		t.Errorf("%+v", f)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	if f := modes(); f.OK || !strings.Contains(f.Mend, key) {
		t.Errorf("%+v", f)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
	if list := examineData(filepath.Join(dir, "not", "there")); len(list) != 1 || list[0].Check != "disk sync" {
		t.Errorf("of a directory that is yet to be made: %+v", list)
	}
}

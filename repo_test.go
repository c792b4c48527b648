package wasmhost_test

import (
	"os"
	"regexp"
	"testing"

	"wasmhost.example/internal/rooms"
)

// Imports flow one way, as the table says, and no package or type is larger than its
// caps.
func TestRooms(t *testing.T) {
	table, err := rooms.Table()
	if err != nil {
		t.Fatal(err)
	}
	packages, err := rooms.Measure(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range rooms.Check(table, packages) {
		t.Error(fault)
	}
}

// What pages for contributors name as FILE:FUNCTION is there, and so are files and folders
// that they name.
func TestPagesNameWhatIsThere(t *testing.T) {
	for path, least := range map[string]int{"docs/architecture.md": 10, "docs/extending.md": 3, "guest-sdk/own-sdk.md": 0} {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		namesWhatIsThere(t, path, string(page), least)
	}
}

func namesWhatIsThere(t *testing.T, path, page string, least int) {
	for _, at := range regexp.MustCompile("`((?:abi|api|cmd|guest-sdk|host|internal|node|scripts|testdata|wire)/[a-z0-9_/.-]+)[`:]").FindAllStringSubmatch(page, -1) {
		if _, err := os.Stat(at[1]); err != nil {
			t.Errorf("%s names %s: %v", path, at[1], err)
		}
	}

	places := regexp.MustCompile("`([a-z/]+\\.go):(\\w+)`").FindAllStringSubmatch(page, -1)
	if len(places) < least {
		t.Errorf("%s names %d places", path, len(places))
	}
	for _, at := range places {
		src, err := os.ReadFile(at[1])
		if err != nil {
			t.Error(err)
			continue
		}
		if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + at[2] + `\(`).Match(src) {
			t.Errorf("%s has no function %s", at[1], at[2])
		}
	}
}

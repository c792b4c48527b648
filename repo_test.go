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

// What docs/architecture.md names as FILE:FUNCTION is there.
func TestArchitectureNamesWhatIsThere(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	places := regexp.MustCompile("`([a-z/]+\\.go):(\\w+)`").FindAllStringSubmatch(string(page), -1)
	if len(places) < 10 {
		t.Errorf("the page names %d places", len(places))
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

package wasmhost_test

import (
	"testing"

	"wasmhost/internal/rooms"
)

// Imports flow one way, as the table says, and no package or type is larger than its
// caps.
func TestRooms(t *testing.T) {
	table, err := rooms.Table()
	if err != nil {
		t.Fatal(err)
	}
	packages, err := rooms.Measure(".", "wasmhost")
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range rooms.Check(table, packages) {
		t.Error(fault)
	}
}

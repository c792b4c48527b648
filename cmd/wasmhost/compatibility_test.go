package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wasmhost.example/abi"
	"wasmhost.example/host/channel"
	"wasmhost.example/host/directory"
	"wasmhost.example/host/migration"
	"wasmhost.example/host/snapshot"
	"wasmhost.example/host/standby"
)

// The page on compatibility names the versions of the protocols.
func TestVersionsAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "compatibility.md"))
	if err != nil {
		t.Fatal(err)
	}
	for name, version := range map[string]int{"snapshot": snapshot.Version, "migration": migration.Lasting, "channels": channel.Version, "standbys": standby.Keeping,
		"cluster directory": directory.ProtocolVersion, "guest ABI": abi.Version, "fuel": abi.FuelVersion} {
		if row := fmt.Sprintf("| %s | %d |", name, version); !strings.Contains(string(page), row) {
			t.Errorf("docs/compatibility.md lacks a row that begins %q", row)
		}
	}
}

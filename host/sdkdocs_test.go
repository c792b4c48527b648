package host_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"wasmhost.example/host/guesttest"
)

// Whatever check can print is in the page that says what to do about it.
func TestTroubleshootingHasEveryCode(t *testing.T) {
	source, err := os.ReadFile(filepath.Join("..", "abi", "refusal.go"))
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join("..", "guest-sdk", "troubleshooting.md"))
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`Refused\w+\s+= "([a-z-]+)"`).FindAllStringSubmatch(string(source), -1)
	if len(codes) < 10 {
		t.Fatalf("found %d codes in refusal.go", len(codes))
	}
	for _, c := range codes {
		if !strings.Contains(string(page), "| `"+c[1]+"` |") {
			t.Errorf("troubleshooting.md does not have %s", c[1])
		}
	}
	for _, rule := range guesttest.Rules {
		if !strings.Contains(string(page), "| `"+rule+"` |") {
			t.Errorf("troubleshooting.md does not have rule %s", rule)
		}
	}
}

// The SDKs say that they follow this version of the contract.
func TestSDKsHaveTheContractsVersion(t *testing.T) {
	for file, want := range map[string]string{
		"c/wasmhost.h": "#define WASMHOST_ABI_VERSION 1\n", "c/wasmhost.pc.in": "Version: 1.",
		"go/sdk.go": "const ABIVersion = 1\n", "rust/src/lib.rs": "pub const ABI_VERSION: u32 = 1;", "rust/Cargo.toml": `version = "1.`,
		"assemblyscript/assembly/index.ts": "export const ABI_VERSION: i32 = 1;", "assemblyscript/package.json": `"version": "1.`,
		"zig/src/wasmhost.zig": "pub const abi_version = 1;", "zig/build.zig.zon": `.version = "1.`,
	} {
		b, err := os.ReadFile(filepath.Join("..", "guest-sdk", filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(b), want) {
			t.Errorf("%s does not have %q", file, want)
		}
	}
}

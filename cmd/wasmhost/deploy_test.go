package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"wasmhost.example/cmd/wasmhost/cli"
)

// The unit is one that systemd takes, and starts the program with flags that it has.
func TestTheUnit(t *testing.T) {
	b, err := os.ReadFile(filepath.Join("..", "..", "deploy", "wasmhost.service"))
	if err != nil {
		t.Fatal(err)
	}
	unit := string(b)
	_, start, ok := strings.Cut(unit, "ExecStart=/usr/local/bin/wasmhost ")
	start, _, _ = strings.Cut(start, "\n")
	if !ok {
		t.Fatal("the unit starts something else")
	}
	serve, args, err := root((&cli.App{})).Find(strings.Fields(start))
	if err != nil || serve.Name() != "serve" {
		t.Fatalf("%v: %v", start, err)
	}
	if err := serve.ParseFlags(args); err != nil {
		t.Error(err)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze on this machine")
	}
	exe, err := os.Executable() // the program need not be installed
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "wasmhost.service")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(unit, "/usr/local/bin/wasmhost", exe)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(analyze, "verify", "--man=no", path).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}

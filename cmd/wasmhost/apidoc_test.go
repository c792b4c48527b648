package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// The examples of docs/api.md are run, one block after the other, in one shell.
func TestExamplesOfTheAPI(t *testing.T) {
	for _, tool := range []string{"curl", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s on this machine", tool)
		}
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	script := "set -euo pipefail\n"
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(doc), -1)
	for _, b := range blocks {
		script += b[1]
	}
	if len(blocks) < 8 || strings.Count(script, "curl") < 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	wasm, err := filepath.Abs(filepath.Join("..", "..", "testdata", "wasm"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("examples.sh", script)
	write("api.txtar", `node a --api 127.0.0.1:0
env DATA=$a_DATA
env API=$a_API
exec bash $EXAMPLES
stdout '"sequence":1'
stdout 'Link: .*rel="next"'
stdout '^event: output$'
stdout '"code":"daemon-not-found"'
stdout '^wasmhost_events_total.kind="counter". 1$'
`)
	testscript.Run(t, testscript.Params{
		Dir: dir,
		Setup: func(e *testscript.Env) error {
			e.Setenv("WASM", wasm)
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("EXAMPLES", filepath.Join(dir, "examples.sh"))
			e.Setenv("WASMHOST_SOCKET", filepath.Join(e.WorkDir, "a.sock"))
			e.Values["nodes"] = make(map[string]*exec.Cmd)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"node": startNode},
	})
}

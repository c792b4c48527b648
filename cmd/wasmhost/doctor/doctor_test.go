package doctor

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wasmhost.example/api"
	"wasmhost.example/cmd/wasmhost/serve"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == serve.CompileCommand {
		os.Exit(serve.CompileChild(os.Args[2:], os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

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

// What a node refused for want of room is found, with what it costs.
func TestDoctorOfBudgets(t *testing.T) {
	list := examineBudgets([]api.NodeBudget{
		{Name: "answers", Used: 1 << 20, Peak: 2 << 20, Most: 4 << 20},
		{Name: "requests", Used: 4 << 20, Peak: 4 << 20, Most: 4 << 20, Waiting: 3, Refused: 7},
	})
	if len(list) != 2 || !list[0].OK || list[0].Check != "room for answers" || list[0].Found != "1024 KiB of 4096 KiB, at most 2048 KiB since the node started" {
		t.Fatalf("%+v", list)
	}
	f := list[1]
	if f.OK || !strings.Contains(f.Found, "3 callers wait, 7 requests were refused") || f.Costs == "" || f.Mend == "" {
		t.Errorf("%+v", f)
	}
}

// What bench measures is the example that the repository builds.
func TestBenchModuleIsTheCounter(t *testing.T) {
	want, err := os.ReadFile(filepath.Join("..", "..", "..", "testdata", "wasm", "c", "counter.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(benchModule, want) {
		t.Error("bench.wasm is not testdata/wasm/c/counter.wasm: copy it")
	}
}

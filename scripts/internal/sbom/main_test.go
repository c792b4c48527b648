package main

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"runtime/debug"
	"testing"
)

// Every module that a program was built of is in its bill, once, by its purl; the
// bill follows from the program.
func TestABillHasEveryModule(t *testing.T) {
	info := &debug.BuildInfo{GoVersion: "go1.26.1", Main: debug.Module{Path: "wasmhost", Version: "v1"}, Deps: []*debug.Module{
		{Path: "github.com/x/y/v2", Version: "v2.1.0", Sum: "h1:abc="},
		{Path: "wasmhost.example/guest-sdk/go", Version: "v1.0.0", Replace: &debug.Module{Path: "./guest-sdk/go"}},
		{Path: "example.org/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.org/new", Version: "v1.2.0"}},
	}, Settings: []debug.BuildSetting{{Key: "GOOS", Value: "linux"}, {Key: "-ldflags", Value: "-s"}}}
	b := billOf(info, "v9", bytes.Repeat([]byte{7}, 32))
	if b.Format != "CycloneDX" || b.Spec != "1.6" || b.Metadata.Component.Version != "v9" || len(b.Components) != 4 || len(b.Dependencies[0].On) != 4 {
		t.Errorf("%+v", b)
	}
	if !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(b.Serial) {
		t.Error(b.Serial)
	}
	for i, want := range []string{"pkg:golang/std@1.26.1", "pkg:golang/github.com/x/y/v2@v2.1.0", "", "pkg:golang/example.org/new@v1.2.0"} {
		if b.Components[i].PURL != want {
			t.Errorf("%+v, want %s", b.Components[i], want)
		}
	}
	seen := make(map[string]bool)
	for _, c := range b.Components {
		if seen[c.Ref] {
			t.Errorf("%s twice", c.Ref)
		}
		seen[c.Ref] = true
	}
}

// The bill of a real program: this one.
func TestABillOfAProgram(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var one, two bytes.Buffer
	for _, w := range []*bytes.Buffer{&one, &two} {
		if err := write(w, exe, ""); err != nil {
			t.Fatal(err)
		}
	}
	var b bill
	if err := json.Unmarshal(one.Bytes(), &b); err != nil || len(b.Metadata.Component.Hashes[0].Content) != 64 || len(b.Components) == 0 || !bytes.Equal(one.Bytes(), two.Bytes()) {
		t.Errorf("%v: %.300s", err, one.String())
	}
	if err := write(&one, "main.go", ""); err == nil {
		t.Error("a text has a bill")
	}
}

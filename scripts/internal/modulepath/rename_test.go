package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// tree is a module with another below it, under one path.
func tree(path string) map[string]string {
	return map[string]string{
		"go.mod":         "module " + path + "\n\ngo 1.26.0\n\nrequire zoo.example/z v1.0.0\n",
		"a/a.go":         "package a\n\nimport (\n\t\"fmt\"\n\n\t\"" + path + "/b/deep\"\n)\n\n// Path: " + path + "/b is another.\nvar _ = fmt.Sprint(deep.X, \"" + path + "/1.1\", \"/var/lib/" + path + "/a\", \"" + path + "\")\n",
		"b/deep/deep.go": "package deep\n\nconst X = 1\n",
		"tool/go.mod":    "module " + path + "/tool\n\nrequire (\n\t" + path + " v0.0.0\n)\n\nreplace " + path + " => ..\n",
		"tool/t.go":      "package tool\n",
		"docs/page.md":   "`go get " + path + "/a@latest`, cmd/" + path + "/b, my" + path + "/a, " + path + "/apples\n",
		"run":            "go list " + path + "/a | grep '^" + path + "/b$'\n",
		"data.bin":       "\x00" + path + "/a",
	}
}

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func read(t *testing.T, root, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRename(t *testing.T) {
	root := write(t, tree("wasm"))
	changed, err := rename(root, "go.acme.example/x/wasm")
	if err != nil {
		t.Fatal(err)
	}
	if changed != 5 {
		t.Errorf("%d files changed, want 5", changed)
	}
	const to = "go.acme.example/x/wasm"
	for name, want := range map[string]string{
		"go.mod":       "module " + to + "\n\ngo 1.26.0\n\nrequire zoo.example/z v1.0.0\n",
		"a/a.go":       "package a\n\nimport (\n\t\"fmt\"\n\n\t\"" + to + "/b/deep\"\n)\n\n// Path: " + to + "/b is another.\nvar _ = fmt.Sprint(deep.X, \"wasm/1.1\", \"/var/lib/wasm/a\", \"wasm\")\n",
		"tool/go.mod":  "module " + to + "/tool\n\nrequire (\n\t" + to + " v0.0.0\n)\n\nreplace " + to + " => ..\n",
		"docs/page.md": "`go get " + to + "/a@latest`, cmd/wasm/b, mywasm/a, wasm/apples\n",
		"run":          "go list " + to + "/a | grep '^" + to + "/b$'\n",
		"data.bin":     "\x00wasm/a",
	} {
		if got := read(t, root, name); got != want {
			t.Errorf("%s\n got %q\nwant %q", name, got, want)
		}
	}
}

// Renamed there and back, a tree is what it was.
func TestRenameAndBack(t *testing.T) {
	root := write(t, tree("wasm.example"))
	for _, to := range []string{"go.acme.example/x", "wasm.example"} {
		if _, err := rename(root, to); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range tree("wasm.example") {
		if got := read(t, root, name); got != want {
			t.Errorf("%s\n got %q\nwant %q", name, got, want)
		}
	}
}

func TestRenameRefuses(t *testing.T) {
	root := write(t, tree("wasm"))
	for _, to := range []string{"", "wasm", "Wasm.Example", "a.b/", "/a.b", "a..b/x", "a.b//c", "a.b/../c", "a b.c", "https://a.b/c"} {
		if _, err := rename(root, to); !errors.Is(err, errPath) {
			t.Errorf("rename to %q: got %v, want errPath", to, err)
		}
	}
	if got := read(t, root, "go.mod"); got != tree("wasm")["go.mod"] {
		t.Errorf("a refused path changed go.mod: %q", got)
	}
}

package cli

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var updatePages = flag.Bool("update-pages", false, "write docs/config.md")

// docs/config.md is made of the table of settings. A setting that is added, or changed, is
// on the page or this fails.
func TestConfigPageIsOfTheSettings(t *testing.T) {
	src, err := os.ReadFile(filepath.Join("..", "serve", "reload.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, reloaded, _ := strings.Cut(string(src), "var reloadable = []string{")
	reloaded, _, ok := strings.Cut(reloaded, "}")
	if !ok {
		t.Fatal("serve/reload.go does not say what is read again")
	}

	var b strings.Builder
	b.WriteString(`# Configuration

Each setting is a flag, a variable of the environment and a key of a file. A flag wins over the
environment, which wins over ` + "`./wasmhost.toml`" + `, which wins over
` + "`$XDG_CONFIG_HOME/wasmhost/config.toml`" + `. An empty value and an unknown key are errors.
` + "`wasmhost config`" + ` prints what each comes to, and where that is from. Limits have tables of
their own: [limits.md](limits.md).

A node reads the keys that are marked * again on SIGHUP; others take effect when it starts.

| key | flag | environment | default | what it is |
|---|---|---|---|---|
`)
	for _, s := range Settings() {
		def := s.Def
		switch s.flag {
		case "socket", "data":
			def = "below the home directory"
		case "name":
			def = "the machine's"
		}
		key := "`" + s.Key() + "`"
		if strings.Contains(reloaded, `"`+s.Key()+`"`) {
			key += " *"
		}
		if def != "" && s.flag != "socket" && s.flag != "data" && s.flag != "name" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(&b, "| %s | `--%s` | `%s` | %s | %s |\n", key, s.flag, s.env(), def, strings.ReplaceAll(s.Usage, "|", "\\|"))
	}
	page := filepath.Join("..", "..", "..", "docs", "config.md")
	if *updatePages {
		if err := os.WriteFile(page, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Errorf("%s is not of the settings: go test ./cmd/wasmhost/cli -run ConfigPage -update-pages", page)
	}
}

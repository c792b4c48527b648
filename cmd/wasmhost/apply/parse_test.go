package apply

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

const inTOML = `application = "shop" # a comment
[[kind]]
name = "k"
module = "k.wasm"
limits = { memory = "16MiB", mailbox = 10 }

[[daemon]]
name = "d"
kind = "k"
config = """
key = "[x]"
"""
[daemon.limits]
history = 5
[[grant]]
daemon = "d"
may_send = ["*"]
`

const inYAML = `application: shop
kind:
- name: k
  module: k.wasm
  limits: {memory: 16MiB, mailbox: 10}
daemon:
- name: d
  kind: k
  config: |
    key = "[x]"
  limits:
    history: 5
grant:
- daemon: d
  may_send: ["*"]
`

// Both languages say the same.
func TestFilesAreRead(t *testing.T) {
	a, err := Parse("app.toml", []byte(inTOML))
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse("app.yaml", []byte(inYAML))
	if err != nil {
		t.Fatal(err)
	}
	if a.Daemons[0].at.line != 7 || b.Daemons[0].at.line != 7 || a.Grants[0].at.line != 15 {
		t.Errorf("the daemon stands in %v and %v, the grant in %v", a.Daemons[0].at, b.Daemons[0].at, a.Grants[0].at)
	}
	for _, app := range []*App{a, b} {
		app.Kinds[0].at, app.Daemons[0].at, app.Grants[0].at = place{}, place{}, place{}
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got %+v as TOML, %+v as YAML", a, b)
	}
	if a.Kinds[0].limits["memory"] != 16<<20 || a.Daemons[0].Config != "key = \"[x]\"\n" || a.Daemons[0].limits["history"] != 5 {
		t.Errorf("got %+v", a)
	}
	for name, text := range map[string]string{"-": inTOML, "stdin": inYAML} {
		if _, err := Parse(name, []byte(text)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMistakesAreNamedWhereTheyStand(t *testing.T) {
	for _, c := range []struct{ file, text, want string }{
		{"a.toml", "[kind.k]\nmodule = \"x\"\n", `kind is a list, each of which has its name inside: [[kind]] in TOML, - in YAML`},
		{"a.toml", "[[kind]]\nname = \"k\"\nmodul = \"x\"\n", `a.toml:3: unknown key "modul" of kind; is "module" meant?`},
		{"a.toml", "aplication = \"x\"\n", `a.toml:1: unknown key "aplication"; is "application" meant?`},
		{"a.toml", "[[kind]]\nname = \"k\"\nmodule = 5\n", "a.toml:3: kind.module is a text"},
		{"a.toml", "[[kind]]\nname = \"k\"\nmodule = \"m\"\nlimits = {memry = 5}\n", "memry"},
		{"a.toml", "[[daemon]]\nname = \"d\"\n", "a.toml:1: daemon d needs a kind"},
		{"a.toml", "[[group]]\nname = \"g\"\nkind = \"k\"\nsize = -1\n", "a.toml:4: group.size is a whole number, at least 0"},
		{"a.toml", "[[daemon]]\nname = \"d\"\nlabels = {}\n", "a.toml:3: labels cannot be applied yet"},
		{"a.toml", "\n[[route]]\npath = \"/\"\n", "a.toml:2: routes cannot be applied yet"},
		{"a.toml", "x = [", "a.toml"},
		{"a.yaml", "daemons:\n- name: d\n", `a.yaml:1: unknown key "daemons"; is "daemon" meant?`},
		{"a.yaml", "daemon:\n- name: d\n  kind: k\n- name: d\n  kind: k\n", "a.yaml:4: daemon d stands in a.yaml:2 already"},
		{"a.yaml", "kind: &x\n- name: k\nchannel: *x\n", "aliases are not read"},
		{"a.yaml", "application: x\napplication: y\n", "application"},
		{"a.yaml", "application: 1.5\n", "line 1"},
		{"a.yaml", strings.Repeat("[", 20) + strings.Repeat("]", 20), "deeper than"},
		{"a.yaml", "daemon:\n- {name: d, kind: k, subscribe: [x]}\n", "which is not NODE/CHANNEL"},
		{"a.yaml", "grant:\n- {daemon: d, may_publish: [x]}\n", "which is not NODE/CHANNEL"},
	} {
		_, err := Parse(c.file, []byte(c.text))
		if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a.toml", inTOML)
	f.Add("a.yaml", inYAML)
	f.Add("-", "kind: &x\n- name: k\nchannel: *x\n")
	f.Add("a.toml", "[[a.b]]\n[a.b.c]\nd=\"\"\"\n")
	f.Fuzz(func(t *testing.T, file, text string) {
		app, err := Parse(file, []byte(text))
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Errorf("%v is no ErrFile", err)
			}
			return
		}
		if err := app.check(); err != nil {
			t.Errorf("what was read: %v", err)
		}
	})
}

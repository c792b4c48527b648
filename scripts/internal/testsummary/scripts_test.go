//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// fakeGo says what go says of modules and packages. It builds a program that says
// "shown", or is interrupted while it builds.
const fakeGo = `#!/bin/sh
case "$1 $*" in
  list*Stale*) printf 'stale\nstale\n' ;;
  list*) echo "go: downloading example.org/m v1.2.3" >&2; echo p ;;
  build*)
    echo p/one >&2
    if [ -n "$INTERRUPTED" ]; then
      until grep -q p/one "$TMPDIR"/wasmhost-demo.*; do sleep 0.01; done
      kill -INT 0
      exit 1
    fi
    if [ -n "$BROKEN" ]; then echo "p/two: it does not compile" >&2; exit 1; fi
    printf '#!/bin/sh\necho shown\n' > bin/wasmhost
    chmod +x bin/wasmhost ;;
esac
`

// TestTheDemoKeepsItsLog runs scripts/demo with a compiler that only says what one says.
func TestTheDemoKeepsItsLog(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	for _, c := range []struct {
		name, env string
		fails     bool
		says      []string // besides the step
		log       []string
	}{
		{"it goes well", "A=1", false, []string{"shown", "=== build: ", "demo: modules "}, nil},
		{"it does not compile", "BROKEN=1", true, []string{"p/two: it does not compile"}, []string{"go: downloading example.org/m v1.2.3", "p/one", "p/two: it does not compile"}},
		{"it is interrupted", "INTERRUPTED=1", true, []string{"demo: interrupted", "ended: modules "}, []string{"p/one"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range map[string]string{"go": fakeGo, "go.mod": "module p\n\nrequire (\n\texample.org/m v1.2.3\n)\n"} {
				write(t, filepath.Join(dir, file), text)
			}
			for _, file := range []string{"demo", "internal/progress.sh"} {
				text, err := os.ReadFile(filepath.Join("..", "..", file))
				if err != nil {
					t.Fatal(err)
				}
				write(t, filepath.Join(dir, "scripts", file), string(text))
			}

			var out bytes.Buffer
			cmd := exec.CommandContext(t.Context(), "bash", "scripts/demo")
			cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
			cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "TMPDIR="+dir, c.env)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := cmd.Run(); (err != nil) != c.fails {
				t.Errorf("error %v", err)
			}
			for _, want := range append(c.says, "=== modules", "module 1 of at most 1: example.org/m v1.2.3", "packages to build: 2") {
				if !strings.Contains(out.String(), want) {
					t.Errorf("it does not say %q:\n%s", want, &out)
				}
			}

			named := regexp.MustCompile(`(?m)^demo: its log is ([^;\s]+)`).FindStringSubmatch(out.String())
			if (named != nil) != (c.log != nil) {
				t.Fatalf("the log that it names is %q:\n%s", named, &out)
			}
			left, err := filepath.Glob(filepath.Join(dir, "wasmhost-demo.*"))
			if err != nil || len(left) != len(named)/2 {
				t.Errorf("%q are left, error %v", left, err)
			}
			if named == nil {
				return
			}
			log, err := os.ReadFile(named[1])
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range c.log {
				if !strings.Contains(string(log), want) {
					t.Errorf("%q is not in the log:\n%s", want, log)
				}
			}
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

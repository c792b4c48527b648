package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"wasmhost.example/cmd/wasmhost/cli"
)

// A habit is a row of docs/coming-from.md: what others type, and what does it here.
type habit struct{ theirs, ours string }

// habitsOf are the tables of the page, by tool.
func habitsOf(t *testing.T) map[string][]habit {
	t.Helper()
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "coming-from.md"))
	if err != nil {
		t.Fatal(err)
	}
	row := regexp.MustCompile("^\\| `([^`]+)` \\| `(wasmhost [^`]+)` \\|$")
	tables, tool := make(map[string][]habit), ""
	for _, line := range strings.Split(string(page), "\n") {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			tool = name
		}
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || line == "| "+tool+" | wasmhost |" {
			continue
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("%s: the row is no pair of commands: %s", tool, line)
			continue
		}
		h := habit{m[1], m[2]}
		if slices.ContainsFunc(tables[tool], func(o habit) bool { return o.theirs == h.theirs }) {
			t.Errorf("%s: %s stands twice", tool, h.theirs)
		}
		tables[tool] = append(tables[tool], h)
	}
	return tables
}

// Each command of ours in the tables of docs/coming-from.md is run, in the order of its
// table, and ends well.
func TestComingFrom(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	tables := habitsOf(t)
	for _, tool := range []string{"docker", "kubectl", "nomad", "fly", "spin", "wash", "golem"} {
		if len(tables[tool]) < 20 {
			t.Errorf("%s: %d rows, want 20 at least", tool, len(tables[tool]))
		}
	}
	for tool, rows := range tables {
		t.Run(tool, func(t *testing.T) {
			b := newBench(t)
			for _, h := range rows {
				if err := b.run(h.ours); err != nil {
					t.Errorf("%s: %s: %v", h.theirs, h.ours, err)
				}
			}
		})
	}
}

// bench is a folder with two nodes, where commands are for the first.
type bench struct {
	t   *testing.T
	dir string
	env []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	dir, err := os.MkdirTemp("", "from") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	b := &bench{t: t, dir: dir}
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, "WASMHOST_") && !strings.HasPrefix(v, "XDG_") {
			b.env = append(b.env, v)
		}
	}
	b.env = append(b.env, "HOME="+dir, "WASMHOST_SOCKET=a.sock", "WASMHOST_LISTEN=127.0.0.1:0")

	files := map[string]string{"event.json": `{"n":1}`, "pass": "correct horse battery staple\n",
		"app.yaml": "application: shop\nkind:\n- name: cart\n  module: counter.wasm\ndaemon:\n- name: cart-1\n  kind: cart\n"}
	for name, language := range map[string]string{"counter.wasm": "c", "counter2.wasm": "rust"} {
		wasm, err := os.ReadFile(filepath.Join("..", "..", "testdata", "wasm", language, "counter.wasm"))
		if err != nil {
			t.Fatal(err)
		}
		files[name] = string(wasm)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"a", "b"} {
		stop, err := b.serve("wasmhost serve --data " + name + ".data --socket " + name + ".sock --name " + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := stop(); err != nil {
				t.Errorf("node %s: %v", name, err)
			}
		})
	}
	if err := b.shell(0, `set -e
wasmhost node token --rights all | wasmhost --socket b.sock node join -
wasmhost kind push counter counter.wasm
wasmhost kind push spare counter.wasm
for d in c1 c2 c3; do wasmhost spawn counter $d; wasmhost send $d first; done
wasmhost group create g counter --size 2
wasmhost channel create ticks`); err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs a command. One that serves is told to end when it is ready; one that follows
// gives up after a while.
func (b *bench) run(line string) error {
	words := strings.Fields(line)[1:]
	c, rest, err := root((&cli.App{})).Find(words)
	if err != nil {
		return err
	}
	if c.Name() == "serve" {
		stop, err := b.serve(line)
		if err != nil {
			return err
		}
		return stop()
	}
	has := func(flags ...string) bool {
		return slices.ContainsFunc(rest, func(w string) bool { return slices.Contains(flags, w) })
	}
	if c.Name() == "logs" && !has("-f", "--follow") || c.Name() == "top" && !has("-w") || !slices.Contains(cli.Following, c.Name()) && !has("-w", "--watch") {
		return b.shell(0, line)
	}
	return b.shell(7, line+" --timeout 300ms")
}

// shell runs a line, which is to exit with code.
func (b *bench) shell(code int, line string) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", line)
	cmd.Dir, cmd.Env = b.dir, b.env
	cmd.Stdin = strings.NewReader("an event\n")
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		return fmt.Errorf("exit code %d, want %d (%v): %s", got, code, err, out)
	}
	return nil
}

// serve starts a node, and returns what ends it, when it is ready.
func (b *bench) serve(line string) (stop func() error, err error) {
	words := strings.Fields(line)
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Dir = b.dir
	for _, v := range b.env {
		if !strings.HasPrefix(v, "WASMHOST_SOCKET=") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("the node is not ready: %w, %w: %s", err, cmd.Wait(), log.String())
	}
	go io.Copy(io.Discard, out)
	return func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w: %s", err, log.String())
		}
		return nil
	}, nil
}

package main

import (
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"wasmhost.example/cmd/wasmhost/cli"
	"wasmhost.example/cmd/wasmhost/project"
)

// page is a page of documentation.
type page struct{ path, text string }

// pages are all pages of the repository.
func pages(t *testing.T) []page {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []page
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules" || d.Name() == "target" || d.Name() == "testdata"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(path)
		all = append(all, page{path, string(text)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// blocks returns the blocks of code of a language.
func (p page) blocks(language string) []string {
	var all []string
	for _, b := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```").FindAllStringSubmatch(p.text, -1) {
		all = append(all, b[1])
	}
	return all
}

// historical are pages that say what was, not what is.
var historical = map[string]bool{"CHANGELOG.md": true, "RATIONALE.md": true}

// Each command of ours in a block of a page, or in a page's text, is one that there is,
// with flags that there are.
func TestCommandsInThePagesExist(t *testing.T) {
	found := 0
	for _, p := range pages(t) {
		if historical[filepath.Base(p.path)] {
			continue
		}
		var commands []string
		for _, b := range p.blocks("sh") {
			b = strings.ReplaceAll(b, "\\\n", " ")
			commands = append(commands, regexp.MustCompile(`(?m)(?:^|[|&;(]|do|until)\s*(wasmhost [^|&;)#\n]*)`).FindAllString(b, -1)...)
		}
		inline := regexp.MustCompile("(?s)```.*?```").ReplaceAllString(p.text, "")
		for _, span := range regexp.MustCompile("`(wasmhost [^`]+)`").FindAllStringSubmatch(inline, -1) {
			commands = append(commands, span[1])
		}
		for _, c := range commands {
			found++
			_, c, _ = strings.Cut(strings.Join(strings.Fields(c), " "), "wasmhost ")
			if err := exists(c); err != nil {
				t.Errorf("%s: wasmhost %s: %v", p.path, c, err)
			}
		}
	}
	if found < 100 {
		t.Errorf("%d commands were found", found)
	}
}

// exists reports what is wrong with a command line.
func exists(line string) error {
	a := &cli.App{In: strings.NewReader(""), Out: io.Discard, Err: io.Discard}
	words := regexp.MustCompile(`"[^"]*"|'[^']*'|\S+`).FindAllString(line, -1)
	var names []string // without flags, which may stand before the command
	for i, w := range words {
		if !strings.HasPrefix(w, "-") && (i == 0 || words[i-1] != "--socket" && words[i-1] != "--context") {
			names = append(names, w)
		}
	}
	if len(names) == 0 {
		return nil
	}
	root := root(a)
	root.InitDefaultHelpCmd() // as Execute does
	root.InitDefaultCompletionCmd()
	c, rest, err := root.Find(names)
	if err != nil {
		return err
	}
	if c.HasSubCommands() && len(rest) > 0 && regexp.MustCompile(`^[a-z][a-z-]*$`).MatchString(rest[0]) {
		return fmt.Errorf("%s has no command %q", c.CommandPath(), rest[0])
	}
	for _, w := range words {
		flag := regexp.MustCompile(`^--([a-z][a-z0-9-]*)`).FindStringSubmatch(w)
		if flag != nil && flag[1] != "help" && flag[1] != "version" && c.Flags().Lookup(flag[1]) == nil && c.InheritedFlags().Lookup(flag[1]) == nil {
			return fmt.Errorf("%s has no flag --%s", c.CommandPath(), flag[1])
		}
	}
	return nil
}

// Each block of Go in a page is a program: one that imports the SDK builds as a daemon
// does, another in the module.
func TestGoInThePagesBuilds(t *testing.T) {
	built := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks("go") {
			built++
			if !regexp.MustCompile(`(?m)^package main$`).MatchString(b) {
				t.Errorf("%s: a block of Go is no whole program, so nothing tries it:\n%s", p.path, b)
				continue
			}
			if !strings.Contains(b, "/guest-sdk/go") {
				file := filepath.Join(t.TempDir(), "main.go")
				if err := os.WriteFile(file, []byte(b), 0o644); err != nil {
					t.Fatal(err)
				}
				runIn(t, ".", "go", "vet", file)
				continue
			}
			dir := filepath.Join(t.TempDir(), "daemon")
			if _, err := project.New(dir, "go", "daemon"); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(b), 0o644); err != nil {
				t.Fatal(err)
			}
			runIn(t, dir, "./build")
			runIn(t, dir, "wasmhost", "check", "daemon.wasm", "--inspect")
		}
	}
	if built == 0 {
		t.Error("no page has a program in Go")
	}
}

// What README.md says to type by hand is typed, but for where nodes listen and for the
// dashboard, which ends by Ctrl-C.
func TestTheReadmeByHand(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var typed string
	for _, b := range (page{text: string(readme)}).blocks("sh") {
		if strings.Contains(b, "serve --data a --listen") {
			typed = b
		}
	}
	typed = regexp.MustCompile(`127\.0\.0\.1:743\d`).ReplaceAllString(typed, "127.0.0.1:0")
	typed = regexp.MustCompile(`(?m)^wasmhost dashboard .*$`).ReplaceAllString(typed, "")
	dir, out := typeIn(t, typed)
	for _, want := range []string{"(?m)^1$", "(?m)^2$", "(?m)^3$", "downtime", "chain of .* holds", "receipt holds"} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("no %q is printed:\n%s", want, out)
		}
	}
	nothingLeft(t, dir)
}

// docs/api.md begins with nothing: it starts a node, and removes it at its end.
func TestTheAPIByHand(t *testing.T) {
	for _, tool := range []string{"bash", "curl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "api.md"))
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	api := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	typed := strings.Join((page{text: string(doc)}).blocks("sh"), "")
	if !strings.Contains(typed, "127.0.0.1:7444") {
		t.Fatal("docs/api.md does not say where the API listens")
	}
	dir, out := typeIn(t, strings.ReplaceAll(typed, "127.0.0.1:7444", api))
	if !strings.Contains(out, `"sequence":1`) {
		t.Errorf("no event is answered:\n%s", out)
	}
	nothingLeft(t, dir)
}

// typeIn types commands into a shell whose folder has testdata and nothing else. It
// returns the folder and what is printed.
func typeIn(t *testing.T, typed string) (dir, printed string) {
	t.Helper()
	testdata, err := filepath.Abs(filepath.Join("..", "..", "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	dir, err = os.MkdirTemp("", "typed") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Symlink(testdata, filepath.Join(dir, "testdata")); err != nil {
		t.Fatal(err)
	}

	cmd := exec.CommandContext(t.Context(), "bash", "-c", "set -eum\ntrap 'kill $(jobs -p) 2> /dev/null || true; wait' EXIT\n"+typed)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "HOME="+dir, "WASMHOST_SOCKET=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir, string(out)
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		if f.Name() != "testdata" && !strings.HasPrefix(f.Name(), ".") {
			t.Errorf("%s is left behind", f.Name())
		}
	}
}

// What is no command, and no flag, is found.
func TestWhatIsNoCommandIsFound(t *testing.T) {
	for line, right := range map[string]bool{
		"conform": false, "cluster": true, "cluster statos": false, "spawn counter --stanbys 1": false, "--socket b.sock kind push counter": true,
		"send group/workers --data 'charge 5'": true, "run --replay t.jsonl": true,
	} {
		if err := exists(line); (err == nil) != right {
			t.Errorf("wasmhost %s: error %v", line, err)
		}
	}
}

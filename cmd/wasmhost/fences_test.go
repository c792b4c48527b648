package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wasmhost.example/cmd/wasmhost/author"
	"wasmhost.example/cmd/wasmhost/project"
)

// Each block of code in a page is tried: Go, C, Rust, TypeScript and Zig are compiled,
// transcripts (jsonl) are answered, and commands (sh) are typed, in the sessions below.
// What is not is in notTyped, with the reason. Blocks without a language are no code.

// sessions are what stands before the commands of a page are typed, in one shell for the
// page, whose folder has testdata. Commands that end by Ctrl-C are ended.
var sessions = map[string]string{
	"README.md":           twoNodes,
	"abi/vectors.md":      "unset WASMHOST_SOCKET\nmkdir abi && cp testdata/../abi/vectors.json abi/ && cp testdata/wasm/c/probe.wasm .\n",
	"docs/cli.md":         twoNodes + "for d in c1 c2 c3; do wasmhost spawn counter --name $d; done\necho x > event.json; seq 3 > events.txt; echo x > prod.token; echo x > prod.crt\nmkdir .wasmhost && ln -s ../a.sock .wasmhost/wasmhost.sock\n",
	"docs/extending.md":   "unset WASMHOST_SOCKET\nmkdir abi && cp testdata/../abi/vectors.json abi/ && cp testdata/wasm/c/probe.wasm .\n",
	"docs/cluster.md":     cluster,
	"docs/groups.md":      twoNodes,
	"docs/tutorial.md":    "unset WASMHOST_SOCKET\n",
	"guest-sdk/README.md": twoNodes + "cp testdata/wasm/c/counter.wasm . ; seq 3 > events.txt\n",
}

// twoNodes are nodes a and b, with the kind counter on both; commands are for a.
const twoNodes = `wait_for() { for i in $(seq 200); do "$@" > /dev/null 2>&1 && return; sleep 0.1; done; "$@"; }
export WASMHOST_SOCKET=$PWD/a.sock
wasmhost serve --data data-a --listen 127.0.0.1:0 --name a --socket a.sock --tag disk=ssd > a.out 2> a.log &
wait_for wasmhost ps
wasmhost serve --data data-b --listen 127.0.0.1:0 --name b --socket b.sock --join "$(wasmhost node token)" > b.out 2> b.log &
wait_for wasmhost --socket b.sock ps
cp testdata/wasm/c/counter.wasm counter.wasm
cp testdata/wasm/rust/counter.wasm counter-v2.wasm
for node in a b; do wasmhost --socket $node.sock kind push counter counter.wasm; done
echo "correct horse battery staple" > pass
`

// cluster is a cluster of nodes a and b.
const cluster = `wait_for() { for i in $(seq 200); do "$@" > /dev/null 2>&1 && return; sleep 0.1; done; "$@"; }
export WASMHOST_SOCKET=$PWD/a.sock
wasmhost serve --cluster --data a --listen 127.0.0.1:0 --name a --socket a.sock > a.out 2> a.log &
wait_for wasmhost ps
wasmhost serve --cluster --data b --listen 127.0.0.1:0 --name b --socket b.sock --join "$(wasmhost node token)" > b.out 2> b.log &
has_b() { wasmhost cluster members | grep -qw b; }
wait_for has_b
cp testdata/wasm/c/counter.wasm .
wasmhost kind push counter counter.wasm --to all
wasmhost identity new release.key
`

// before is typed before a block, given by its page and how it begins.
var before = []struct{ page, begins, commands string }{
	{"docs/groups.md", "wasmhost kind push counter counter-v2", "wasmhost group create workers counter --size 3\n"},
}

// notTyped are blocks of commands that no session types: the page, how the block begins,
// and why.
var notTyped = []struct{ page, begins, why string }{
	{"README.md", "scripts/demo", ".ci/run runs both"},
	{"README.md", "export PATH=$PWD/bin", "TestTheReadmeByHand types it"},
	{"README.md", "wasmhost serve --data a --cluster ...", "it is shortened: docs/cluster.md has the commands"},
	{"docs/api.md", "", "TestTheAPIByHand types the page"},
	{"docs/backup.md", "wasmhost backup create /mnt", "the drills below it have the commands"},
	{"docs/backup.md", "wasmhost backup restore /mnt", "the drills below it have the commands"},
	{"docs/backup.md", "", "scripts/backup-drills types the drills"},
	{"docs/cluster.md", "wasmhost serve --data a --listen 10.", "three machines: scripts/disaster begins so, with their addresses"},
	{"docs/cluster.md", "wasmhost serve --data a --etcd", "it needs an etcd of one's own"},
	{"docs/cluster.md", "wasmhost recover c1", "it needs a node that was lost: testdata/script has it"},
	{"docs/cluster.md", "wasmhost cluster status ", "it removes a node: scripts/cluster does that"},
	{"docs/cluster.md", "wasmhost --socket", "scripts/disaster runs the procedures"},
	{"docs/cluster.md", "wasmhost serve --data c ", "scripts/disaster runs the procedures"},
	{"docs/embedding.md", "", "scripts/embedder fetches the module, and builds the programs"},
	{"docs/groups.md", "wasmhost group inspect workers --here", "it needs two groups of one name: testdata/script has them"},
	{"docs/groups.md", "wasmhost group heal workers --lost", "it needs a lost member: testdata/script has one"},
	{"docs/tutorial.md", "kill %1 %2", "the session ends the nodes itself, and removes its folder"},
	{"guest-sdk/lua/README.md", "", "scripts/interpreter builds the interpreter, and moves it"},
	{"guest-sdk/rust/README.md", "", "what ./build of a project does, which is run"},
	{"guest-sdk/assemblyscript/README.md", "", "what ./build of a project does, which is run"},
	{"guest-sdk/go/README.md", "", "what ./build of a project does, which is run"},
	{"guest-sdk/c/README.md", "", "what ./build of a project does, which is run"},
}

// compiled are the languages of blocks that are compiled, each by a test below or
// TestGoInThePagesBuilds.
var compiled = []string{"go", "c", "rust", "ts", "zig", "jsonl"}

// fence is a block of a page.
type fence struct {
	language, text string
	line           int
}

func (p page) name() string {
	return filepath.ToSlash(strings.TrimPrefix(p.path, filepath.Join("..", "..")+string(filepath.Separator)))
}

func (p page) fences() []fence {
	var all []fence
	for _, m := range regexp.MustCompile("(?ms)^```([^\n]*)\n(.*?)^```$").FindAllStringSubmatchIndex(p.text, -1) {
		all = append(all, fence{p.text[m[2]:m[3]], p.text[m[4]:m[5]], 1 + strings.Count(p.text[:m[0]], "\n")})
	}
	return all
}

// typed are the page's blocks of commands that its session types.
func (p page) typed() []fence {
	return slices.DeleteFunc(p.fences(), func(f fence) bool { return f.language != "sh" || whyNotTyped(p, f) >= 0 })
}

// whyNotTyped returns the first line of notTyped that a block has, -1 if none.
func whyNotTyped(p page, f fence) int {
	for i, n := range notTyped {
		if n.page == p.name() && strings.HasPrefix(f.text, n.begins) {
			return i
		}
	}
	return -1
}

func TestEachBlockOfThePagesIsTried(t *testing.T) {
	used := make(map[int]bool)
	command := regexp.MustCompile(`(?m)^(wasmhost|scripts/\S+|go|curl) [a-z-]`)
	for _, p := range pages(t) {
		for _, f := range p.fences() {
			why := -1
			if f.language == "sh" {
				if why = whyNotTyped(p, f); why >= 0 {
					used[why] = true
				}
			}
			switch {
			case f.language == "" && command.MatchString(f.text) && !historical[filepath.Base(p.path)]:
				t.Errorf("%s:%d: a block of commands without a language", p.name(), f.line)
			case f.language == "", slices.Contains(compiled, f.language), why >= 0:
			case f.language != "sh":
				t.Errorf("%s:%d: a block of %s, which no test compiles or runs", p.name(), f.line, f.language)
			case sessions[p.name()] == "":
				t.Errorf("%s:%d: a block of commands that no session types: give the page one, or say in notTyped why not:\n%s", p.name(), f.line, f.text)
			}
		}
	}
	for i, n := range notTyped {
		if !used[i] {
			t.Errorf("%s has no block that begins with %q", n.page, n.begins)
		}
	}
}

// The commands of each page are typed, in its session.
func TestTheCommandsOfThePages(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip(err)
	}
	endless := regexp.MustCompile(`(?m)^(wasmhost (?:ps --watch|events|logs -f).*)$`)
	asks := regexp.MustCompile(`(?m)^(wasmhost group rm .*)$`)
	for _, p := range pages(t) {
		prelude, blocks := sessions[p.name()], p.typed()
		if prelude == "" {
			continue
		}
		t.Run(p.name(), func(t *testing.T) {
			if len(blocks) == 0 {
				t.Fatal("the page has no commands")
			}
			var typed strings.Builder
			typed.WriteString(prelude)
			for _, f := range blocks {
				if strings.Contains(f.text, "wasmhost new") && !canBuild(t, f.text) {
					continue
				}
				typed.WriteString("cd \"$OLDROOT\"\n")
				for _, b := range before {
					if b.page == p.name() && strings.HasPrefix(f.text, b.begins) {
						typed.WriteString(b.commands)
					}
				}
				text := endless.ReplaceAllString(f.text, "timeout 1 $1 || [ $$? = 124 ] # it ends by Ctrl-C")
				typed.WriteString("set -v\n" + asks.ReplaceAllString(text, "$1 --yes") + "set +v\n")
			}
			_, printed := typeIn(t, "OLDROOT=$PWD\n"+strings.ReplaceAll(typed.String(), "wasmhost dev ", "WASMHOST_SOCKET=dev.sock wasmhost dev < /dev/null "))
			if p.name() != "docs/tutorial.md" {
				return
			}
			for _, f := range p.fences() { // what the page says that its commands print
				if f.language == "" && !strings.Contains(printed, "\n"+f.text) {
					t.Errorf("%s:%d: nothing printed %q:\n%s", p.name(), f.line, f.text, printed)
				}
			}
		})
	}
}

// canBuild reports whether the compiler of the project that commands make is here.
func canBuild(t *testing.T, commands string) bool {
	t.Helper()
	language := regexp.MustCompile(`wasmhost new (\w+)`).FindStringSubmatch(commands)[1]
	dir := t.TempDir()
	if _, err := project.New(dir, language, "daemon"); err != nil {
		t.Fatal(err)
	}
	_, err := author.LookForTools(t.Context(), dir)
	if err != nil && !errors.Is(err, project.ErrTools) {
		t.Fatal(err)
	}
	return err == nil
}

// Each block of an SDK's README is compiled in a project of the language, where its
// compiler is here. scripts/newcomer installs the others.
func TestTheCodeOfTheSDKsReadmes(t *testing.T) {
	for _, c := range []struct {
		language, fence string
		place           func(block string) (file, text, command string)
	}{
		{"c", "c", func(b string) (string, string, string) {
			if strings.Contains(b, "wasmhost_test.h") {
				return "test.c", b, "./unit"
			}
			return "main.c", b, "./build"
		}},
		{"rust", "rust", func(b string) (string, string, string) { return "src/lib.rs", b, "./build" }},
		{"assemblyscript", "ts", func(b string) (string, string, string) { return "assembly/index.ts", b, "./build" }},
		{"zig", "zig", func(b string) (string, string, string) {
			if strings.Contains(b, "b.addExecutable") {
				return "build.zig", "const std = @import(\"std\");\n\npub fn build(b: *std.Build) void {\n" + b + "b.installArtifact(exe);\n}\n", "./build"
			}
			return "src/main.zig", b, "./build"
		}},
	} {
		t.Run(c.language, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := project.New(dir, c.language, "echo"); err != nil {
				t.Fatal(err)
			}
			readme, err := os.ReadFile(filepath.Join(dir, "sdk", "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			blocks := (page{text: string(readme)}).blocks(c.fence)
			if len(blocks) == 0 {
				t.Fatalf("the README has no block of %s", c.fence)
			}
			if uses, err := author.LookForTools(t.Context(), dir); errors.Is(err, project.ErrTools) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			} else if strings.Contains(uses, "installs") {
				t.Skipf("%s: scripts/newcomer tries it", uses)
			}
			for _, b := range blocks {
				file, text, command := c.place(b)
				if err := os.WriteFile(filepath.Join(dir, filepath.FromSlash(file)), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				runIn(t, dir, command)
			}
		})
	}
}

// Each transcript in a page is what a new project's daemon answers.
func TestTheTranscriptsOfThePages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "daemon")
	if _, err := project.New(dir, "go", "daemon"); err != nil {
		t.Fatal(err)
	}
	runIn(t, dir, "./build")
	tried := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks("jsonl") {
			for line := range strings.Lines(b) {
				if !json.Valid([]byte(line)) {
					t.Errorf("%s: no JSON: %s", p.name(), line)
				}
			}
			file := filepath.Join(dir, "page.jsonl")
			if err := os.WriteFile(file, []byte(b), 0o644); err != nil {
				t.Fatal(err)
			}
			runIn(t, dir, "wasmhost", "run", "daemon.wasm", "--replay", file)
			tried++
		}
	}
	if tried == 0 {
		t.Error("no page has a transcript")
	}
}

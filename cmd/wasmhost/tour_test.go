package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"wasmhost.example/abi"
	"wasmhost.example/cmd/wasmhost/author"
	"wasmhost.example/cmd/wasmhost/project"
)

// tours has, for each language, the source of a daemon that uses all that its SDK
// and its host for tests have, as it stands in a project, and a transcript that they
// all answer.
var tours = filepath.Join("project", "testdata", "tour")

// imported are the imports that a tour has: each of the contract, but for now, which
// is event_time under another name.
var imported = []string{"daemon_id", "emit", "event_channel", "event_kind", "event_origin", "event_sender", "event_sequence", "event_time", "fail", "log", "publish", "random", "send", "timer", "timer_cancel"}

// A project of each language builds a daemon that uses all that there is, where the
// language's compiler is here. Go's is. scripts/newcomer installs the others.
func TestAProjectUsesAllThatThereIs(t *testing.T) {
	transcript, err := filepath.Abs(filepath.Join(tours, "tour.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, language := range project.Languages {
		t.Run(language, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tour")
			if _, err := project.New(dir, language, "tour"); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(dir, "new"), os.DirFS(filepath.Join(tours, language))); err != nil {
				t.Fatal(err)
			}
			runIn(t, dir, "sh", "-c", "cp -R new/. . && rm -r new")

			if uses, err := author.LookForTools(t.Context(), dir); errors.Is(err, project.ErrTools) && language != "go" {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			} else if strings.Contains(uses, "installs") {
				t.Skipf("%s: scripts/newcomer tries it", uses)
			}
			runIn(t, dir, "./build")

			wasm, err := os.ReadFile(filepath.Join(dir, "tour.wasm"))
			if err != nil {
				t.Fatal(err)
			}
			report, refusal := abi.Inspect(wasm, abi.Limits{ModuleBytes: 64 << 20, MemoryPages: 1024, Shape: true})
			if refusal != nil {
				t.Fatal(refusal)
			}
			var has []string
			for _, i := range report.Imports {
				if i.Module == abi.ImportModule && i.Name != "now" {
					has = append(has, i.Name)
				}
			}
			if slices.Sort(has); !slices.Equal(has, imported) {
				t.Errorf("it imports %v, want %v", has, imported)
			}
			runIn(t, dir, "./unit")
			runIn(t, dir, "wasmhost", "run", "tour.wasm", "--replay", transcript)
		})
	}
}

func runIn(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// foreign are what an SDK's table names that is not the SDK's.
var foreign = map[string]bool{"malloc": true, "std::time": true, "Date": true, "Math.random": true, "crypto/rand": true, "math/rand": true}

// Whatever an SDK's README names in its table is used as it is written there by the
// language's tour or one of its examples, which are compiled.
func TestTheTablesOfTheSDKsAreTrue(t *testing.T) {
	sdks := filepath.Join("..", "..", "guest-sdk")
	for _, language := range project.Languages {
		t.Run(language, func(t *testing.T) {
			source := textOf(t, filepath.Join(tours, language)) + textOf(t, filepath.Join(sdks, language, "examples"))
			readme, err := os.ReadFile(filepath.Join(sdks, language, "README.md"))
			if err != nil {
				t.Fatal(err)
			}
			spans := 0
			for _, row := range regexp.MustCompile(`(?m)^\|.*\|$`).FindAllString(string(readme), -1) {
				for _, span := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row, -1) {
					if foreign[span[1]] {
						continue
					}
					spans++
					if use := usage(span[1]); !use.MatchString(source) {
						t.Errorf("the table names %s, and neither the tour nor an example has %s", span[1], use)
					}
				}
			}
			if spans < 20 {
				t.Errorf("the table names %d things", spans)
			}
		})
	}
}

// usage matches what a span of a table says: up to its first parenthesis or ellipsis,
// as a word.
func usage(span string) *regexp.Regexp {
	text, _, _ := strings.Cut(span, "…")
	if i := strings.IndexByte(text, '('); i > 0 {
		text = text[:i+1]
	}
	text = regexp.QuoteMeta(strings.TrimRight(text, " ,"))
	if regexp.MustCompile(`^\w`).MatchString(text) {
		text = `\b` + text
	}
	if regexp.MustCompile(`\w$`).MatchString(text) {
		text += `\b`
	}
	return regexp.MustCompile(text)
}

// textOf returns the text of all sources below a folder.
func textOf(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if st, err := os.Stat(file); err != nil {
			t.Fatal(err)
		} else if st.IsDir() {
			all.WriteString(textOf(t, file))
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}

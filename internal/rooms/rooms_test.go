package rooms

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// write makes a module of the files.
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

const small = `// Package a is small.
package a

import (
	"fmt"

	"m/b"
)

// T is a type.
type T struct{}

func (t *T) One() {} // exported
func (t T) Two()  {}
func (t T) three() {}

/* A comment
of two lines. */
func F() {
	fmt.Println(b.X)

	fmt.Println("x // y")
}

const A, b2 = 1, 2
`

func TestMeasure(t *testing.T) {
	root := write(t, map[string]string{"go.mod": "// ours\nmodule m\n\ngo 1.26.0\n", "a/a.go": small, "a/a_test.go": "package a\n\nfunc helper() {}\n", "b/b.go": "package b\n\nvar X = 1\n",
		"own/go.mod": "module own\n", "own/o.go": "package own\n", "testdata/t.go": "not Go"})
	got, err := Measure(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[0].Dir != "a" || got[1].Dir != "b" {
		t.Fatalf("packages %+v, want a and b", got)
	}
	a := got[0]
	if a.Lines != strings.Count(small, "\n")-strings.Count(small, "\n\n") || a.Tests != 3 || a.Comments != 4 || a.Blank != 1 || a.Body != 3 || a.Longest != 5 {
		t.Errorf("package a measures %+v", a)
	}
	if a.Exported != 3 || a.Type != "T" || a.Methods != 2 {
		t.Errorf("package a exports %d names, %s %d methods, want 3, T and 2", a.Exported, a.Type, a.Methods)
	}
	if a.Imports["b"] != "a.go" || a.Imports["fmt"] != "a.go" || len(a.Imports) != 2 {
		t.Errorf("package a imports %v", a.Imports)
	}
}

func TestCheck(t *testing.T) {
	packages := []Package{
		{Dir: "a", Lines: 11, Type: "T", Methods: 3, Imports: map[string]string{"b": "a.go", "fmt": "a.go", "x.example/y/z": "a.go"}},
		{Dir: "b", Lines: 1, Imports: map[string]string{}},
		{Dir: "d", Lines: 1, Imports: map[string]string{}},
	}
	for _, tc := range []struct {
		name, table string
		want        []string
	}{
		{"as it is to be", "a b x.example/y/...\nb\nd", nil},
		{"a cap that is raised", "a b x.example/y/... lines 11 methods 3\nb\nd", nil},
		{"too many lines", "a b x.example/y/z lines 10\nb\nd", []string{"a has 11 lines, at most 10"}},
		{"too many methods", "a b x.example/y/z methods 2\nb\nd", []string{"a.T exports 3 methods, at most 2"}},
		{"imports", "a\nb\nd", []string{"a/a.go imports b", "a/a.go imports x.example/y/z"}},
		{"a package that the table has not", "a b x.example/y/...\nb", []string{"package d is not in the table of rooms"}},
		{"a package that is not there", "a b x.example/y/...\nb\nc\nd", []string{"the table of rooms has c, which is not there"}},
		{"a circle", "a b x.example/y/...\nb d\nd a", []string{"the table has a circle: a imports b imports d imports a"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table, err := parse(tc.table)
			if err != nil {
				t.Fatal(err)
			}
			if got := Check(table, packages); !slices.Equal(got, tc.want) {
				t.Errorf("faults %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTableIsRead(t *testing.T) {
	for _, bad := range []string{"a\na", "a lines", "a lines x", "a methods"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	if _, err := Table(); err != nil {
		t.Error(err)
	}
}

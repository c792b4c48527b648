package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// id names a row: M07 is {'M', 7}.
type id struct {
	letter byte
	number int
}

func (i id) String() string {
	if i.letter == 'F' {
		return fmt.Sprintf("F%d", i.number)
	}
	return fmt.Sprintf("%c%02d", i.letter, i.number)
}

func (i id) compare(j id) int {
	return cmp.Or(cmp.Compare(strings.IndexByte("RMCIKF", i.letter), strings.IndexByte("RMCIKF", j.letter)), cmp.Compare(i.number, j.number))
}

// row is one line of rows.txt.
type row struct {
	id
	text   string
	reason string // why it is left out; empty: it is not
}

var anID = regexp.MustCompile(`^([RMCIKF])([0-9]{1,3})$`)

func parseID(word string) (id, bool) {
	m := anID.FindStringSubmatch(word)
	if m == nil {
		return id{}, false
	}
	n, err := strconv.Atoi(m[2])
	return id{m[1][0], n}, err == nil
}

// parseRows reads rows.txt: ids ascend, so that none is there twice.
func parseRows(text string) ([]row, error) {
	var rows []row
	for n, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		word, rest, _ := strings.Cut(line, " ")
		text, reason, out := strings.Cut(rest, " // ")
		r := row{text: text, reason: reason}
		var ok bool
		if r.id, ok = parseID(word); !ok || text == "" || out && reason == "" || strings.HasSuffix(text, "//") {
			return nil, fmt.Errorf("rows.txt, line %d: not an id and what holds: %q", n+1, line)
		}
		if len(rows) > 0 && rows[len(rows)-1].compare(r.id) >= 0 {
			return nil, fmt.Errorf("rows.txt, line %d: %s does not come after %s", n+1, r.id, rows[len(rows)-1].id)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// test is a test, or a part of one, that names rows.
type test struct {
	dir, name string
	ids       []id
}

func (t test) String() string { return t.dir + " " + t.name }

// findTests returns the tests under root that name rows, in their own name or in
// a literal name of one of their parts.
func findTests(root string) ([]test, error) {
	var tests []test
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		tests = append(tests, testsOf(filepath.ToSlash(dir), f)...)
		return nil
	})
	return tests, err
}

func testsOf(dir string, f *ast.File) (tests []test) {
	add := func(name string, words []string) {
		if ids := idsIn(words); len(ids) > 0 {
			tests = append(tests, test{dir, name, ids})
		}
	}
	for _, d := range f.Decls {
		fn, ok := d.(*ast.FuncDecl)
		if !ok || fn.Recv != nil || !strings.HasPrefix(fn.Name.Name, "Test") && !strings.HasPrefix(fn.Name.Name, "Fuzz") {
			continue
		}
		add(fn.Name.Name, strings.Split(fn.Name.Name[len("Test"):], "_"))
		ast.Inspect(fn, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 {
				return true
			}
			run, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || run.Sel.Name != "Run" {
				return true
			}
			if name, ok := call.Args[0].(*ast.BasicLit); ok && name.Kind == token.STRING {
				if text, err := strconv.Unquote(name.Value); err == nil {
					add(fn.Name.Name+"/"+text, strings.FieldsFunc(text, func(r rune) bool { return r == ' ' || r == ',' || r == '_' }))
				}
			}
			return true
		})
	}
	return tests
}

// idsIn returns the ids among the words; "R01 to R09" are nine.
func idsIn(words []string) []id {
	var ids []id
	for n, w := range words {
		i, ok := parseID(w)
		if !ok {
			continue
		}
		if n >= 2 && words[n-1] == "to" {
			if from, ok := parseID(words[n-2]); ok && from.letter == i.letter {
				for k := from.number + 1; k < i.number; k++ {
					ids = append(ids, id{i.letter, k})
				}
			}
		}
		ids = append(ids, i)
	}
	return ids
}

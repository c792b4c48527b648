package rooms

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Package is one package as it is.
type Package struct {
	Dir      string
	Lines    int // of its code; comments count, blank lines and tests do not
	Tests    int // lines of tests
	Blank    int // lines within functions that are blank, of Body
	Body     int // lines within functions
	Comments int // lines with nothing but a comment
	Exported int // names at the top
	Type     string
	Methods  int               // that Type exports: no other exports more
	Longest  int               // lines of the longest function
	Imports  map[string]string // path to one file that imports it
}

// Measure reads the packages of the module at root, but those of modules of their own.
func Measure(root string) ([]Package, error) {
	module, err := ModulePath(root)
	if err != nil {
		return nil, err
	}
	all := make(map[string]*Package)
	methods := make(map[string]map[string]int)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == "." {
				return nil
			}
			_, statErr := os.Stat(filepath.Join(path, "go.mod"))
			if strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || statErr == nil {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(rel, ".go") {
			return nil
		}

		dir := filepath.ToSlash(filepath.Dir(rel))
		p := all[dir]
		if p == nil {
			p = &Package{Dir: dir, Imports: make(map[string]string)}
			all[dir], methods[dir] = p, make(map[string]int)
		}
		return p.read(path, module, methods[dir])
	})
	if err != nil {
		return nil, err
	}

	var out []Package
	for dir, p := range all {
		for name, n := range methods[dir] {
			if n > p.Methods || n == p.Methods && name < p.Type {
				p.Type, p.Methods = name, n
			}
		}
		if p.Lines > 0 {
			out = append(out, *p)
		}
	}
	slices.SortFunc(out, func(a, b Package) int { return cmp.Compare(a.Dir, b.Dir) })
	return out, nil
}

// ModulePath returns the import path of the module at root, as its go.mod declares it.
func ModulePath(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) == 2 && words[0] == "module" {
			return words[1], nil
		}
	}
	return "", errors.New("go.mod has no module line")
}

// read adds one file.
func (p *Package) read(path, module string, methods map[string]int) error {
	src, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(string(src), "\n"), "\n")
	if strings.HasSuffix(path, "_test.go") {
		p.Tests += len(lines)
		return nil
	}
	p.Lines += len(lines) - blankLines(lines)
	p.Comments += commentLines(src)

	set := token.NewFileSet()
	f, err := parser.ParseFile(set, path, src, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, spec := range f.Imports {
		name, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return err
		}
		name, _ = strings.CutPrefix(name, module+"/")
		p.Imports[name] = filepath.Base(path)
	}
	for _, d := range f.Decls {
		switch d := d.(type) {
		case *ast.GenDecl:
			for _, s := range d.Specs {
				p.Exported += exportedNames(s)
			}
		case *ast.FuncDecl:
			p.function(d, set, lines)
			switch {
			case d.Recv == nil && d.Name.IsExported():
				p.Exported++
			case d.Recv != nil && d.Name.IsExported():
				methods[receiver(d)]++
			}
		}
	}
	return nil
}

// function adds a function's lines.
func (p *Package) function(d *ast.FuncDecl, set *token.FileSet, lines []string) {
	if d.Body == nil {
		return
	}
	first, last := set.Position(d.Body.Lbrace).Line, set.Position(d.Body.Rbrace).Line
	p.Longest = max(p.Longest, last-first+1)
	for n := first; n < last-1; n++ {
		p.Body++
		if strings.TrimSpace(lines[n]) == "" {
			p.Blank++
		}
	}
}

func exportedNames(s ast.Spec) (n int) {
	switch s := s.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() {
			n++
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() {
				n++
			}
		}
	}
	return n
}

// receiver returns the name of the type whose method d is.
func receiver(d *ast.FuncDecl) string {
	t := d.Recv.List[0].Type
	for {
		switch of := t.(type) {
		case *ast.StarExpr:
			t = of.X
		case *ast.IndexExpr:
			t = of.X
		case *ast.IndexListExpr:
			t = of.X
		case *ast.Ident:
			return of.Name
		default:
			return fmt.Sprintf("%T", t)
		}
	}
}

// blankLines counts the lines without anything on them: room between steps costs none.
func blankLines(lines []string) (n int) {
	for _, l := range lines {
		if strings.TrimSpace(l) == "" {
			n++
		}
	}
	return n
}

// commentLines counts the lines that hold nothing but a comment.
func commentLines(src []byte) int {
	var s scanner.Scanner
	set := token.NewFileSet()
	file := set.AddFile("", set.Base(), len(src))
	s.Init(file, src, nil, scanner.ScanComments)
	code, comments := make(map[int]bool), make(map[int]bool)
	for {
		pos, tok, text := s.Scan()
		if tok == token.EOF {
			break
		}
		line := set.Position(pos).Line
		if tok != token.COMMENT {
			code[line] = true
			continue
		}
		for i := range strings.Count(text, "\n") + 1 {
			comments[line+i] = true
		}
	}
	n := 0
	for line := range comments {
		if !code[line] {
			n++
		}
	}
	return n
}

package wasmhost_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// Every exported name of the packages that programs import says what it is, and every
// package has a comment. Methods by which a type is an error, a fmt.Stringer, or is
// encoded, are what their interfaces say.
func TestExportedNamesHaveDocs(t *testing.T) {
	packages := 0
	err := filepath.WalkDir(".", func(dir string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !d.IsDir():
			return nil
		case isNoLibrary(filepath.ToSlash(dir)):
			return filepath.SkipDir
		}

		files, err := parseDir(dir)
		if len(files) > 0 {
			packages++
		}
		for _, missing := range undocumented(files) {
			t.Errorf("%s: %s has no comment", dir, missing)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if packages < 30 {
		t.Errorf("%d packages were read", packages)
	}
}

// isNoLibrary reports whether nobody outside imports what is in the directory.
func isNoLibrary(dir string) bool {
	if strings.HasPrefix(dir, "host/internal/") {
		return true
	}
	for _, no := range []string{".git", "cmd", "scripts", "guest-sdk", "testdata", "docs", "deploy"} {
		if dir == no || strings.HasSuffix(dir, "/"+no) {
			return true
		}
	}
	return false
}

// parseDir reads the Go files of a directory, whatever their build tags, but for tests.
func parseDir(dir string) ([]*ast.File, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}

	var out []*ast.File
	set := token.NewFileSet()
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		out = append(out, f)
	}
	return out, nil
}

// undocumented returns the exported names of a package's files that say nothing of
// themselves.
func undocumented(files []*ast.File) []string {
	if len(files) == 0 {
		return nil
	}

	var out []string
	comment := false
	for _, f := range files {
		comment = comment || f.Doc != nil
		for _, d := range f.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if name, ok := nameOf(d); ok && d.Doc == nil {
					out = append(out, name)
				}
			case *ast.GenDecl:
				out = append(out, undocumentedIn(d)...)
			}
		}
	}

	if !comment {
		out = append(out, "package")
	}
	return out
}

// nameOf is the name of a function, or of a method of an exported type, that needs a
// comment of its own.
func nameOf(f *ast.FuncDecl) (string, bool) {
	if !f.Name.IsExported() {
		return "", false
	}
	if f.Recv == nil {
		return f.Name.Name, true
	}

	switch f.Name.Name {
	case "Error", "Unwrap", "Is", "As", "String", "MarshalText", "UnmarshalText", "MarshalJSON", "UnmarshalJSON":
		return "", false
	}
	of := strings.TrimLeft(typeName(f.Recv.List[0].Type), "*")
	return of + "." + f.Name.Name, ast.IsExported(of)
}

func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

// undocumentedIn looks at types, constants and variables; what stands in a group may have
// the group's comment.
func undocumentedIn(d *ast.GenDecl) []string {
	var out []string
	for _, s := range d.Specs {
		switch s := s.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
				out = append(out, s.Name.Name)
			}
		case *ast.ValueSpec:
			for _, name := range s.Names {
				if name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
					out = append(out, name.Name)
				}
			}
		}
	}
	return out
}

package store

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"testing"
)

// Two tables of one letter would overwrite each other.
func TestEveryTableHasALetterOfItsOwn(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	of := make(map[string]string)
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			typ, ok := s.Type.(*ast.Ident)
			if !ok || typ.Name != "Table" {
				return true
			}
			for i, v := range s.Values {
				letter := v.(*ast.BasicLit).Value
				if other, taken := of[letter]; taken {
					t.Errorf("tables %s and %s have the letter %s", other, s.Names[i].Name, letter)
				}
				of[letter] = s.Names[i].Name
			}
			return true
		})
	}
	if len(of) < 20 {
		t.Errorf("%d tables are declared, there are more", len(of))
	}
}

package wasmhost_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// docs/security.md names, for each promise, the test or the attack that tries to break
// it. Each of them is there.
func TestSecurityPageNamesWhatIsThere(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, rows := namedTests(t), attackRows(t)
	named := 0
	for _, m := range regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(page), -1) {
		if named++; !tests[m[1]] {
			t.Errorf("docs/security.md names the test %s, which is not there", m[1])
		}
	}
	for _, m := range regexp.MustCompile(`attack:([\w-]+)`).FindAllStringSubmatch(string(page), -1) {
		if named++; !rows[m[1]] {
			t.Errorf("docs/security.md names the attack %s, which is not there", m[1])
		}
	}
	if named < 60 {
		t.Errorf("docs/security.md names %d tests and attacks: it was read wrongly", named)
	}
}

func namedTests(t *testing.T) map[string]bool {
	found := make(map[string]bool)
	walkGo(t, ".", func(path string, f *ast.File) {
		if !strings.HasSuffix(path, "_test.go") {
			return
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && strings.HasPrefix(fn.Name.Name, "Test") {
				found[fn.Name.Name] = true
			}
		}
	})
	return found
}

// attackRows are the names of the rows of scripts/attack.
func attackRows(t *testing.T) map[string]bool {
	found := make(map[string]bool)
	walkGo(t, filepath.Join("scripts", "internal", "attack"), func(_ string, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			if kv, ok := n.(*ast.KeyValueExpr); ok {
				key, isName := kv.Key.(*ast.Ident)
				if value, ok := kv.Value.(*ast.BasicLit); ok && isName && key.Name == "name" {
					found[strings.Trim(value.Value, `"`)] = true
				}
			}
			return true
		})
	})
	return found
}

func walkGo(t *testing.T, root string, see func(path string, f *ast.File)) {
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err == nil {
			see(path, f)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"wasmhost.example/internal/rooms"
)

var (
	errPath   = errors.New("not a module path: it is lower-case letters, digits, dots, hyphens and slashes, and its first element has a dot")
	validPath = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)+(/[a-z0-9-][a-z0-9.-]*)*$`)
)

// rename gives the module at root the import path to: it rewrites go.mod files, imports,
// and every other mention of a package in text files. It returns how many files changed.
// It fails before it writes anything where to is no path that the go command accepts.
func rename(root, to string) (changed int, err error) {
	if !validPath.MatchString(to) {
		return 0, fmt.Errorf("%q: %w", to, errPath)
	}
	from, err := rooms.ModulePath(root)
	if err != nil {
		return 0, err
	}
	files, folders, err := list(root)
	if err != nil {
		return 0, err
	}
	r := newRewriter(from, to, folders)

	for _, path := range files {
		old, err := os.ReadFile(path)
		if err != nil {
			return changed, err
		}
		text, err := r.rewrite(path, old)
		if err != nil {
			return changed, err
		}
		if bytes.Equal(text, old) {
			continue
		}
		info, err := os.Stat(path)
		if err != nil {
			return changed, err
		}
		if err := os.WriteFile(path, text, info.Mode().Perm()); err != nil {
			return changed, err
		}
		changed++
	}
	return changed, nil
}

// list returns the files below root, and the folders at root that hold Go packages.
// Folders of tools that are not under version control are left out.
func list(root string) (files, folders []string, err error) {
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); name == ".git" || name == "node_modules" || name == "bin" || name == "dist" || name == "target" {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		files = append(files, path)

		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		top, _, below := strings.Cut(filepath.ToSlash(rel), "/")
		if below && filepath.Ext(path) == ".go" && !slices.Contains(folders, top) {
			folders = append(folders, top)
		}
		return nil
	})
	return files, folders, err
}

// rewriter replaces one module path by another.
type rewriter struct {
	from, to string
	packages *regexp.Regexp // a package's path: what stands before it, the module's path, and a folder
}

func newRewriter(from, to string, folders []string) rewriter {
	quoted := make([]string, len(folders))
	for i, f := range folders {
		quoted[i] = regexp.QuoteMeta(f)
	}
	return rewriter{from, to, regexp.MustCompile(`(^|[^\w./-])` + regexp.QuoteMeta(from) + `/(` + strings.Join(quoted, "|") + `)\b`)}
}

// rewrite returns the file's text under the new path. Go files come back formatted, since
// imports are sorted by path.
func (r rewriter) rewrite(path string, text []byte) ([]byte, error) {
	if bytes.IndexByte(text, 0) >= 0 { // it is not text
		return text, nil
	}
	replaced := r.packages.ReplaceAll(text, []byte("${1}"+strings.ReplaceAll(r.to, "$", "$$")+"/${2}"))
	switch name := filepath.Base(path); {
	case name == "go.mod" || name == "go.mod.tmpl":
		return r.rewriteMod(replaced), nil
	case filepath.Ext(name) == ".go" && !bytes.Equal(replaced, text):
		formatted, err := format.Source(replaced)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return formatted, nil
	}
	return replaced, nil
}

// rewriteMod replaces the root module's own path, which no folder follows.
func (r rewriter) rewriteMod(text []byte) []byte {
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		words := strings.Fields(line)
		if slices.Contains(words, r.from) {
			lines[i] = regexp.MustCompile(`(^|\s)`+regexp.QuoteMeta(r.from)+`(\s|$)`).ReplaceAllString(line, "${1}"+r.to+"${2}")
		}
	}
	return []byte(strings.Join(lines, "\n"))
}

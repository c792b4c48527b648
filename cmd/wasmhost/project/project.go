// Package project makes the files of a new daemon's project, and reads the
// settings of one.
package project

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	guestsdk "wasmhost.example/guest-sdk"
)

//go:embed templates
var templates embed.FS

// Languages are those that New knows.
var Languages = []string{"go", "rust", "c", "assemblyscript", "zig"}

// Errors of New.
var (
	ErrLanguage = errors.New("no such language")
	ErrName     = errors.New("not a name for a project")
	ErrExists   = errors.New("there is something of that name already")
)

// values are what templates can name.
type values struct {
	Name        string
	Ident       string // Name as an identifier
	Fingerprint string // of a Zig package
}

// New makes a project in dir, which must not exist or be empty, and returns the
// paths of its files below dir. name is 1 to 40 characters of a-z 0-9 - _,
// beginning with a letter.
func New(dir, language, name string) ([]string, error) {
	if !slices.Contains(Languages, language) {
		return nil, fmt.Errorf("%w: %q; there are %s", ErrLanguage, language, strings.Join(Languages, ", "))
	}
	if err := checkName(name); err != nil {
		return nil, err
	}

	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrExists, dir)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}

	files := make(map[string][]byte)
	v := valuesOf(name)
	for _, from := range []string{"common", language} {
		if err := render(files, from, v); err != nil {
			return nil, err
		}
	}

	if err := copySDK(files, language); err != nil {
		return nil, err
	}
	return write(dir, files)
}

func checkName(name string) error {
	ok := len(name) >= 1 && len(name) <= 40 && name[0] >= 'a' && name[0] <= 'z'
	for _, c := range []byte(name) {
		ok = ok && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
	}

	if !ok {
		return fmt.Errorf("%w: %q; it has 1 to 40 characters of a-z 0-9 - _ and begins with a letter", ErrName, name)
	}
	if name == "sdk" || name == "test" || name == "wasmhost" || name == "std" || name == "build" {
		return fmt.Errorf("%w: %q is the name of something else in a project", ErrName, name)
	}

	return nil
}

// valuesOf makes a Zig package's fingerprint as the compiler does, but for the
// random half, which follows from the name.
func valuesOf(name string) values {
	v := values{Name: name, Ident: strings.ReplaceAll(name, "-", "_")}
	sum := sha256.Sum256([]byte(name))
	id := binary.LittleEndian.Uint32(sum[:])&0x7fffffff | 1
	v.Fingerprint = fmt.Sprintf("0x%x", uint64(crc32.ChecksumIEEE([]byte(v.Ident)))<<32|uint64(id))
	return v
}

// render adds the files that the templates below a folder make. A template's
// name is its file's, with .tmpl at its end.
func render(files map[string][]byte, from string, v values) error {
	root := path.Join("templates", from)
	return fs.WalkDir(templates, root, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}

		text, err := templates.ReadFile(p)
		if err != nil {
			return err
		}

		t, err := template.New(p).Delims("<%", "%>").Option("missingkey=error").Parse(string(text))
		if err != nil {
			return err
		}

		var out bytes.Buffer
		if err := t.Execute(&out, v); err != nil {
			return err
		}

		files[target(strings.TrimSuffix(strings.TrimPrefix(p, root+"/"), ".tmpl"))] = out.Bytes()
		return nil
	})
}

// copySDK adds the files of the language's SDK, below the folder sdk.
func copySDK(files map[string][]byte, language string) error {
	sources, err := guestsdk.Files(language)
	if err != nil {
		return err
	}
	for name, text := range sources {
		files[path.Join("sdk", name)] = text
	}
	return nil
}

// write makes the files; those that begin with #! can be run.
func write(dir string, files map[string][]byte) ([]string, error) {
	var names []string
	for name, b := range files {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}

		mode := fs.FileMode(0o644)
		if bytes.HasPrefix(b, []byte("#!")) {
			mode = 0o755
		}

		if err := os.WriteFile(file, b, mode); err != nil {
			return nil, err
		}

		names = append(names, name)
	}

	return names, nil
}

// target is a template's file in the project.
func target(name string) string {
	if rest, ok := strings.CutPrefix(name, "dot-"); ok {
		return "." + rest
	}
	return name
}

// Package guestsdk holds the sources of the guest SDKs, for wasmhost new to put into
// projects.
package guestsdk

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/rogpeppe/go-internal/txtar"
)

// sources are the SDKs' files, each under the folder of its language, but Go's: a file of
// another module cannot be embedded.
//
//go:embed c/*.h c/README.md
//go:embed rust/Cargo.toml rust/README.md rust/src
//go:embed assemblyscript/package.json assemblyscript/README.md assemblyscript/sdktest.mjs assemblyscript/assembly
//go:embed zig/build.zig zig/build.zig.zon zig/README.md zig/src
var sources embed.FS

// goSources is the Go SDK's module as a txtar archive. A test holds it equal to the folder;
// "go test ./guest-sdk -update" writes it.
//
//go:embed go.txtar
var goSources []byte

// ErrLanguage: there is no SDK of that name.
var ErrLanguage = errors.New("no SDK of that name")

// Files returns the files of the SDK of a language ("go", "rust", "c", "assemblyscript" or
// "zig") by their paths below its folder. The caller owns the map, and must not change
// the bytes.
func Files(language string) (map[string][]byte, error) {
	files := make(map[string][]byte)
	if language == "go" {
		for _, f := range txtar.Parse(goSources).Files {
			files[f.Name] = f.Data
		}
		return files, nil
	}

	err := fs.WalkDir(sources, language, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := sources.ReadFile(p)
		files[strings.TrimPrefix(p, language+"/")] = b
		return err
	})
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrInvalid) {
		return nil, fmt.Errorf("%w: %q", ErrLanguage, language)
	}
	return files, err
}

package guestsdk

import (
	"bytes"
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "write go.txtar")

// The archive has each file of the Go SDK's folder, as it is, but tests and examples.
func TestGoArchiveIsTheFolder(t *testing.T) {
	archive := &txtar.Archive{Comment: []byte("The Go SDK's module. Written by: go test ./guest-sdk -update\n")}
	err := filepath.WalkDir("go", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if d.Name() == "examples" || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			return nil
		}
		if strings.HasSuffix(file, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if txtar.NeedsQuote(text) {
			t.Errorf("%s has a line that a txtar archive takes for the beginning of a file", file)
		}
		name, err := filepath.Rel("go", file)
		archive.Files = append(archive.Files, txtar.File{Name: filepath.ToSlash(name), Data: text})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := txtar.Format(archive)

	if *update {
		if err := os.WriteFile("go.txtar", want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile("go.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("go.txtar is not the folder go: run go test ./guest-sdk -update")
	}
}

func TestFilesOfNoLanguage(t *testing.T) {
	for _, language := range []string{"", "cobol", "../go", "c/../c", "/c"} {
		if files, err := Files(language); !errors.Is(err, ErrLanguage) {
			t.Errorf("Files(%q): got %d files and error %v, want ErrLanguage", language, len(files), err)
		}
	}
}

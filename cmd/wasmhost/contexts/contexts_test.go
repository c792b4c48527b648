package contexts

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestAFileOfContexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "contexts.toml")
	s, err := Read(path)
	if err != nil || s.Current() != Default || len(s.List()) != 0 {
		t.Fatalf("without a file: %v, %v", s, err)
	}
	prod := Context{Name: "prod", URL: "https://h:7444", TokenFile: "/t", CAFile: "/c"}
	for _, c := range []Context{prod, {Name: "a.b", Socket: "/s"}} {
		if err := s.Add(c, false); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Use("prod"); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, s); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	again, err := Read(path)
	if err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("%v, want %v: %v", again, s, err)
	}
	if got, err := again.Get("prod"); err != nil || got != prod {
		t.Errorf("%v, %v", got, err)
	}

	if err := s.Add(prod, false); !errors.Is(err, ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	if err := s.Add(Context{Name: "prod", Socket: "/x"}, true); err != nil {
		t.Error(err)
	}
	if err := s.Use("nope"); !errors.Is(err, ErrUnknown) || s.Current() != "prod" {
		t.Errorf("%v, current %s", err, s.Current())
	}
	if err := s.Remove("nope"); !errors.Is(err, ErrUnknown) {
		t.Error(err)
	}
	if err := s.Remove("prod"); err != nil || s.Current() != Default || len(s.List()) != 1 {
		t.Errorf("%v, current %s", err, s.Current())
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".contexts-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestAFileThatOthersReadIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "contexts.toml")
	if err := Write(path, Set{}); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660, 0o601} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); !errors.Is(err, ErrNotPrivate) || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %v: %v", mode, err)
		}
	}
	if _, err := Read(dir); !errors.Is(err, ErrInvalid) {
		t.Errorf("a folder: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); !errors.Is(err, ErrInvalid) {
		t.Errorf("a large file: %v", err)
	}
}

// A link to the file stays one.
func TestALinkStays(t *testing.T) {
	dir := t.TempDir()
	to, link := filepath.Join(dir, "to"), filepath.Join(dir, "link")
	if err := os.WriteFile(to, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(to, link); err != nil {
		t.Skip(err)
	}
	s := Set{}
	if err := s.Add(Context{Name: "x", Socket: "/s"}, false); err != nil {
		t.Fatal(err)
	}
	if err := Write(link, s); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Lstat(link); err != nil || st.Mode()&os.ModeSymlink == 0 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	if again, err := Read(to); err != nil || len(again.List()) != 1 {
		t.Errorf("%v, %v", again, err)
	}
}

func TestContextsThatAreNotValid(t *testing.T) {
	for _, c := range []Context{
		{}, {Name: "x"}, {Name: "-x", Socket: "/s"}, {Name: "a b", Socket: "/s"}, {Name: Default, Socket: "/s"}, {Name: strings.Repeat("x", 64), Socket: "/s"},
		{Name: "x", Socket: "s"}, {Name: "x", Socket: "/s", URL: "https://h"}, {Name: "x", Socket: "/s", TokenFile: "/t"}, {Name: "x", URL: "http://h"},
		{Name: "x", URL: "https://"}, {Name: "x", URL: "https://u:p@h"}, {Name: "x", URL: "https://h", TokenFile: "t"}, {Name: "x", URL: "https://h", CAFile: "t"},
	} {
		if err := c.Check(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	for _, text := range []string{"x", "current = 'x'", "[context.x]", "[context.x]\nsocket='/s'\nnope=1", "other = 1", "[context.'a b']\nsocket='/s'"} {
		if _, err := Parse([]byte(text)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
	var many strings.Builder
	for i := range maxContexts + 1 {
		fmt.Fprintf(&many, "[context.c%d]\nsocket='/s'\n", i)
	}
	if _, err := Parse([]byte(many.String())); !errors.Is(err, ErrInvalid) {
		t.Errorf("too many: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("current = 'a'\n[context.a]\nsocket = '/s'\n[context.b]\nurl = 'https://h:1'\ntoken_file = '/t'\nca_file = '/c'\n"))
	f.Add([]byte("[context]\n"))
	f.Add([]byte("current = 'default'"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse(text)
		if err != nil {
			if !errors.Is(err, ErrInvalid) {
				t.Error(err)
			}
			return
		}
		b, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(b)
		if err != nil || !reflect.DeepEqual(again, s) {
			t.Errorf("%v becomes %v: %v", s, again, err)
		}
	})
}

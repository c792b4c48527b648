// Package contexts keeps the nodes that the command line has names for, in one file.
package contexts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

var (
	// ErrInvalid says that a context, or the file of contexts, is not valid.
	ErrInvalid = errors.New("not a valid context")
	// ErrUnknown says that there is no context of a name.
	ErrUnknown = errors.New("no such context")
	// ErrExists says that there is a context of the name already.
	ErrExists = errors.New("there is a context of this name")
	// ErrNotPrivate says that others than its owner may read or write the file: it says
	// which node commands go to.
	ErrNotPrivate = errors.New("others may read or write the file of contexts")
)

// Default is the name of the context that is always there: the node that settings name.
const Default = "default"

const (
	maxFile     = 1 << 20 // bytes of the file
	maxContexts = 1000    // in the file
)

// Context is how a node is reached: by its socket, or by its API over TCP.
type Context struct {
	Name      string `json:"name" toml:"-"`
	Socket    string `json:"socket,omitempty" toml:"socket,omitempty"`         // absolute path
	URL       string `json:"url,omitempty" toml:"url,omitempty"`               // https://HOST:PORT
	TokenFile string `json:"token_file,omitempty" toml:"token_file,omitempty"` // absolute path; of URL
	CAFile    string `json:"ca_file,omitempty" toml:"ca_file,omitempty"`       // absolute path; of URL
}

var validName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$`)

// Check returns an error that wraps ErrInvalid where the context is not valid.
func (c Context) Check() error {
	if !validName.MatchString(c.Name) {
		return fmt.Errorf("%w: %q: a name is letters, digits, - _ . after a letter or digit, at most 63", ErrInvalid, c.Name)
	}
	if c.Name == Default {
		return fmt.Errorf("%w: %s is what settings say, and cannot be another", ErrInvalid, Default)
	}
	if (c.Socket == "") == (c.URL == "") {
		return fmt.Errorf("%w: %s: it has either a socket or a url", ErrInvalid, c.Name)
	}
	if c.URL == "" && c.TokenFile+c.CAFile != "" {
		return fmt.Errorf("%w: %s: a token file and a CA file are for a url", ErrInvalid, c.Name)
	}
	if u, err := url.Parse(c.URL); c.URL != "" && (err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil) {
		return fmt.Errorf("%w: %s: the url is not https://HOST:PORT", ErrInvalid, c.Name)
	}

	for _, path := range []string{c.Socket, c.TokenFile, c.CAFile} {
		if path != "" && !filepath.IsAbs(path) {
			return fmt.Errorf("%w: %s: the path %q is not absolute", ErrInvalid, c.Name, path)
		}
	}
	return nil
}

// Set is what the file holds. Its zero value is empty.
type Set struct {
	current string
	all     map[string]Context
}

// file is Set in TOML.
type file struct {
	Current  string             `toml:"current,omitempty"`
	Contexts map[string]Context `toml:"context"`
}

// Parse reads what Set.encode writes. Errors wrap ErrInvalid.
func Parse(text []byte) (Set, error) {
	var f file
	meta, err := toml.Decode(string(text), &f)
	if err != nil {
		return Set{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if extra := meta.Undecoded(); len(extra) > 0 {
		return Set{}, fmt.Errorf("%w: unknown key %q", ErrInvalid, extra[0].String())
	}
	if len(f.Contexts) > maxContexts {
		return Set{}, fmt.Errorf("%w: %d contexts, at most %d", ErrInvalid, len(f.Contexts), maxContexts)
	}

	s := Set{current: f.Current, all: make(map[string]Context, len(f.Contexts))}
	for name, c := range f.Contexts {
		c.Name = name
		if err := c.Check(); err != nil {
			return Set{}, err
		}
		s.all[name] = c
	}

	if _, ok := s.all[s.current]; s.current != "" && !ok {
		return Set{}, fmt.Errorf("%w: the current one, %q, is not there", ErrInvalid, s.current)
	}
	return s, nil
}

func (s Set) encode() ([]byte, error) {
	var b bytes.Buffer
	err := toml.NewEncoder(&b).Encode(file{s.current, s.all})
	return b.Bytes(), err
}

// Current is the name of the context that is used where no other is named.
func (s Set) Current() string {
	if s.current == "" {
		return Default
	}
	return s.current
}

// List returns all contexts in the order of their names.
func (s Set) List() []Context {
	list := make([]Context, 0, len(s.all))
	for _, c := range s.all {
		list = append(list, c)
	}
	slices.SortFunc(list, func(x, y Context) int { return strings.Compare(x.Name, y.Name) })
	return list
}

// Get returns a context. ErrUnknown.
func (s Set) Get(name string) (Context, error) {
	c, ok := s.all[name]
	if !ok {
		return c, fmt.Errorf("%w: %q", ErrUnknown, name)
	}
	return c, nil
}

// Add adds a context, in the place of one of its name if replace is set. ErrInvalid,
// ErrExists.
func (s *Set) Add(c Context, replace bool) error {
	if err := c.Check(); err != nil {
		return err
	}
	if _, ok := s.all[c.Name]; ok && !replace {
		return fmt.Errorf("%w: %s", ErrExists, c.Name)
	} else if !ok && len(s.all) >= maxContexts {
		return fmt.Errorf("%w: there are %d contexts already", ErrInvalid, maxContexts)
	}

	if s.all == nil {
		s.all = make(map[string]Context)
	}

	s.all[c.Name] = c
	return nil
}

// Remove takes a context away; where it is the current one, Default is from then on.
// ErrUnknown.
func (s *Set) Remove(name string) error {
	if _, err := s.Get(name); err != nil {
		return err
	}
	delete(s.all, name)
	if s.current == name {
		s.current = ""
	}
	return nil
}

// Use makes a context, or Default, the current one. ErrUnknown.
func (s *Set) Use(name string) error {
	if name == Default {
		s.current = ""
		return nil
	}

	_, err := s.Get(name)
	if err == nil {
		s.current = name
	}
	return err
}

// Read reads the file; where there is none, it returns an empty set. It refuses a file
// that others than its owner may read or write (ErrNotPrivate).
func Read(path string) (Set, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Set{}, nil
	}
	if err != nil {
		return Set{}, err
	}

	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return Set{}, err
	}
	if !info.Mode().IsRegular() {
		return Set{}, fmt.Errorf("%w: %s is no file", ErrInvalid, path)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 && runtime.GOOS != "windows" {
		return Set{}, fmt.Errorf("%w: %s has mode %04o: chmod 600 %s", ErrNotPrivate, path, mode, path)
	}

	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return Set{}, err
	}
	if len(text) > maxFile {
		return Set{}, fmt.Errorf("%w: %s has more than %d bytes", ErrInvalid, path, maxFile)
	}

	s, err := Parse(text)
	if err != nil {
		return s, fmt.Errorf("%s: %w", path, err)
	}
	return s, nil
}

// Write puts the set in the place of the file, with mode 0600: after a crash there is the
// old file or the new one.
func Write(path string, s Set) (err error) {
	text, err := s.encode()
	if err != nil {
		return err
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to // the link stays
	}

	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}

	f, err := os.CreateTemp(filepath.Dir(path), ".contexts-*") // mode 0600
	if err != nil {
		return err
	}

	_, err = f.Write(text)
	if err == nil {
		err = f.Sync()
	}

	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}

	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

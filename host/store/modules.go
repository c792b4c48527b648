package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// Digest is the SHA-256 of a module's bytes, which names it.
type Digest = [sha256.Size]byte

// modules are content-addressed files: modules/<digest>.wasm.
type modules struct {
	dir  string
	room func(more int) error // nil, or ErrNoSpace

	mu     sync.Mutex
	memory map[Digest][]byte // instead of files, when not nil
}

const tempPrefix = ".incoming-"

func (m *modules) prepare() error {
	if err := os.MkdirAll(m.dir, 0o700); err != nil {
		return fmt.Errorf("making the module directory: %w", classify(err))
	}

	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return fmt.Errorf("reading the module directory: %w", err)
	}

	for _, e := range entries {
		if strings.HasPrefix(e.Name(), tempPrefix) { // a write that a crash cut short
			if err := os.Remove(filepath.Join(m.dir, e.Name())); err != nil {
				return fmt.Errorf("tidying the module directory: %w", err)
			}
		}
	}

	return nil
}

func (m *modules) path(d Digest) string {
	return filepath.Join(m.dir, hex.EncodeToString(d[:])+".wasm")
}

// PutModule keeps data, whose SHA-256 must be d. It is durable when PutModule
// returns.
func (s *Store) PutModule(d Digest, data []byte) error {
	if sha256.Sum256(data) != d {
		return fmt.Errorf("%w: the module's bytes do not have the digest %x", ErrCorrupt, d)
	}

	m := &s.modules
	if m.memory != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.memory[d] = append([]byte(nil), data...)
		return nil
	}

	if _, err := os.Stat(m.path(d)); err == nil {
		return nil
	}
	if err := m.room(len(data)); err != nil {
		return fmt.Errorf("module %x: %w", d, err)
	}

	return writeFile(m.path(d), data)
}

// Module returns the bytes of module d, or ErrNotFound; ErrCorrupt when the
// file no longer has its digest.
func (s *Store) Module(d Digest) ([]byte, error) {
	m := &s.modules
	if m.memory != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		if data, ok := m.memory[d]; ok {
			return data, nil
		}
		return nil, fmt.Errorf("module %x: %w", d, ErrNotFound)
	}

	data, err := os.ReadFile(m.path(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("module %x: %w", d, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("module %x: %w", d, err)
	}
	if sha256.Sum256(data) != d {
		return nil, fmt.Errorf("module %x: %w: the file does not have this digest", d, ErrCorrupt)
	}

	return data, nil
}

// Modules returns the digests of all modules, in no order.
func (s *Store) Modules() ([]Digest, error) {
	m := &s.modules
	if m.memory != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		return slices.Collect(maps.Keys(m.memory)), nil
	}

	entries, err := os.ReadDir(m.dir)
	if err != nil {
		return nil, fmt.Errorf("reading the module directory: %w", err)
	}

	var out []Digest
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".wasm")
		if b, err := hex.DecodeString(name); ok && err == nil && len(b) == sha256.Size {
			out = append(out, Digest(b))
		}
	}

	return out, nil
}

// DeleteModule forgets module d; one that is not there is no error.
func (s *Store) DeleteModule(d Digest) error {
	m := &s.modules
	if m.memory != nil {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.memory, d)
		return nil
	}

	if err := os.Remove(m.path(d)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("module %x: %w", d, err)
	}
	return nil
}

// writeFile writes a file that is whole and durable or not there at all.
func writeFile(path string, data []byte) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, tempPrefix+"*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, classify(err))
	}

	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}

	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}

	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, classify(err)), os.Remove(f.Name()))
	}

	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("writing %s: %w", path, classify(err))
	}

	return nil
}

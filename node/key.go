package node

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"wasmhost.example/identity"
)

// KeyFile is where a node keeps its key in the data directory, unless Config.KeyFile says
// otherwise.
func KeyFile(dir string) string { return filepath.Join(dir, "node.key") }

// openKey reads the node's key, or makes it at the first start. With a passphrase the
// file must be protected by it.
func openKey(c *Config) (*identity.KeyPair, error) {
	if c.Key != nil {
		return c.Key, nil
	}
	if c.Dir == "" && c.KeyFile == "" {
		return identity.Generate()
	}

	path := c.KeyFile
	if path == "" {
		path = KeyFile(c.Dir)
	}

	read := identity.ReadKeyFile
	if len(c.Passphrase) > 0 {
		read = identity.ReadProtectedKeyFile
	}

	key, err := read(path, c.Passphrase)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}

	if key, err = identity.Generate(); err != nil {
		return nil, err
	}
	if err := identity.WriteKeyFile(path, key, c.Passphrase); err != nil {
		return nil, fmt.Errorf("making the node's key: %w", err)
	}

	return key, nil
}

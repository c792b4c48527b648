//go:build !linux

package node

import (
	"io/fs"
	"os"
)

// lockDir opens the folder: what another program has is not known.
func lockDir(dir string) (*os.File, error) { return os.Open(dir) }

// ownedByUs says no: nothing of another program's is removed.
func ownedByUs(fs.FileInfo) bool { return false }

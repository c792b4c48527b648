//go:build unix

package cli

import (
	"syscall"
)

// PrivateFiles makes every file and folder that the process makes from here on its
// user's alone.
func PrivateFiles() { syscall.Umask(0o077) }

//go:build !unix

package cli

// PrivateFiles does nothing: this system has no umask.
func PrivateFiles() {}

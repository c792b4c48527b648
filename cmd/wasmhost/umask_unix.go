//go:build unix

package main

import "syscall"

// privateFiles makes every file and folder that the process makes from here on its
// user's alone.
func privateFiles() { syscall.Umask(0o077) }

//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package contexts

import "os"

// lock does nothing: of two changes at once on this system the later one wins.
func lock(*os.File) error { return nil }

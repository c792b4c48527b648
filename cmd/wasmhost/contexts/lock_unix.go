//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package contexts

import (
	"errors"
	"os"
	"syscall"
)

// lock waits until no other open file has the lock. It ends when f is closed.
func lock(f *os.File) error {
	for {
		if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

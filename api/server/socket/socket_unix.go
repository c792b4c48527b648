//go:build unix

package socket

import (
	"net"
	"syscall"
)

// listenPrivate binds the socket so that at no moment anybody but the process's user can
// connect: the mask holds for whatever else the process makes meanwhile, too, which is
// private then.
func listenPrivate(path string) (net.Listener, error) {
	defer syscall.Umask(syscall.Umask(0o077))
	return net.Listen("unix", path)
}

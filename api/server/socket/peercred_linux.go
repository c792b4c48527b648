package socket

import (
	"fmt"
	"net"
	"os"
	"syscall"

	"wasmhost.example/api/server/problem"
)

// checkCaller returns nil if the process at the other end of a socket is of this
// process's user, or root.
func checkCaller(c net.Conn) error {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%w: a %T", problem.ErrOtherUser, c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return err
	}
	var cred *syscall.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	return allowedUser(cred.Uid, uint32(os.Geteuid()))
}

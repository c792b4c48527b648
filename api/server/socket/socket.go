// Package socket opens a node's control socket, for the node's own user alone.
package socket

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	"wasmhost.example/api/server/problem"
)

// maxSocketPath is what fits into a socket's address (unix(7)).
const maxSocketPath = 107

// Listen opens the control socket: mode 0600, for its owner alone. On Linux a
// process of another user than the owner and root is refused. What a dead node left is
// replaced; a live one's is ErrSocketInUse.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d", problem.ErrSocketPath, path, len(path), maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("opening the control socket: %s exists and is no socket: %w", path, fs.ErrExist)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			return nil, errors.Join(fmt.Errorf("%w: %s", problem.ErrSocketInUse, path), c.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replacing a dead node's socket: %w", err)
		}
	}
	l, err := listenPrivate(path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil { // it was 0700 at most
		return nil, errors.Join(fmt.Errorf("opening the control socket: %w", err), l.Close())
	}
	return &ownListener{l}, nil
}

// ownListener takes connections of the process's own user, and of root, alone: whatever
// mode the socket is given.
type ownListener struct{ net.Listener }

// Accept implements net.Listener.
func (l *ownListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		err = checkCaller(c)
		if err == nil {
			return c, nil
		}
		slog.Warn("a caller at the control socket is refused", "error", err)
		_ = c.Close() // it was not served
	}
}

// allowedUser returns nil if the user may operate a node of the user own.
func allowedUser(user, own uint32) error {
	if user != own && user != 0 {
		return fmt.Errorf("%w: %d, not %d", problem.ErrOtherUser, user, own)
	}
	return nil
}

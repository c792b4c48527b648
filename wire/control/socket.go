package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"
)

// ErrSocketInUse says that another node listens on the socket.
var ErrSocketInUse = errors.New("another node listens on the socket")

// ErrSocketPath says that a path is too long for a unix socket.
var ErrSocketPath = errors.New("the path is too long for a socket")

// ErrNoNode says that no node listens on the socket. It comes with
// host.ErrUnreachable.
var ErrNoNode = errors.New("no node answers")

// maxSocketPath is what fits into a socket's address (unix(7)).
const maxSocketPath = 107

// ListenSocket opens the control socket: mode 0600, for its owner alone. What
// a dead node left is replaced; a live one's is ErrSocketInUse.
func ListenSocket(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrSocketPath, path, len(path), maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("making the socket's directory: %w", err)
	}
	if st, err := os.Lstat(path); err == nil {
		if st.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("opening the control socket: %s exists and is no socket: %w", path, fs.ErrExist)
		}
		if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
			return nil, errors.Join(fmt.Errorf("%w: %s", ErrSocketInUse, path), c.Close())
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("replacing a dead node's socket: %w", err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("opening the control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the control socket: %w", err), l.Close())
	}
	return l, nil
}

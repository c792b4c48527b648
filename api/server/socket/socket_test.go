package socket

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"

	"wasmhost.example/api/server/problem"
)

// The socket is its owner's alone, and so are those who connect.
func TestSocketIsPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", st.Mode(), err)
	}

	got := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			err = c.Close()
		}
		got <- err
	}()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := <-got; err != nil {
		t.Errorf("a caller of the same user: %v", err)
	}

	for user, want := range map[uint32]error{1000: nil, 0: nil, 1001: problem.ErrOtherUser, 65534: problem.ErrOtherUser} {
		if err := allowedUser(user, 1000); !errors.Is(err, want) {
			t.Errorf("user %d of a node of user 1000: %v, want %v", user, err, want)
		}
	}
}

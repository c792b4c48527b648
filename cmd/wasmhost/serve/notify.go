package serve

import (
	"fmt"
	"net"
	"os"
)

// notify tells the service manager that started this program how it is
// (sd_notify(3)). Without one it does nothing.
func notify(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}

	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"}) // @ is an abstract name to both
	if err != nil {
		return fmt.Errorf("telling the service manager %q: %w", state, err)
	}

	defer c.Close()
	if _, err := c.Write([]byte(state)); err != nil {
		return fmt.Errorf("telling the service manager %q: %w", state, err)
	}
	return nil
}

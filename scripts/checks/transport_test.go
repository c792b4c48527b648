package checks

import (
	"context"
	"net"
	"net/http"
)

// transport makes requests of a node by its socket.
func transport(socket string) http.RoundTripper {
	return &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
}

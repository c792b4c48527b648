package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"strings"
)

// Client speaks to one node's control API. It is safe for concurrent use. An
// error that the node answered with is an *api.Problem, and so is a request that no node
// would take; ErrUnreachable is in the others.
type Client struct {
	http  *http.Client
	base  string // of the paths
	token string // an API token; empty: none
	trace string // of which trace its requests are, as W3C Trace Context writes it; empty: none
	key   string // by which a group chooses a member for what is sent
	looks bool   // beginnings of ids do where it reads about a daemon, node or proof
	dry   bool   // what would change something is only planned
	most  int64  // bytes of JSON that it reads of one answer; 0: maxAnswer
}

// Looking returns a client whose questions about one daemon, node or proof take the
// beginning of an id, of at least four digits, where nothing is named so. What changes
// something takes whole references from it too.
func (c *Client) Looking() *Client {
	out := *c
	out.looks = true
	return &out
}

// Keyed returns a client whose events to groups have the key: a group whose strategy is
// consistent-hash gives all events of a key to one member, while it is well.
func (c *Client) Keyed(key string) *Client {
	out := *c
	out.key = key
	return &out
}

// Bearing returns a client that shows the node an API token.
func (c *Client) Bearing(token string) *Client {
	out := *c
	out.token = token
	return &out
}

// Trace returns a client whose requests belong to the trace that parent names, as
// the header traceparent of W3C Trace Context does.
func (c *Client) Trace(parent string) *Client {
	out := *c
	out.trace = parent
	return &out
}

// New makes a client over any transport.
func New(t http.RoundTripper) *Client {
	return &Client{http: &http.Client{Transport: t}, base: "http://node"}
}

// DialTLS makes a client of the node whose API is at base, such as
// https://host:7444, by an API token. roots are who may have signed the node's
// certificate; nil: who the machine trusts.
func DialTLS(base, token string, roots *x509.CertPool) *Client {
	return &Client{base: strings.TrimSuffix(base, "/"), token: token,
		http: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true}}}
}

// Dial makes a client of the node that listens on a unix socket.
func Dial(socket string) *Client {
	return New(&http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			c, err := d.DialContext(ctx, "unix", socket)
			if err != nil {
				return nil, noNode(socket, err)
			}
			return c, nil
		},
		WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	})
}

func noNode(socket string, err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("opening the control socket %s: %w", socket, err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%w on %s: %w: %w", ErrNoNode, socket, ErrUnreachable, err)
}

// Ready returns nil where the node takes events, or why not: a *api.Problem, such as not-ready,
// shutting-down or holding.
func (c *Client) Ready(ctx context.Context) error {
	res, err := c.do(ctx, http.MethodGet, "/readyz", nil, nil)
	if err != nil {
		return err
	}
	return res.Close()
}
